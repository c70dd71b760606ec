//! Lines on a terminal that are redrawn in place.

use std::io::Write;

use crossterm::cursor::{MoveToColumn, MoveUp};
use crossterm::queue;
use crossterm::terminal::{self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};

use crate::report::page::visible;
use crate::stdio::StdStream;

/// The size of a terminal that does not report one.
const USUAL: (u16, u16) = (80, 24);

/// The width of the terminal in columns.
pub(crate) fn columns() -> usize {
    size().0
}

fn size() -> (usize, usize) {
    let (columns, rows) = terminal::size().unwrap_or(USUAL);
    // A serial line reports zero.
    let or = |n, usual: u16| usize::from(if n == 0 { usual } else { n });
    (or(columns, USUAL.0), or(rows, USUAL.1))
}

/// The lines at the cursor, on stderr. They change neither the terminal's modes nor its cursor, so
/// that there is nothing to restore.
pub(crate) struct Screen {
    /// The width of each line on the screen.
    drawn: Vec<usize>,
    /// The lines stay at the end: without a terminal on stdout nothing follows them.
    stay: bool,
}

impl Screen {
    pub(crate) fn new(stay: bool) -> Self {
        Self { drawn: Vec::new(), stay }
    }

    /// Draws the lines that `frame` makes for a number of columns and rows over the previous ones.
    pub(crate) fn draw(&mut self, frame: impl FnOnce(usize, usize) -> Vec<String>) {
        let (columns, rows) = size();
        // The cursor is below the last line, which needs a row of its own.
        let mut lines = frame(columns, rows.saturating_sub(1));
        lines.truncate(rows.saturating_sub(1));
        let mut bytes = Vec::with_capacity(2048);
        // With a single write and a synchronised update nothing flickers.
        let _ = queue!(bytes, BeginSynchronizedUpdate);
        self.back(&mut bytes, columns);
        for line in &lines {
            let _ = queue!(bytes, Clear(ClearType::UntilNewLine));
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let _ = queue!(bytes, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate);
        let _ = StdStream::Stderr.write_all(&bytes);
        self.drawn = lines.iter().map(|line| visible(line)).collect();
    }

    /// Moves to the first column of the first line. In a narrower window a line takes several rows.
    fn back(&self, bytes: &mut Vec<u8>, columns: usize) {
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        let _ = queue!(bytes, MoveToColumn(0));
        if rows > 0 {
            let _ = queue!(bytes, MoveUp(u16::try_from(rows).unwrap_or(u16::MAX)));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.stay || self.drawn.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        self.back(&mut bytes, size().0);
        let _ = queue!(bytes, Clear(ClearType::FromCursorDown));
        let _ = StdStream::Stderr.write_all(&bytes);
    }
}
