//! Draws the model as lines.

use super::columns::TopColumn;
use super::document::{LiveNews, TopRates};
use super::figures::{bytes, count, of_worker, rate, time};
use super::frame::{TopColour, TopLine, TopStyle};
use super::model::TopModel;
use crate::report::Glyphs;

/// The look of a terminal.
#[derive(Clone, Copy)]
pub(super) struct TopLook {
    pub(super) has_colours: bool,
    pub(super) glyphs: Glyphs,
}

impl TopLook {
    fn painted(self, colour: TopColour) -> TopStyle {
        TopStyle { colour: Some(colour).filter(|_| self.has_colours), ..TopStyle::default() }
    }

    fn label(self) -> TopStyle {
        self.painted(TopColour::Cyan)
    }
}

const PLAIN: TopStyle = TopStyle { colour: None, is_bold: false, is_faint: false };
const STRONG: TopStyle = TopStyle { is_bold: true, ..PLAIN };
const FAINT: TopStyle = TopStyle { is_faint: true, ..PLAIN };

/// The width of a name, and of a figure after it.
const NAME: usize = 10;
const FIGURE: usize = 9;
/// Lines below which only the table is shown.
const LOW: usize = 10;
const KEYS: &str = "q quit  ? help  \u{2190}\u{2192} column  r reverse  / filter  p pause";
const KEYS_IN_ASCII: &str = "q quit  ? help  left/right column  r reverse  / filter  p pause";

/// Lines that follow each other.
struct Pen {
    lines: Vec<TopLine>,
    /// The line that is being written.
    line: TopLine,
    width: usize,
    height: usize,
    look: TopLook,
}

impl Pen {
    fn text(&mut self, text: &str, style: TopStyle) {
        self.line.add(text, style, self.width);
    }

    fn to(&mut self, column: usize) {
        self.line.fill_to(column.min(self.width));
    }

    fn next_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
    }

    /// `name figure` of a line of several.
    fn pair(&mut self, name: &str, figure: &str) {
        self.text(name, self.look.label());
        self.text(&format!(" {figure}   "), PLAIN);
    }
}

/// The lines of a window, and how many connections its table has room for.
pub(super) fn draw(model: &TopModel, look: TopLook, columns: usize, rows: usize) -> (Vec<TopLine>, usize) {
    // The last line is the footer's.
    let height = rows.saturating_sub(1);
    let mut pen = Pen { lines: Vec::with_capacity(rows), line: TopLine::default(), width: columns, height, look };
    let mut page = 0;
    title(model, &mut pen);
    if model.shows_help {
        help(&mut pen);
    } else {
        if let Some(live) = model.live.as_ref().filter(|_| rows >= LOW) {
            rates(model, live, &mut pen);
            summary(live, &mut pen);
            workers(live, &mut pen);
        }
        page = table(model, &mut pen);
    }
    pen.lines.resize(height, TopLine::default());
    pen.line = TopLine::default();
    footer(model, &mut pen);
    pen.next_line();
    (pen.lines, page)
}

fn title(model: &TopModel, pen: &mut Pen) {
    let Some(live) = &model.live else {
        pen.text(&format!("resound at {}", model.address), STRONG);
        return pen.next_line();
    };
    let about = &live.about;
    let listeners: Vec<_> = about.listeners.iter().take(3).map(|each| &*each.listener).collect();
    let place = if listeners.is_empty() { String::new() } else { format!(" on {}", listeners.join(", ")) };
    let more = if about.listeners.len() > listeners.len() { ", ..." } else { "" };
    pen.text(&format!("resound {}{place}{more}", about.command), STRONG);
    let (status, style) = match (model.is_paused, &*about.status) {
        (true, _) => ("paused", pen.look.painted(TopColour::Yellow)),
        (_, "ready") => ("ready", pen.look.painted(TopColour::Green)),
        (_, other) => (other, pen.look.painted(TopColour::Red)),
    };
    pen.text("  ", PLAIN);
    pen.text(status, style.bold());
    pen.text(&format!("  {} {}, up {}", about.version, about.engine, time(about.uptime_seconds)), FAINT);
    pen.next_line();
}

/// One of the rates of a second.
type RateOf = fn(&TopRates) -> f64;

fn rates(model: &TopModel, live: &LiveNews, pen: &mut Pen) {
    let (now, past) = (&live.rates, &model.history);
    let made = if live.about.command == "load" { "made/s" } else { "accepted/s" };
    let shown: [(&str, String, RateOf); 6] = [
        (made, rate(now.accepted_per_second), |past| past.accepted_per_second),
        ("messages/s", rate(now.messages_per_second), |past| past.messages_per_second),
        ("closed/s", rate(now.closed_per_second), |past| past.closed_per_second),
        ("in/s", bytes(now.bytes_in_per_second), |past| past.bytes_in_per_second),
        ("open", count(now.open), |past| past.open as f64),
        ("out/s", bytes(now.bytes_out_per_second), |past| past.bytes_out_per_second),
    ];
    let half = pen.width / 2;
    // In a narrow window each has a line of its own.
    let pairs = if half > NAME + FIGURE { 2 } else { 1 };
    for line in shown.chunks(pairs) {
        for ((name, figure, value), from) in line.iter().zip([0, half]) {
            pen.to(from);
            pen.text(&format!("{name:<NAME$}"), pen.look.label());
            pen.text(&format!("{figure:>FIGURE$} "), PLAIN);
            let room = half.saturating_sub(NAME + FIGURE + 3);
            pen.text(&sparkline(past.iter().map(value), room, pen.look.glyphs), pen.look.painted(TopColour::Blue));
        }
        pen.next_line();
    }
}

/// The last values as a line of bars, the newest at the right.
fn sparkline(values: impl DoubleEndedIterator<Item = f64> + Clone, room: usize, glyphs: Glyphs) -> String {
    let shown = || values.clone().rev().take(room).collect::<Vec<_>>().into_iter().rev();
    let most = shown().fold(0.0, f64::max);
    let level = |value: f64| glyphs.level((value > 0.0 && most > 0.0).then(|| value / most));
    let bars: String = shown().map(level).collect();
    format!("{bars:>room$}")
}

fn summary(live: &LiveNews, pen: &mut Pen) {
    let about = &live.about;
    pen.pair("refused", &count(about.totals.refused));
    if let Some(lag) = about.loop_lag_seconds {
        pen.pair("loop lag", &time(lag));
    }
    let process = &about.process;
    if let Some(processors) = process.processors {
        pen.pair("processors", &format!("{processors:.2}"));
    }
    if let Some(memory) = process.resident_bytes {
        pen.pair("memory", &bytes(memory as f64));
    }
    if let Some(open) = process.open_descriptors {
        pen.pair("descriptors", &count(open));
    }
    pen.next_line();
    if let Some(far) = &about.dialled {
        pen.pair("to targets: open", &count(far.open));
        pen.pair("made/s", &rate(far.accepted_per_second));
        pen.pair("closed/s", &rate(far.closed_per_second));
        pen.pair("in/s", &bytes(far.bytes_in_per_second));
        pen.pair("out/s", &bytes(far.bytes_out_per_second));
        pen.next_line();
    }
    if about.totals.faults > 0 {
        pen.pair("faults", &count(about.totals.faults));
        let mut kinds: Vec<_> = about.totals.faults_by_kind.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (kind, number) in kinds.into_iter().take(20) {
            pen.pair(&super::document::cleaned(kind), &count(*number));
        }
        pen.next_line();
    }
}

fn workers(live: &LiveNews, pen: &mut Pen) {
    let workers = &live.about.workers;
    // The connections have most of the window.
    let room = pen.height / 5;
    if workers.is_empty() || room == 0 {
        return;
    }
    let heads = ["worker", "open", "accepted/s", "messages/s", "in/s", "out/s", "loop lag"];
    let cell = |head: &str, text: &str| format!("{text:>width$}  ", width = head.len().max(7));
    heads.iter().for_each(|head| pen.text(&cell(head, head), FAINT));
    pen.next_line();
    let mut shown: Vec<_> = workers.iter().collect();
    if workers.len() > room {
        let lag = |lag: Option<f64>| lag.unwrap_or(0.0);
        shown.sort_by(|a, b| b.stuck.cmp(&a.stuck).then(lag(b.loop_lag_seconds).total_cmp(&lag(a.loop_lag_seconds))));
        shown.truncate(room - 1);
    }
    for worker in &shown {
        let texts = of_worker(worker);
        heads.iter().zip(&texts).for_each(|(head, text)| pen.text(&cell(head, text), PLAIN));
        let lag = worker.loop_lag_seconds.map_or("-".into(), time);
        let (lag, style) = match worker.stuck {
            true => (format!("stuck {lag}"), pen.look.painted(TopColour::Red).bold()),
            false => (lag, PLAIN),
        };
        pen.text(&cell("loop lag", &lag), style);
        pen.next_line();
    }
    if workers.len() > shown.len() {
        pen.text(&format!("and {} workers with less lag", workers.len() - shown.len()), FAINT);
        pen.next_line();
    }
}

/// How many of the connections are there, and which.
pub(super) fn heading(model: &TopModel, shown: usize) -> String {
    if model.live.is_none() {
        return "Waiting for the first figures".into();
    }
    let (open, listed) = (model.list.open, model.list.connections.len());
    let mut text = match shown {
        _ if !model.filter.is_empty() && open > listed as u64 => {
            format!("{shown} of the first {listed} connections have \"{}\", of {open}", model.filter)
        }
        _ if !model.filter.is_empty() => format!("{shown} of {} connections have \"{}\"", open, model.filter),
        _ if open > listed as u64 => format!("{listed} of {open} connections"),
        _ if shown == 1 => "1 connection".into(),
        _ => format!("{shown} connections"),
    };
    let (_, head, _) = model.sort.words();
    text += &format!(", by {head}{}", if model.is_reversed { ", reversed" } else { "" });
    // The server lists those first that have most of a figure, or the oldest.
    let is_server_order = model.sort.server_sort() != "conn" || model.sort == TopColumn::Conn;
    if open > listed as u64 && (model.is_reversed || !is_server_order) {
        text += " among these";
    }
    if !model.list.complete && model.live.is_some() {
        text += "; a worker has not answered";
    }
    text
}

fn table(model: &TopModel, pen: &mut Pen) -> usize {
    let rows = model.rows();
    pen.text(&heading(model, rows.len()), STRONG);
    pen.next_line();
    let page = pen.height.saturating_sub(pen.lines.len() + 1);
    let from = model.scrolled.min(rows.len().saturating_sub(page));
    let seen = &rows[from..rows.len().min(from + page)];
    let longest = seen.iter().map(|row| row.peer.chars().count()).max().unwrap_or(0);
    let columns = TopColumn::that_fit(pen.width, model.sort, longest);
    for (at, (column, width)) in columns.iter().enumerate() {
        let (_, head, _) = column.words();
        let style = if *column == model.sort { pen.look.label().bold() } else { FAINT };
        pen.text(&spaced(at, &aligned(*column, head, *width)), style);
    }
    pen.next_line();
    for row in seen {
        for (at, (column, width)) in columns.iter().enumerate() {
            let text = column.text(row);
            let is_bad = *column == TopColumn::Retransmits && row.tcp.is_some_and(|tcp| tcp.retransmits > 0);
            let style = if is_bad { pen.look.painted(TopColour::Red) } else { PLAIN };
            pen.text(&spaced(at, &aligned(*column, &text, *width)), style);
        }
        pen.next_line();
    }
    page
}

fn spaced(at: usize, text: &str) -> String {
    if at == 0 { text.into() } else { format!(" {text}") }
}

/// A text of `width` columns; a longer one is cut, an address in its middle.
pub(super) fn aligned(column: TopColumn, text: &str, width: usize) -> String {
    let length = text.chars().count();
    let text = match column {
        TopColumn::Peer if length > width && width > 2 => {
            let (head, tail) = ((width - 2) / 2, width - 2 - (width - 2) / 2);
            let ends = text.chars().take(head).chain("..".chars()).chain(text.chars().skip(length - tail));
            ends.collect::<String>()
        }
        _ => text.chars().take(width).collect(),
    };
    if column.is_left_aligned() { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

fn help(pen: &mut Pen) {
    let keys = [
        ("left, right", "choose the column that sorts; so does its letter"),
        ("r", "reverse the order"),
        ("up, down, page up, page down, home, end", "scroll"),
        ("/", "show addresses that contain a text; Enter keeps it, Esc drops it"),
        ("p", "pause, and go on"),
        ("q, Esc, Ctrl+C", "quit"),
    ];
    for (key, what) in keys {
        pen.pair(key, what);
        pen.next_line();
    }
    for column in TopColumn::ALL {
        let (letter, head, what) = column.words();
        pen.text(&format!("{letter} "), pen.look.label());
        pen.text(&format!("{head:<7}{what}"), PLAIN);
        pen.next_line();
    }
}

fn footer(model: &TopModel, pen: &mut Pen) {
    if model.is_typing {
        pen.text("Addresses with: ", STRONG);
        pen.text(&model.filter, PLAIN);
        pen.text("_", FAINT);
    } else if let Some(trouble) = model.trouble() {
        pen.text(&trouble, pen.look.painted(TopColour::Red).bold());
    } else if let Some(note) = model.note() {
        pen.text(note, pen.look.painted(TopColour::Green));
    } else {
        pen.text(if pen.look.glyphs == Glyphs::Ascii { KEYS_IN_ASCII } else { KEYS }, FAINT);
    }
}
