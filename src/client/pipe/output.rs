//! Received bytes, on their way to stdout.

use std::io::{self, IsTerminal, Write};
use std::thread;

use resound_console::escape;
use tokio::sync::{mpsc, oneshot};

use crate::stdio::{StdStream, reader_left};

/// Chunks between the connection and the thread: enough to overlap, yet bounded.
const CHUNKS: usize = 4;

/// A chunk that ends stdout: no other is empty.
pub(super) const END: Vec<u8> = Vec::new();

/// The way to stdout.
pub(super) struct Stdout {
    /// Chunks to write.
    pub(super) chunks: mpsc::Sender<Vec<u8>>,
    /// Written chunks, empty, for reuse.
    pub(super) free_chunks: mpsc::Receiver<Vec<u8>>,
    /// Resolves when writing has ended, with the reason.
    pub(super) ended: oneshot::Receiver<io::Result<()>>,
    /// Resolves when the reader has left, even if nothing is written.
    pub(super) left: oneshot::Receiver<()>,
}

/// Writes stdout on its own thread, so that a slow reader does not block sending. A reader that
/// leaves is no error.
pub(super) fn stdout() -> Stdout {
    let (chunks, mut receive) = mpsc::channel::<Vec<u8>>(CHUNKS);
    let (return_chunk, free_chunks) = mpsc::channel(CHUNKS + 1);
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        let mut write = || -> io::Result<()> {
            while let Some(mut chunk) = receive.blocking_recv().filter(|chunk| !chunk.is_empty()) {
                StdStream::Stdout.write_all(&chunk)?;
                chunk.clear();
                let _ = return_chunk.try_send(chunk);
            }
            Ok(())
        };
        let result = match write() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        };
        let _ = end.send(result);
    });
    Stdout { chunks, free_chunks, ended, left: reader_left() }
}

/// The server's bytes for stdout: unchanged, except on a terminal, which they must not control.
pub(super) struct TerminalGuard {
    /// On a terminal: the start of an incomplete character.
    begun: Option<Vec<u8>>,
}

impl TerminalGuard {
    pub(super) fn of_stdout() -> Self {
        Self { begun: io::stdout().is_terminal().then(Vec::new) }
    }

    pub(super) fn admit(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        let Some(begun) = &mut self.begun else { return chunk };
        let bytes = [std::mem::take(begun), chunk].concat();
        // A CR may be the first half of a line ending.
        let whole = bytes.len() - escape::unfinished(&bytes).max(usize::from(bytes.ends_with(b"\r")));
        *begun = bytes[whole..].to_vec();
        let mut shown = Vec::with_capacity(whole);
        for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
            escape::append_plain(&mut shown, escape::without_ending(line));
            if line.ends_with(b"\n") {
                shown.push(b'\n');
            }
        }
        shown
    }

    /// The rest, at the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        escape::append_plain(&mut shown, &self.begun.take().unwrap_or_default());
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_text_and_is_not_taken_over_wherever_the_chunks_end() {
        let text = "Gr\u{fc}\u{df}e \\o/\t\u{4e16}\u{1f30d}\r\n\x1b[2Jx\rb\n".as_bytes();
        let want = "Gr\u{fc}\u{df}e \\o/\t\u{4e16}\u{1f30d}\n\\x1b[2Jx\\rb\n";
        for cut in 0..=text.len() {
            let mut guard = TerminalGuard { begun: Some(Vec::new()) };
            let (first, second) = text.split_at(cut);
            let shown = [guard.admit(first.to_vec()), guard.admit(second.to_vec()), guard.rest()].concat();
            assert_eq!(String::from_utf8_lossy(&shown), want, "cut at {cut}");
        }
        let mut guard = TerminalGuard { begun: Some(Vec::new()) };
        assert_eq!([guard.admit(b"ok\xc3".to_vec()), guard.rest()].concat(), b"ok\\xc3");
    }

    #[test]
    fn a_pipe_gets_the_bytes() {
        let mut guard = TerminalGuard { begun: None };
        assert_eq!(guard.admit(b"\x1b[2J\xff\r".to_vec()), b"\x1b[2J\xff\r");
        assert!(guard.rest().is_empty());
    }
}
