//! [`Terminal`]: lines that are typed, and texts that appear above them.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::area::{EditArea, WHERE, WindowSize};
use super::keys::{self, KeyPress};
use super::line::{self, EditedLine, KeyEffect};
use super::saved_terminal::SavedTerminal;
use super::signals::TerminalSignals;
use super::writer::TerminalWriter;
use crate::client::limits::until;

/// Marks around what is pasted.
const MARKS: &str = "\x1b[?2004h";
const NO_MARKS: &str = "\x1b[?2004l";
/// What is drawn between these appears at once.
const DRAWING: [&str; 2] = ["\x1b[?2026h", "\x1b[?2026l"];
/// A window that keeps its size for so long has found it. (tmux tells each 250 ms.)
const REST: Duration = Duration::from_millis(300);
/// How long the terminal may take to say where the cursor is: one of which it is not known whether
/// it ever says so, and one that has said it before, perhaps over a slow line.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
const LATER_ANSWER: Duration = Duration::from_secs(10);
/// A program that still runs so long after Ctrl+Z was not stopped: there is no shell that could
/// continue it.
const UNSTOPPED: Duration = Duration::from_secs(1);

/// What a person did.
pub(super) enum Input {
    /// A line, or several that were pasted.
    Line(String),
    /// Ctrl+C on an empty line.
    Leave,
    /// Ctrl+D on an empty line, or the terminal is gone.
    End,
    /// Something that is no UTF-8.
    NoText,
}

/// The terminal, with a line editor. What blocks, reading and writing, has threads of its own,
/// which the end of the process ends.
pub(super) struct Terminal {
    keys: mpsc::Receiver<Vec<KeyPress>>,
    signals: TerminalSignals,
    writer: TerminalWriter,
    before: SavedTerminal,
    line: EditedLine,
    area: EditArea,
    /// Can the terminal move its cursor? On one that cannot, lines are just read and written.
    edits: bool,
    /// Is a line being read?
    reading: bool,
    /// What was typed ahead.
    typed: VecDeque<KeyPress>,
    /// What waits to be shown above the line.
    texts: String,
    /// The line on the screen is not the one that was typed.
    is_stale: bool,
    away: NotDrawing,
    /// Does the terminal say where the cursor is?
    answers: Option<bool>,
    closed: bool,
}

/// Why nothing can be drawn for now.
#[derive(Clone, Copy)]
enum NotDrawing {
    No,
    /// The window has another size. When it is at rest the terminal is asked where the cursor is.
    Lost {
        until: Instant,
        asked: bool,
    },
    /// The program is stopped, or goes on then.
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
            before: SavedTerminal::remember(),
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
            terminal.before.keep_keys();
            terminal.writer.write(MARKS.into());
        }
        let edits = terminal.edits;
        thread::spawn(move || {
            let take = |keys| send.blocking_send(keys).is_ok();
            if edits { keys::read(take) } else { keys::read_lines(take) }
        });
        terminal.read_on();
        Ok(terminal)
    }

    /// The next thing that is done. [`Self::read_on`] must be called before there can be another.
    /// May be given up at any time.
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
                Some(keys) = self.keys.recv() => self.hear(keys),
                continued = self.signals.next() => if continued { self.go_on() },
                () = until(deadline) => match self.away {
                    NotDrawing::Lost { asked: false, .. } => self.ask(),
                    NotDrawing::Lost { .. } => {
                        self.answers = Some(false);
                        self.settle(None);
                    }
                    _ => self.go_on(),
                },
            }
        }
    }

    /// Lets the next line be typed.
    pub(super) fn read_on(&mut self) {
        self.reading = true;
        match self.edits {
            true => self.is_stale = true,
            false => self.writer.write(self.line.shown().0),
        }
    }

    /// Shows a text of whole lines above the line being typed.
    pub(super) fn post(&mut self, text: String) {
        if self.edits {
            self.writer.waits(text.len());
            self.texts += &text;
            self.show();
        } else {
            self.writer.write(text);
        }
    }

    /// Waits until the terminal has taken most of what is to be shown.
    pub(super) fn room(&self) -> impl Future<Output = ()> + use<> {
        self.writer.room()
    }

    /// Takes in what was typed, and what the terminal says of itself.
    fn hear(&mut self, keys: Vec<KeyPress>) {
        if matches!(self.away, NotDrawing::Stopped { .. }) {
            // A stopped program would not hear this.
            self.go_on();
        }
        for key in keys {
            match key {
                KeyPress::CursorAt(column) => self.hear_column(column),
                key => self.typed.push_back(key),
            }
        }
    }

    /// Does what has been typed, up to the first thing that concerns the conversation.
    fn take_keys(&mut self) -> Option<Input> {
        self.look_at_window();
        while self.reading && matches!(self.away, NotDrawing::No) {
            let key = self.typed.pop_front()?;
            self.is_stale = true;
            match self.line.key(key) {
                KeyEffect::Nothing => {}
                KeyEffect::Said(text) => self.post(text),
                KeyEffect::ClearScreen => self.draw(|area, _| {
                    area.erase();
                    "\x1b[H\x1b[J".into()
                }),
                KeyEffect::Suspend => self.suspend(),
                KeyEffect::Accepted(line) => return Some(self.end_line(&line.clone(), Input::Line(line))),
                KeyEffect::NotUtf8(line) => return Some(self.end_line(&line, Input::NoText)),
                KeyEffect::Leave => return Some(self.end_line("", Input::Leave)),
                KeyEffect::End => return Some(self.end_line("", Input::End)),
            }
        }
        None
    }

    fn end_line(&mut self, line: &str, input: Input) -> Input {
        self.draw(|area, _| area.finish(&EditedLine::finished(line)));
        self.reading = false;
        input
    }

    /// Shows what waits to be shown, and the line as it is now.
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
        self.writer.waits_no_more(texts.len());
    }

    /// Writes what the area makes of the line.
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
        if window != self.area.window() {
            self.is_stale = true;
            if self.area.resize(window) {
                self.rest();
            }
        }
    }

    /// Waits until the window is at rest.
    fn rest(&mut self) {
        self.away = NotDrawing::Lost { until: Instant::now() + REST, asked: false };
    }

    /// Asks the terminal where the cursor is, if that matters and it is not known to say nothing.
    fn ask(&mut self) {
        if self.answers == Some(false) || !self.area.has_rows_above() {
            return self.settle(None);
        }
        let patience = if self.answers.is_some() { LATER_ANSWER } else { FIRST_ANSWER };
        self.away = NotDrawing::Lost { until: Instant::now() + patience, asked: true };
        self.writer.write(WHERE.into());
    }

    /// The terminal has said where the cursor is.
    fn hear_column(&mut self, column: usize) {
        self.answers = Some(true);
        // Otherwise it was another question.
        if let NotDrawing::Lost { asked: true, .. } = self.away {
            self.settle(Some(column));
        }
    }

    /// Draws again, as well as it can be known where.
    fn settle(&mut self, column: Option<usize>) {
        self.away = NotDrawing::No;
        self.area.find(column);
    }

    /// Gives the shell its terminal back as it was, and stops.
    fn suspend(&mut self) {
        self.draw(|area, _| area.leave() + NO_MARKS);
        self.writer.flush();
        self.before.restore();
        self.away = NotDrawing::Stopped { until: Instant::now() + UNSTOPPED };
        self.before.stop();
    }

    /// Takes the terminal again after the program was stopped.
    fn go_on(&mut self) {
        if !self.edits {
            return;
        }
        self.before.keep_keys();
        self.writer.write(MARKS.into());
        self.is_stale = true;
        match self.away {
            NotDrawing::Stopped { .. } => self.away = NotDrawing::No,
            // It was stopped by another program, and a shell may have written since.
            _ if self.area.has_rows_above() => self.rest(),
            _ => {}
        }
    }

    /// Shows what is left to be shown, and leaves the terminal as it was found, with the cursor at
    /// the margin behind these last words.
    pub(super) fn close(&mut self, farewell: &str) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let last_words = std::mem::take(&mut self.texts) + farewell;
        if self.edits {
            // A prompt with nothing behind it says nothing; what was begun to be typed stays to be
            // seen.
            let is_empty = self.line.is_empty();
            self.draw(|area, _| if is_empty { area.erase() } else { area.leave() } + NO_MARKS + &last_words);
        } else {
            self.writer.write(last_words);
        }
        let is_written = self.writer.flush();
        if self.edits {
            self.before.forget_keys();
            self.before.restore();
        }
        if !is_written {
            self.before.give_up();
        }
    }
}

/// However a conversation ends, by its time limit for one.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.close("");
    }
}
