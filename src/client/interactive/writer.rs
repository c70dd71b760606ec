//! [`TerminalWriter`]: what is written to the terminal, by a thread of its own, since a terminal
//! may be slow or stuck.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::stdio::StdStream;

/// Bytes that may wait to be written before the server has to wait.
const ENOUGH: usize = 64 * 1024;
/// How long the terminal may take for the last words: one that is stuck must not keep us.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        self.queue.send(WriterTask::Flushed(done)).is_ok() && is_done.recv_timeout(LAST_WORDS).is_ok()
    }
}

fn write(pieces: &Receiver<WriterTask>, waiting: &watch::Sender<usize>) {
    for piece in pieces {
        match piece {
            WriterTask::Text(text) => {
                // Where the terminal is gone, nothing is seen anyway; its keys will say so.
                let _ = StdStream::Stdout.write_all(text.as_bytes());
                waiting.send_modify(|bytes| *bytes -= text.len());
            }
            WriterTask::Flushed(done) => drop(done.send(())),
        }
    }
}
