//! [`Findings`]: stdout as the place for what the program has found out.
//!
//! What becomes of the output decides nothing: a reader that leaves costs the rest of it, and a
//! stdout that cannot be written is reported at the end. So writing never fails, and what the
//! program ends with goes through [`judged`].

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use crate::exit;
use crate::stdio::{StdStream, say};

/// A handle of the one stdout that a process has.
pub(crate) struct Findings;

/// What is written is passed on in whole lines.
struct WholeLines<W> {
    to: W,
    begun: Vec<u8>,
    reach: Reach,
}

enum Reach {
    Open,
    /// Its reader has left, and has seen enough.
    Left,
    Broken(io::Error),
}

static STDOUT: Mutex<WholeLines<StdStream>> =
    Mutex::new(WholeLines { to: StdStream::Stdout, begun: Vec::new(), reach: Reach::Open });

impl<W: Write> WholeLines<W> {
    fn take(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        if let Some(end) = last_newline(&self.begun) {
            self.pass_on(end + 1);
        }
    }

    fn pass_on(&mut self, upto: usize) {
        if matches!(self.reach, Reach::Open)
            && let Err(error) = self.to.write_all(&self.begun[..upto])
        {
            self.reach = match error.kind() {
                io::ErrorKind::BrokenPipe => Reach::Left,
                _ => Reach::Broken(error),
            };
        }
        self.begun.drain(..upto);
    }
}

/// Where the last line ends.
fn last_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&byte| byte == b'\n')
}

impl Write for Findings {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        STDOUT.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = STDOUT.lock().unwrap_or_else(PoisonError::into_inner);
        let all = stdout.begun.len();
        stdout.pass_on(all);
        Ok(())
    }
}

impl Findings {
    /// Does what is written still reach anything?
    pub(crate) fn arrive() -> bool {
        matches!(STDOUT.lock().unwrap_or_else(PoisonError::into_inner).reach, Reach::Open)
    }
}

/// What the program ends with, once its last words are out: a success that could not be shown is
/// none.
pub(crate) fn judged(code: ExitCode) -> ExitCode {
    let _ = Findings.flush();
    let stdout = STDOUT.lock().unwrap_or_else(PoisonError::into_inner);
    let Reach::Broken(error) = &stdout.reach else { return code };
    say(&format!("cannot write to stdout: {error}"));
    if code == ExitCode::SUCCESS { ExitCode::from(exit::USAGE) } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then fails.
    struct Limited(Vec<u8>, usize, io::ErrorKind);

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(self.2.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_passed_on_whole_and_nothing_follows_what_has_failed() {
        for (kind, is_left) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let mut passage = WholeLines { to: Limited(Vec::new(), 6, kind), begun: Vec::new(), reach: Reach::Open };
            passage.take(b"on");
            assert!(passage.to.0.is_empty(), "a line in parts is one write");
            passage.take(b"e\ntwo\nthr");
            assert_eq!(passage.to.0, b"one\ntw");
            assert_eq!(matches!(passage.reach, Reach::Left), is_left);
            passage.to.1 = 100;
            passage.take(b"ee\n");
            passage.pass_on(0);
            assert_eq!(passage.to.0, b"one\ntw", "behind half a line comes nothing");
        }
    }
}
