//! [`TerminalWriter`]: writes to the terminal on its own thread, since a terminal may be slow or
//! stuck.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::stdio::StdStream;

/// Bytes that may wait before receiving pauses.
const ENOUGH: usize = 64 * 1024;
/// A terminal that accepts nothing for this time is stuck, and must not delay the exit.
const STUCK: Duration = Duration::from_millis(500);
/// The time that a slow terminal has for all of the last output.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes of one write: small, so that progress shows.
const PIECE: usize = 1024;

/// The thread ends with this value, and with the process at the latest.
pub(super) struct TerminalWriter {
    queue: Sender<WriterTask>,
    /// Bytes that wait, here or in the terminal's texts.
    pub(super) waiting: Arc<watch::Sender<usize>>,
}

enum WriterTask {
    Text(String),
    /// Answered once everything before it is written.
    Flushed(SyncSender<()>),
}

impl TerminalWriter {
    pub(super) fn start() -> Self {
        let (queue, pieces) = channel();
        let waiting = Arc::new(watch::Sender::new(0));
        let counter = Arc::clone(&waiting);
        thread::spawn(move || write(&pieces, &counter));
        Self { queue, waiting }
    }

    pub(super) fn write(&self, text: String) {
        if !text.is_empty() {
            self.waiting.send_modify(|waiting| *waiting += text.len());
            let _ = self.queue.send(WriterTask::Text(text));
        }
    }

    /// Waits until there is room for more output.
    pub(super) fn room(&self) -> impl Future<Output = ()> + use<> {
        let mut waiting = self.waiting.subscribe();
        async move {
            let _ = waiting.wait_for(|&bytes| bytes <= ENOUGH).await;
        }
    }

    /// Waits until everything is written. False if the terminal does not accept it.
    pub(super) fn flush(&self) -> bool {
        let (done, is_done) = sync_channel(1);
        if self.queue.send(WriterTask::Flushed(done)).is_err() {
            return false;
        }
        let limit = Instant::now() + LAST_WORDS;
        let mut left = *self.waiting.borrow();
        loop {
            match is_done.recv_timeout(STUCK) {
                Err(RecvTimeoutError::Timeout) => {}
                written => return written.is_ok(),
            }
            let before = std::mem::replace(&mut left, *self.waiting.borrow());
            if left >= before || Instant::now() >= limit {
                return false;
            }
        }
    }
}

fn write(pieces: &Receiver<WriterTask>, waiting: &watch::Sender<usize>) {
    for piece in pieces {
        match piece {
            WriterTask::Text(text) => {
                // Errors mean that the terminal has gone; reading its keys reports that.
                for piece in text.as_bytes().chunks(PIECE) {
                    let _ = StdStream::Stdout.write_all(piece);
                    waiting.send_modify(|bytes| *bytes -= piece.len());
                }
            }
            WriterTask::Flushed(done) => drop(done.send(())),
        }
    }
}
