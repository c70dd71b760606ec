//! Standard input, on its way to the server.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::mpsc;

use crate::stdio::StdStream;

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// Chunks between the thread and the connection: enough to overlap, yet bounded.
const CHUNKS: usize = 4;

/// Standard input, read on its own thread, which ends with the process: a read that blocks must not
/// delay the exit.
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
                    read => read.map(|n| buffer[..n].to_vec()),
                };
                let failed = chunk.is_err();
                if send.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        receive
    }

    /// Is stdin silent for now? A file never is before its end: a disk may be slow.
    pub(super) fn is_silent(&self) -> bool {
        let is_file = StdStream::Stdin.file_length().is_some();
        // The thread may not have run yet to read waiting bytes.
        !is_file && self.reading.load(Ordering::Relaxed) && !StdStream::Stdin.has_something()
    }
}
