//! [`EditArea`]: the rows at the end of the screen in which the user types a line.
//!
//! Each change erases the area and draws it again, so its first row must be known. A new window
//! size makes that row uncertain: some terminals rewrap the screen, some do not. The column of the
//! cursor decides between the two.

use std::borrow::Cow;

use resound_console::escape;
use rustyline::GraphemeClusterMode;
use unicode_segmentation::UnicodeSegmentation;

/// Asks the terminal for the position of the cursor (DSR of ECMA-48). The answer arrives as a key.
pub(super) const WHERE: &str = "\x1b[6n";
/// Cells that fit into one row of any window.
const SHORT: usize = 2;
/// Spaces that stand for a tab.
const TAB: usize = 8;

/// The size of the terminal's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowSize {
    columns: usize,
    rows: usize,
}

impl WindowSize {
    pub(super) fn now() -> Self {
        let size = crossterm::terminal::size().ok().filter(|&(columns, rows)| columns > 0 && rows > 0);
        let (columns, rows) = size.unwrap_or((80, 24));
        // The widest characters take two columns.
        Self { columns: usize::from(columns).max(2), rows: rows.into() }
    }
}

pub(super) struct EditArea {
    pub(super) window: WindowSize,
    clusters: GraphemeClusterMode,
    drawn: Option<DrawnArea>,
    /// Does the terminal rewrap the screen when its width changes? Most do; this is the last
    /// behaviour observed.
    reflows: bool,
}

/// The area as drawn.
struct DrawnArea {
    cells: Vec<Width>,
    /// The cell under the cursor, and its place.
    cursor: usize,
    at: Position,
    /// Rows below the cursor.
    below: usize,
}

/// The columns of a cell; `None` for a newline.
type Width = Option<usize>;

/// Row and column, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    row: usize,
    column: usize,
}

impl EditArea {
    pub(super) fn new(window: WindowSize) -> Self {
        // These two terminals do not rewrap.
        let reflows = ["XTERM_VERSION", "STY"].iter().all(|name| std::env::var_os(name).is_none());
        Self { window, clusters: GraphemeClusterMode::from_env(), drawn: None, reflows }
    }

    /// Erases the area, and puts the cursor at its start.
    pub(super) fn erase(&mut self) -> String {
        // Starts at the second column: some terminals keep the row in the scrollback if all of it
        // is erased.
        self.drawn.take().map_or_else(String::new, |drawn| moved(drawn.at.row, UP) + "\r\x1b[C\x1b[J\r\x1b[K")
    }

    /// Draws a line from the cursor on, with the cursor at this byte of it. If it has more rows
    /// than the window, only those around the cursor appear.
    pub(super) fn draw(&mut self, line: &str, cursor: usize) -> String {
        let (cells, cursor) = self.cells(line, cursor);
        let widths: Vec<Width> = cells.iter().map(|cell| cell.1).collect();
        let places = places(&widths, self.window.columns);
        let (at, end) = (places[cursor], places[cells.len()]);
        let rows = end.row + 1;
        let top = at.row.saturating_sub(self.window.rows / 2).min(rows.saturating_sub(self.window.rows));
        let bottom = rows.min(top + self.window.rows) - 1;
        let seen = places[..cells.len()].partition_point(|place| place.row < top)
            ..places[..cells.len()].partition_point(|place| place.row <= bottom);
        let mut text = String::new();
        show(&mut text, &cells[seen.clone()], &places[seen.clone()], bottom);
        if end.row == bottom && end.column == 0 && widths.last().is_some_and(Option::is_some) {
            // The last row is full: terminals wrap only when the next character arrives.
            text += " \r\x1b[K";
        }
        text += &(moved(bottom - at.row, UP) + "\r" + &moved(at.column, RIGHT));
        let (cells, cursor) = (widths[seen.clone()].to_vec(), cursor - seen.start);
        self.drawn =
            Some(DrawnArea { cells, cursor, at: Position { row: at.row - top, ..at }, below: bottom - at.row });
        text
    }

    /// Draws a whole line for the last time, and moves below it.
    pub(super) fn finish(&mut self, line: &str) -> String {
        let mut text = self.erase();
        let (cells, _) = self.cells(line, 0);
        show(&mut text, &cells, &[], 0);
        text + "\r\n"
    }

    /// Leaves the drawn line on the screen, and moves below it.
    pub(super) fn leave(&mut self) -> String {
        self.drawn.take().map_or_else(String::new, |drawn| moved(drawn.below, DOWN) + "\r\n")
    }

    /// Takes a new window size. False if it makes no difference, because there is hardly more than
    /// a prompt.
    pub(super) fn resize(&mut self, window: WindowSize) -> bool {
        self.window = window;
        self.drawn.as_ref().is_some_and(|drawn| drawn.cells.len() > SHORT)
    }

    /// Could the area have rows above the cursor?
    pub(super) fn has_rows_above(&self) -> bool {
        self.drawn.as_ref().is_some_and(|drawn| drawn.at.row + drawn.reflowed(self.window).row > 0)
    }

    /// Finds the area again by the column of the cursor. Terminals that rewrap all report it.
    pub(super) fn find(&mut self, column: Option<usize>) {
        let Some(drawn) = &mut self.drawn else { return };
        let (wrapped, still) = (drawn.reflowed(self.window), drawn.at);
        let fits = |place: Position| column == Some(place.column.min(self.window.columns - 1));
        drawn.at.row = match (fits(wrapped), fits(still)) {
            // Both fit: assume the behaviour observed before.
            (true, true) if self.reflows => wrapped.row,
            (true, false) => wrapped.row,
            // Another program wrote here, or the size changed again. Erasing too little is better
            // than erasing output.
            (false, false) if column.is_some() => 0,
            _ => still.row,
        };
        if fits(wrapped) != fits(still) && wrapped.row != still.row {
            self.reflows = fits(wrapped);
        }
    }

    /// The line as cells, and the index of the cell at the cursor.
    fn cells<'a>(&self, line: &'a str, cursor: usize) -> (Vec<(Cow<'a, str>, Width)>, usize) {
        let (mut cells, mut at) = (Vec::with_capacity(line.len()), None);
        let width = |text: &str| Some(self.clusters.width(text).into());
        for (offset, cluster) in line.grapheme_indices(true) {
            if offset >= cursor {
                at = at.or(Some(cells.len()));
            }
            let must_be_escaped = |c: char| {
                c.is_control() || escape::is_dangerous(c) && c != '\u{200d}' || cluster.len() > LONGEST_CLUSTER
            };
            match cluster {
                "\n" => cells.push((cluster.into(), None)),
                "\t" => cells.extend(std::iter::repeat_n((" ".into(), Some(1)), TAB)),
                _ if cluster.chars().any(must_be_escaped) => {
                    for c in escape::plain(cluster.as_bytes()).chars() {
                        cells.push((c.to_string().into(), width(c.encode_utf8(&mut [0; 4]))));
                    }
                }
                _ => cells.push((cluster.into(), width(cluster))),
            }
        }
        let at = at.unwrap_or(cells.len());
        (cells, at)
    }
}

/// Longer clusters are no real text, and their width is unpredictable.
const LONGEST_CLUSTER: usize = 128;

impl DrawnArea {
    /// The position of the cursor after a rewrap.
    fn reflowed(&self, window: WindowSize) -> Position {
        places(&self.cells, window.columns)[self.cursor]
    }
}

/// The position of each cell, and of the next one.
fn places(cells: &[Width], columns: usize) -> Vec<Position> {
    let mut next = Position::default();
    let mut places = Vec::with_capacity(cells.len() + 1);
    for cell in cells {
        if let Some(width) = cell
            && next.column + width > columns
        {
            next = Position { row: next.row + 1, column: 0 };
        }
        places.push(Position { column: next.column.min(columns - 1), ..next });
        match cell {
            Some(width) => next.column += width,
            None => next = Position { row: next.row + 1, column: 0 },
        }
    }
    if next.column >= columns {
        next = Position { row: next.row + 1, column: 0 };
    }
    places.push(next);
    places
}

/// Appends cells; with places, no newline after the row `bottom`.
fn show(text: &mut String, cells: &[(Cow<'_, str>, Width)], places: &[Position], bottom: usize) {
    for (n, (cell, width)) in cells.iter().enumerate() {
        match width {
            Some(_) => *text += cell,
            None if places.get(n).is_some_and(|place| place.row == bottom) => {}
            None => *text += "\r\n",
        }
    }
}

/// Final bytes of the sequences that move the cursor.
const UP: char = 'A';
const DOWN: char = 'B';
const RIGHT: char = 'C';

/// Moves the cursor by `cells` cells.
fn moved(cells: usize, direction: char) -> String {
    if cells > 0 { format!("\x1b[{cells}{direction}") } else { String::new() }
}
