//! What comes from stdin, on its way to the server.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::mpsc;

use crate::stdio::StdStream;

/// One read.
const CHUNK: usize = 64 * 1024;
/// Chunks between the thread and the connection: enough to overlap, bounded.
const CHUNKS: usize = 4;

/// Standard input, read on a thread of its own, which the end of the process ends: a read that blocks must not keep us.
#[derive(Default)]
pub(super) struct Stdin {
    /// Is the thread inside a read?
    reading: Arc<AtomicBool>,
}

impl Stdin {
    /// Starts to read.
    pub(super) fn read(&self) -> mpsc::Receiver<io::Result<Vec<u8>>> {
        let (send, receive) = mpsc::channel(CHUNKS);
        let reading = Arc::clone(&self.reading);
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            loop {
                reading.store(true, Ordering::Relaxed);
                let read = StdStream::Stdin.read(&mut buffer);
                reading.store(false, Ordering::Relaxed);
                let chunk = match read {
                    Ok(0) => return,
                    Ok(n) => Ok(buffer[..n].to_vec()),
                    Err(error) => Err(error),
                };
                let failed = chunk.is_err();
                if send.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        receive
    }

    /// Has stdin nothing to say for now? A file always has, until its end: a disk is slow, but never silent.
    pub(super) fn is_silent(&self) -> bool {
        let is_file = StdStream::Stdin.file_length().is_some();
        // The thread may not have got its turn yet to read what is there.
        !is_file && self.reading.load(Ordering::Relaxed) && !StdStream::Stdin.has_something()
    }
}
