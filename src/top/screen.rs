//! [`TopScreen`]: the whole terminal, and its modes as they were before.
//!
//! A thread of its own writes, so that a terminal that takes nothing holds up neither keys nor
//! signals; while it writes, nothing more is drawn.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::Notify;

use super::frame::TopLine;
use crate::client::SavedTerminal;
use crate::stdio::StdStream;

/// Another screen, without a cursor and without a second row for a long line, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?2026l\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[0m\x1b[2J";
/// What is written between these appears at once.
const DRAWING: [&str; 2] = ["\x1b[?2026h", "\x1b[?2026l"];
/// How long leaving waits for a terminal that takes nothing.
const LAST: Duration = Duration::from_secs(1);
/// The size of a terminal that does not report one, and the greatest.
const USUAL: (u16, u16) = (80, 24);
const MOST: u16 = 1000;

pub(super) struct TopScreen {
    saved: SavedTerminal,
    /// What the terminal shows, and its size.
    shown: Vec<TopLine>,
    size: (u16, u16),
    /// To the thread that writes.
    bytes: Option<SyncSender<String>>,
    /// The thread that writes has ended.
    ended: Receiver<()>,
    state: Arc<WriterState>,
}

#[derive(Default)]
struct WriterState {
    is_busy: AtomicBool,
    /// The terminal has gone.
    is_broken: AtomicBool,
    /// Something has been written.
    written: Notify,
}

impl TopScreen {
    /// Takes the terminal. A panic gives it back before its message appears.
    pub(super) fn enter() -> std::io::Result<Self> {
        let state = Arc::new(WriterState::default());
        // A frame that is not taken yet leaves room for the end.
        let (bytes, to_write) = sync_channel::<String>(2);
        let (ends, ended) = sync_channel(1);
        let writing = Arc::clone(&state);
        std::thread::Builder::new().name("resound-screen".into()).spawn(move || {
            for text in to_write {
                if StdStream::Stdout.write_all(text.as_bytes()).is_err() {
                    writing.is_broken.store(true, SeqCst);
                }
                writing.is_busy.store(false, SeqCst);
                writing.written.notify_one();
            }
            let _ = ends.send(());
        })?;
        let saved = SavedTerminal::save();
        let (before, earlier) = (SavedTerminal::save(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            let _ = StdStream::Stdout.write_all(LEAVE.as_bytes());
            before.restore();
            earlier(panic);
        }));
        saved.enter_raw_mode();
        let mut screen = Self { saved, shown: Vec::new(), size: (0, 0), bytes: Some(bytes), ended, state };
        screen.put(ENTER.into());
        Ok(screen)
    }

    /// Hands text to the thread that writes, once it has written what came before.
    fn put(&mut self, text: String) {
        self.state.is_busy.store(true, SeqCst);
        let _ = self.bytes.as_ref().map(|bytes| bytes.send(text));
    }

    /// Can something be drawn?
    pub(super) fn is_idle(&self) -> bool {
        !self.state.is_busy.load(SeqCst)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state.is_broken.load(SeqCst)
    }

    /// Waits until something has been written.
    pub(super) async fn written(&self) {
        self.state.written.notified().await;
    }

    /// Draws the lines that have changed, in one write.
    pub(super) fn draw(&mut self, lines: impl FnOnce(usize, usize) -> Vec<TopLine>) {
        let (columns, rows) = crossterm::terminal::size().ok().filter(|&(x, y)| x > 0 && y > 0).unwrap_or(USUAL);
        let size = (columns.min(MOST), rows.min(MOST));
        let mut text = String::from(DRAWING[0]);
        if self.size != size {
            (self.size, self.shown) = (size, Vec::new());
            text += CLEAR;
        }
        let lines = lines(size.0.into(), size.1.into());
        for (row, line) in lines.iter().enumerate().filter(|(row, line)| self.shown.get(*row) != Some(line)) {
            let _ = write!(text, "\x1b[{};1H", row + 1);
            line.write(&mut text, size.0.into());
        }
        text += DRAWING[1];
        self.shown = lines;
        self.put(text);
    }

    /// Draws all anew the next time.
    pub(super) fn forget(&mut self) {
        self.size = (0, 0);
    }

    /// Takes the terminal again, which a shell or a stop has changed.
    pub(super) fn resume(&mut self) {
        self.saved.enter_raw_mode();
        self.forget();
        // A terminal that takes nothing is drawn on later.
        if self.is_idle() {
            self.put(ENTER.into());
        }
    }

    /// Gives the terminal to the shell, as Ctrl+Z does, until the program goes on.
    pub(super) async fn suspend(&mut self) {
        if !self.becomes_idle().await {
            return;
        }
        self.put(LEAVE.into());
        self.becomes_idle().await;
        self.saved.restore();
        self.saved.stop();
        self.resume();
    }

    /// Waits until all is written. False if the terminal takes nothing.
    async fn becomes_idle(&self) -> bool {
        let waiting = async {
            while !self.is_idle() {
                self.written().await;
            }
        };
        tokio::time::timeout(LAST, waiting).await.is_ok()
    }
}

impl Drop for TopScreen {
    /// Gives the terminal back, at the end and when a signal ends the program.
    fn drop(&mut self) {
        // The hook has done so already, and what it prints follows.
        if std::thread::panicking() {
            return;
        }
        let _ = self.bytes.take().map(|bytes| bytes.try_send(LEAVE.into()));
        let _ = self.ended.recv_timeout(LAST);
        self.saved.discard_input();
        self.saved.restore();
        let _ = std::panic::take_hook();
    }
}
