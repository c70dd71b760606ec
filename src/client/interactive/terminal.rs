//! [`Terminal`]: a line editor, with texts that appear above the line.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::area::{EditArea, WHERE, WindowSize};
use super::line::{self, EditedLine, Input, KeyEffect};
use super::saved_terminal::SavedTerminal;
use super::signals::TerminalSignals;
use super::writer::TerminalWriter;
use crate::client::limits::until;
use crate::keys::{self, KeyPress};

/// Bracketed paste: the terminal marks the start and the end of a paste.
const MARKS: &str = "\x1b[?2004h";
const NO_MARKS: &str = "\x1b[?2004l";
/// Synchronized output: text between these appears at once.
const DRAWING: [&str; 2] = ["\x1b[?2026h", "\x1b[?2026l"];
/// A window is stable once it has kept its size for this time. (tmux reports each 250 ms.)
const REST: Duration = Duration::from_millis(300);
/// The wait for the cursor position: from a terminal that may not support it, and from one that has
/// answered before, perhaps over a slow line.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
const LATER_ANSWER: Duration = Duration::from_secs(10);
/// A program that still runs this long after Ctrl+Z was not stopped: no shell could continue it.
const UNSTOPPED: Duration = Duration::from_secs(1);

/// The terminal with a line editor. Reading and writing may block, so each has its own thread,
/// which lives as long as the process at most.
pub(super) struct Terminal {
    keys: mpsc::Receiver<Vec<KeyPress>>,
    signals: TerminalSignals,
    pub(super) writer: TerminalWriter,
    before: SavedTerminal,
    line: EditedLine,
    area: EditArea,
    /// Can the terminal move its cursor? If not, lines are only read and written.
    edits: bool,
    /// Does the editor read a line?
    reading: bool,
    /// Keys typed ahead.
    typed: VecDeque<KeyPress>,
    /// Texts to show above the line.
    texts: String,
    /// The screen shows an older state of the line.
    is_stale: bool,
    away: NotDrawing,
    /// Does the terminal report the cursor position? `None` if unknown.
    answers: Option<bool>,
    closed: bool,
}

/// Why drawing is suspended.
#[derive(Clone, Copy)]
enum NotDrawing {
    No,
    /// The window changed its size. Once it is stable, the terminal is asked for the cursor
    /// position.
    Lost {
        until: Instant,
        asked: bool,
    },
    /// The program is stopped, or has just continued.
    Stopped {
        until: Instant,
    },
}

impl Terminal {
    pub(super) fn open() -> Result<Self> {
        let term = std::env::var("TERM").unwrap_or_default();
        let (send, keys) = mpsc::channel(1);
        let mut terminal = Self {
            keys,
            signals: TerminalSignals::listen(),
            writer: TerminalWriter::start(),
            before: SavedTerminal::save(),
            line: EditedLine::new(line::history_file()).context("the terminal cannot be used")?,
            area: EditArea::new(WindowSize::now()),
            edits: cfg!(windows) || !["", "dumb", "cons25", "emacs"].contains(&term.as_str()),
            reading: false,
            typed: VecDeque::new(),
            texts: String::new(),
            is_stale: false,
            away: NotDrawing::No,
            answers: None,
            closed: false,
        };
        if terminal.edits {
            terminal.before.enter_raw_mode();
            terminal.writer.write(MARKS.into());
        }
        let edits = terminal.edits;
        thread::spawn(move || {
            let take = |keys| send.blocking_send(keys).is_ok();
            if edits { keys::read(false, take) } else { keys::read_lines(take) }
        });
        terminal.read_line();
        Ok(terminal)
    }

    /// The next input. Call [`Self::read_line`] before the next one. Cancel safe.
    pub(super) async fn input(&mut self) -> Input {
        loop {
            if let Some(input) = self.take_keys() {
                return input;
            }
            self.show();
            let deadline = match self.away {
                NotDrawing::No => None,
                NotDrawing::Lost { until, .. } | NotDrawing::Stopped { until } => Some(until),
            };
            tokio::select! {
                Some(keys) = self.keys.recv() => self.receive_keys(keys),
                continued = self.signals.next() => if continued { self.resume() },
                () = until(deadline) => match self.away {
                    NotDrawing::Lost { asked: false, .. } => self.ask(),
                    NotDrawing::Lost { .. } => {
                        self.answers = Some(false);
                        self.redraw_at(None);
                    }
                    _ => self.resume(),
                },
            }
        }
    }

    /// Starts to read the next line.
    pub(super) fn read_line(&mut self) {
        self.reading = true;
        match self.edits {
            true => self.is_stale = true,
            false => self.writer.write(self.line.shown().0),
        }
    }

    /// Shows whole lines above the line being typed.
    pub(super) fn post(&mut self, text: String) {
        if self.edits {
            self.writer.waiting.send_modify(|waiting| *waiting += text.len());
            self.texts += &text;
            self.show();
        } else {
            self.writer.write(text);
        }
    }

    /// Takes keys, and answers of the terminal.
    fn receive_keys(&mut self, keys: Vec<KeyPress>) {
        if matches!(self.away, NotDrawing::Stopped { .. }) {
            // A key proves that the program runs again.
            self.resume();
        }
        for key in keys {
            match key {
                KeyPress::CursorAt(column) => self.receive_column(column),
                key => self.typed.push_back(key),
            }
        }
    }

    /// Processes typed keys, up to the first input for the conversation.
    fn take_keys(&mut self) -> Option<Input> {
        self.look_at_window();
        while self.reading && matches!(self.away, NotDrawing::No) {
            let key = self.typed.pop_front()?;
            self.is_stale = true;
            match self.line.key(key) {
                KeyEffect::Nothing => {}
                KeyEffect::Show(text) => self.post(text),
                KeyEffect::ClearScreen => self.draw(|area, _| {
                    area.erase();
                    "\x1b[H\x1b[J".into()
                }),
                KeyEffect::Suspend => self.suspend(),
                KeyEffect::Done(input) => return Some(self.end_line(input)),
            }
        }
        None
    }

    fn end_line(&mut self, input: Input) -> Input {
        let line = match &input {
            Input::Line(line) | Input::NoText(line) => line,
            Input::Leave | Input::End => "",
        };
        self.draw(|area, _| area.finish(&EditedLine::finished(line)));
        self.reading = false;
        input
    }

    /// Shows the waiting texts and the current line.
    fn show(&mut self) {
        self.look_at_window();
        if !matches!(self.away, NotDrawing::No) || !self.is_stale && self.texts.is_empty() {
            return;
        }
        let (texts, reading) = (std::mem::take(&mut self.texts), self.reading);
        self.is_stale = false;
        self.draw(|area, (line, cursor)| {
            let text = area.erase() + &texts;
            if reading { text + &area.draw(&line, cursor) } else { text }
        });
        self.writer.waiting.send_modify(|waiting| *waiting -= texts.len());
    }

    /// Writes what `drawing` returns.
    fn draw(&mut self, drawing: impl FnOnce(&mut EditArea, (String, usize)) -> String) {
        if self.edits {
            let [begin, end] = DRAWING;
            let drawing = drawing(&mut self.area, self.line.shown());
            self.writer.write(format!("{begin}{drawing}{end}"));
        }
    }

    fn look_at_window(&mut self) {
        if !self.edits || matches!(self.away, NotDrawing::Stopped { .. }) {
            return;
        }
        let window = WindowSize::now();
        if window != self.area.window {
            self.is_stale = true;
            if self.area.resize(window) {
                self.await_stable_window();
            }
        }
    }

    /// Suspends drawing until the window is stable.
    fn await_stable_window(&mut self) {
        self.away = NotDrawing::Lost { until: Instant::now() + REST, asked: false };
    }

    /// Asks for the cursor position, if that matters and the terminal may answer.
    fn ask(&mut self) {
        if self.answers == Some(false) || !self.area.has_rows_above() {
            return self.redraw_at(None);
        }
        let patience = if self.answers.is_some() { LATER_ANSWER } else { FIRST_ANSWER };
        self.away = NotDrawing::Lost { until: Instant::now() + patience, asked: true };
        self.writer.write(WHERE.into());
    }

    /// The terminal has reported the cursor position.
    fn receive_column(&mut self, column: usize) {
        self.answers = Some(true);
        // Other reports answer an earlier question.
        if let NotDrawing::Lost { asked: true, .. } = self.away {
            self.redraw_at(Some(column));
        }
    }

    /// Resumes drawing, with the area located as well as possible.
    fn redraw_at(&mut self, column: Option<usize>) {
        self.away = NotDrawing::No;
        self.area.find(column);
    }

    /// Restores the terminal for the shell, and stops the program.
    fn suspend(&mut self) {
        self.draw(|area, _| area.leave() + NO_MARKS);
        self.writer.flush();
        self.before.restore();
        self.away = NotDrawing::Stopped { until: Instant::now() + UNSTOPPED };
        self.before.stop();
    }

    /// Takes the terminal over after a stop.
    fn resume(&mut self) {
        if !self.edits {
            return;
        }
        self.before.enter_raw_mode();
        self.writer.write(MARKS.into());
        self.is_stale = true;
        match self.away {
            NotDrawing::Stopped { .. } => self.away = NotDrawing::No,
            // Another program stopped this one, and a shell may have written since.
            _ if self.area.has_rows_above() => self.await_stable_window(),
            _ => {}
        }
    }

    /// Shows the remaining texts and restores the terminal, with the cursor at the margin after
    /// these last lines.
    pub(super) fn close(&mut self, last_line: &str) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let last_text = std::mem::take(&mut self.texts) + last_line;
        if self.edits {
            // An empty prompt disappears; a started line stays visible.
            let is_empty = self.line.is_empty();
            self.draw(|area, _| if is_empty { area.erase() } else { area.leave() } + NO_MARKS + &last_text);
        } else {
            self.writer.write(last_text);
        }
        let is_written = self.writer.flush();
        if self.edits {
            self.before.discard_input();
            self.before.restore();
        }
        if !is_written {
            self.before.detach_stderr();
        }
    }
}

/// Restores the terminal however the conversation ends, by its time limit for example.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.close("");
    }
}
