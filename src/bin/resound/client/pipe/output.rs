//! What comes from the server, on its way to stdout.

use std::io::{self, IsTerminal, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::escape;

/// Chunks between the connection and the thread: enough to overlap, bounded.
const CHUNKS: usize = 4;

/// The way to stdout.
pub(super) struct Stdout {
    /// What is to be written.
    pub(super) chunks: mpsc::Sender<Vec<u8>>,
    /// Chunks that have been written, empty, to be filled again.
    pub(super) empties: mpsc::Receiver<Vec<u8>>,
    /// Says when nothing more is written, and why.
    pub(super) ended: oneshot::Receiver<io::Result<()>>,
}

/// Writes stdout on a thread of its own, so that a slow reader there does not keep us from sending. A reader that has left is no error: it has
/// seen enough.
pub(super) fn stdout() -> Stdout {
    let (chunks, mut receive) = mpsc::channel::<Vec<u8>>(CHUNKS);
    let (give_back, empties) = mpsc::channel(CHUNKS + 1);
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        // Not through the standard library's buffer, which would look for newlines in all of it.
        let mut write = || -> io::Result<()> {
            let mut stdout = unbuffered_stdout()?;
            while let Some(mut chunk) = receive.blocking_recv() {
                stdout.write_all(&chunk)?;
                chunk.clear();
                let _ = give_back.try_send(chunk);
            }
            Ok(())
        };
        let result = match write() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        };
        let _ = end.send(result);
    });
    Stdout { chunks, empties, ended }
}

#[cfg(unix)]
fn unbuffered_stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn unbuffered_stdout() -> io::Result<io::StdoutLock<'static>> {
    Ok(io::stdout().lock())
}

/// The server's bytes as stdout gets them: exact, unless it is a terminal, which nobody's bytes shall take over.
pub(super) struct Guard {
    /// On a terminal, the beginning of a character whose rest has not come.
    begun: Option<Vec<u8>>,
}

impl Guard {
    pub(super) fn of_stdout() -> Self {
        Self { begun: io::stdout().is_terminal().then(Vec::new) }
    }

    pub(super) fn admit(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        let Some(begun) = &mut self.begun else { return chunk };
        let bytes = [std::mem::take(begun), chunk].concat();
        let whole = bytes.len() - unfinished(&bytes);
        *begun = bytes[whole..].to_vec();
        let mut shown = Vec::with_capacity(whole);
        for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
            for (at, cell) in escape::without_ending(line).split(|&byte| byte == b'\t').enumerate() {
                if at > 0 {
                    shown.push(b'\t');
                }
                escape::append_plain(&mut shown, cell);
            }
            if line.ends_with(b"\n") {
                shown.push(b'\n');
            }
        }
        shown
    }

    /// What is left at the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        escape::append_plain(&mut shown, &self.begun.take().unwrap_or_default());
        shown
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    let start = bytes[bytes.len() - longest..].iter().rposition(|&byte| byte >= 0xc0);
    // A CR may be half of a line's ending.
    let cr = usize::from(bytes.ends_with(b"\r"));
    let Some(start) = start else { return cr };
    let character = &bytes[bytes.len() - longest + start..];
    match std::str::from_utf8(character) {
        Err(error) if error.error_len().is_none() => character.len(),
        _ => cr,
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
            let mut guard = Guard { begun: Some(Vec::new()) };
            let (first, second) = text.split_at(cut);
            let shown = [guard.admit(first.to_vec()), guard.admit(second.to_vec()), guard.rest()].concat();
            assert_eq!(String::from_utf8_lossy(&shown), want, "cut at {cut}");
        }
        let mut guard = Guard { begun: Some(Vec::new()) };
        assert_eq!([guard.admit(b"ok\xc3".to_vec()), guard.rest()].concat(), b"ok\\xc3");
    }

    #[test]
    fn a_pipe_gets_the_bytes() {
        let mut guard = Guard { begun: None };
        assert_eq!(guard.admit(b"\x1b[2J\xff\r".to_vec()), b"\x1b[2J\xff\r");
        assert!(guard.rest().is_empty());
    }
}
