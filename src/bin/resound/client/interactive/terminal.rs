//! [`Terminal`]: lines that are typed, and texts that appear above them.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use rustyline::ExternalPrinter;
use rustyline::error::ReadlineError;
use tokio::sync::mpsc;

use super::before::Before;
use super::editor;
use super::screen::Screen;

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
    /// SIGINT, from elsewhere than the keyboard.
    Signal,
}

/// The terminal, with a line editor on a thread of its own, which the end of the process ends.
pub(super) struct Terminal {
    inputs: mpsc::Receiver<Input>,
    /// Lets the editor read the next line. It waits for this, so that what a line leads to is known before the next prompt stands there.
    read_on: std::sync::mpsc::Sender<()>,
    screen: Arc<Screen>,
    /// Texts go through the editor. On a terminal that is too simple for one they are just written.
    edits: bool,
    before: Before,
    closed: bool,
}

impl Terminal {
    pub(super) fn open() -> Result<Self> {
        let before = Before::remember();
        let screen = Arc::new(Screen::default());
        let history = editor::history_file();
        let mut editor = editor::editor(Arc::clone(&screen), before.clone(), history.as_ref())
            .context("the terminal cannot be used")?;
        let printer = editor.create_external_printer().ok();
        let edits = printer.is_some();
        if let Some(mut printer) = printer {
            before.keep_keys();
            before.resume_when_continued();
            let screen = Arc::clone(&screen);
            // Where the terminal is gone, nobody sees it anyway; the editor will say so.
            thread::spawn(move || screen.serve(|text| drop(printer.print(text))));
        }
        let (send, inputs) = mpsc::channel(1);
        let (read_on, may_read) = std::sync::mpsc::channel();
        let watch = Arc::clone(&screen);
        thread::spawn(move || {
            while may_read.recv().is_ok() {
                let line = editor.readline("> ");
                watch.has_read();
                let input = match line {
                    Ok(line) => {
                        // A history that cannot be written is not worth a word.
                        if editor.add_history_entry(&line).unwrap_or(false)
                            && let Some(path) = &history
                        {
                            let _ = editor.append_history(path);
                        }
                        Input::Line(line)
                    }
                    Err(ReadlineError::Interrupted) if watch.is_left() => Input::Leave,
                    // While it reads, the editor handles this signal itself.
                    Err(ReadlineError::Interrupted) => Input::Signal,
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Input::NoText,
                    Err(_) => Input::End,
                };
                if send.blocking_send(input).is_err() {
                    return;
                }
            }
        });
        let terminal = Self { inputs, read_on, screen, edits, before, closed: false };
        terminal.read_on();
        Ok(terminal)
    }

    /// The next thing that is done. [`Self::read_on`] must be called before there can be another.
    pub(super) async fn input(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::End)
    }

    /// Lets the next line be typed.
    pub(super) fn read_on(&self) {
        if self.edits {
            self.screen.asked();
        }
        // Where the editor has ended, its end has been told as an input.
        let _ = self.read_on.send(());
    }

    /// Shows a text of whole lines above the line being typed.
    pub(super) fn post(&self, text: String) {
        if self.edits {
            self.screen.post(text);
        } else {
            write(&text);
        }
    }

    /// What waits to be shown.
    pub(super) fn screen(&self) -> Arc<Screen> {
        Arc::clone(&self.screen)
    }

    /// Shows what is left to be shown, and leaves the terminal as it was found, with the cursor at the margin behind these last words.
    pub(super) fn close(&mut self, farewell: &str) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let left = self.screen.close();
        let prompt = match left.reading {
            // A prompt with nothing behind it says nothing; what was begun to be typed stays to be seen.
            true if left.empty => "\r\x1b[K",
            true => "\r\n",
            false => "",
        };
        let last_words = format!("{prompt}{}{farewell}", left.unseen);
        if self.edits { self.before.restore(&last_words) } else { write(&last_words) }
    }
}

/// However a conversation ends, by its time limit for one.
impl Drop for Terminal {
    fn drop(&mut self) {
        self.close("");
    }
}

fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    // Where the terminal is gone, nobody sees it anyway.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
