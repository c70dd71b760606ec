//! [`TerminalWriter`]: what is written to the terminal, by a thread of its own, since a terminal
//! may be slow or stuck.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::stdio::StdStream;

/// Bytes that may wait to be written before the server has to wait.
const ENOUGH: usize = 64 * 1024;
/// A terminal that takes nothing of the last words for so long is stuck, and must not keep us.
const STUCK: Duration = Duration::from_millis(500);
/// How long one that is only slow may take for all of them.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes that are written at a time, so that it shows whether the terminal takes any.
const PIECE: usize = 1024;

/// The thread lives as long as this, and never longer than the process.
pub(super) struct TerminalWriter {
    queue: Sender<WriterTask>,
    waiting: Arc<watch::Sender<usize>>,
}

enum WriterTask {
    Text(String),
    /// All that came before has been written.
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
            self.waits(text.len());
            let _ = self.queue.send(WriterTask::Text(text));
        }
    }

    /// So many bytes wait elsewhere until they can be written.
    pub(super) fn waits(&self, bytes: usize) {
        self.waiting.send_modify(|waiting| *waiting += bytes);
    }

    /// So many of them wait no more.
    pub(super) fn waits_no_more(&self, bytes: usize) {
        self.waiting.send_modify(|waiting| *waiting -= bytes);
    }

    /// Waits until there is room for more.
    pub(super) fn room(&self) -> impl Future<Output = ()> + use<> {
        let mut waiting = self.waiting.subscribe();
        async move {
            let _ = waiting.wait_for(|&bytes| bytes <= ENOUGH).await;
        }
    }

    /// Waits until all is written. False where the terminal does not take it.
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
                // Where the terminal is gone, nothing is seen anyway; its keys will say so.
                for piece in text.as_bytes().chunks(PIECE) {
                    let _ = StdStream::Stdout.write_all(piece);
                    waiting.send_modify(|bytes| *bytes -= piece.len());
                }
            }
            WriterTask::Flushed(done) => drop(done.send(())),
        }
    }
}
