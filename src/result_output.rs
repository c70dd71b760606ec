//! [`ResultOutput`]: stdout for the results of a command.
//!
//! Writing never fails: a reader that leaves loses the rest, and an unwritable stdout is reported
//! at the end. Exit codes pass through [`exit_code`].

use std::io::{self, Write};
use std::process::ExitCode;

use parking_lot::Mutex;

use crate::exit;
use crate::stdio::{StdStream, say};

/// A handle of the one stdout of the process.
pub(crate) struct ResultOutput;

/// Passes on whole lines.
struct WholeLines<W> {
    to: W,
    partial: Vec<u8>,
    state: StdoutState,
}

enum StdoutState {
    Open,
    /// The reader has left.
    Left,
    Broken(io::Error),
}

static STDOUT: Mutex<WholeLines<StdStream>> =
    Mutex::new(WholeLines { to: StdStream::Stdout, partial: Vec::new(), state: StdoutState::Open });

impl<W: Write> WholeLines<W> {
    fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        if let Some(end) = memchr::memrchr(b'\n', &self.partial) {
            self.pass_on(end + 1);
        }
    }

    fn pass_on(&mut self, upto: usize) {
        if matches!(self.state, StdoutState::Open)
            && let Err(error) = self.to.write_all(&self.partial[..upto])
        {
            self.state = match error.kind() {
                io::ErrorKind::BrokenPipe => StdoutState::Left,
                _ => StdoutState::Broken(error),
            };
        }
        self.partial.drain(..upto);
    }
}

impl Write for ResultOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        STDOUT.lock().take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = STDOUT.lock();
        let all = stdout.partial.len();
        stdout.pass_on(all);
        Ok(())
    }
}

impl ResultOutput {
    /// Does anything still read the output?
    pub(crate) fn has_reader() -> bool {
        matches!(STDOUT.lock().state, StdoutState::Open)
    }
}

/// The exit code after the last write: a success that could not be written is none.
pub(crate) fn exit_code(code: ExitCode) -> ExitCode {
    let _ = ResultOutput.flush();
    let stdout = STDOUT.lock();
    let StdoutState::Broken(error) = &stdout.state else { return code };
    say(&format!("cannot write to stdout: {error}"));
    if code == ExitCode::SUCCESS { ExitCode::from(exit::USAGE) } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts this many bytes, and then fails.
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
    fn whole_lines_pass_and_nothing_follows_a_failure() {
        for (kind, is_left) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let mut passage =
                WholeLines { to: Limited(Vec::new(), 6, kind), partial: Vec::new(), state: StdoutState::Open };
            passage.take(b"on");
            assert!(passage.to.0.is_empty(), "a line in parts is one write");
            passage.take(b"e\ntwo\nthr");
            assert_eq!(passage.to.0, b"one\ntw");
            assert_eq!(matches!(passage.state, StdoutState::Left), is_left);
            passage.to.1 = 100;
            passage.take(b"ee\n");
            passage.pass_on(0);
            assert_eq!(passage.to.0, b"one\ntw", "nothing follows half a line");
        }
    }
}
