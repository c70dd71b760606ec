//! [`Consoles`]: where a program prints its events, and what it prints on stdout beside that.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use resound::Engine;
use resound_console::printer::{FinalFlush, Printer};
use resound_console::settings::{ConsoleSettings, LogDetail};
use resound_console::sink::{Destination, Unwritten};
use resound_console::{Console, LANES_OF_THREADS};

use crate::log_file::{LogFile, LogReopener};
use crate::stdio::StdStream;

/// Where lines come from, beside those of the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineSource {
    /// The number of workers.
    Workers(usize),
    /// A thread for each connection.
    Threads,
}

impl LineSource {
    pub(crate) fn of(engine: Engine, workers: NonZeroUsize) -> Self {
        if engine == Engine::Threads { Self::Threads } else { Self::Workers(workers.get()) }
    }
}

/// The consoles of a program, and their outputs.
pub(crate) struct Consoles {
    /// What the program prints, to stdout or to the log file.
    pub(crate) console: Console,
    /// What it prints on stdout in any case.
    pub(crate) loud: Console,
    outputs: Vec<(String, FinalFlush)>,
    /// Of the log file.
    pub(crate) reopener: Option<LogReopener>,
}

impl Consoles {
    /// Of a program whose lines come from there, and which counts `noun`s.
    pub(crate) fn new(
        settings: &ConsoleSettings,
        file: Option<LogFile>,
        lines: LineSource,
        noun: &'static str,
    ) -> Self {
        let (loud, flush) = console(settings, StdStream::Stdout, "stdout".into(), lines, noun);
        let mut outputs = vec![("stdout".into(), flush)];
        let (mut to_file, mut reopener) = (None, None);
        if let Some(file) = file {
            let (name, asked): (_, Arc<AtomicBool>) = (file.name(), file.asked());
            let (console, flush) = console(settings, file, name.clone(), lines, noun);
            reopener = Some(LogReopener::new(asked, flush.printer()));
            outputs.push((name, flush));
            to_file = Some(console);
        }
        let console = to_file.unwrap_or_else(|| loud.clone());
        let console = if settings.detail == Some(LogDetail::Off) { console.silent() } else { console };
        Self { console, loud, outputs, reopener }
    }

    /// Writes the rest, and reports what an output has not taken. Returns whether each has taken
    /// all.
    pub(crate) fn finish(self, patience: Duration, report: impl Fn(&str, &Unwritten)) -> bool {
        let mut is_written = true;
        for (name, flush) in self.outputs {
            let unwritten = flush.finish(patience);
            unwritten.iter().for_each(|unwritten| report(&name, unwritten));
            is_written &= unwritten.is_none();
        }
        is_written
    }
}

/// A console that prints to this output.
fn console(
    settings: &ConsoleSettings,
    output: impl Destination + 'static,
    name: String,
    lines: LineSource,
    noun: &'static str,
) -> (Console, FinalFlush) {
    let of_skipped = settings.clone();
    let skipped = move |skipped| Console::skipped(&of_skipped, skipped, noun);
    let failing = move |error: &io::Error| {
        tracing::warn!("{name} cannot be written ({error}): the program retries, and counts the lines it skips");
    };
    let lanes = match lines {
        LineSource::Workers(count) => count,
        LineSource::Threads => LANES_OF_THREADS,
    };
    let (printer, flush) = Printer::new(output, lanes + 1, skipped, failing);
    let console = Console::new(printer, settings.clone(), noun);
    (if lines == LineSource::Threads { console.of_threads() } else { console }, flush)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use resound::{CloseReason, Closed, ConnId, ConnInfo, Endpoint, Observer};

    use super::*;

    /// An output that a test reads.
    struct Kept(mpsc::Sender<Vec<u8>>);

    impl Destination for Kept {}

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn errors_of_this_end_are_printed_from_quiet_networks_too() {
        let (keep, kept) = mpsc::channel();
        let settings =
            ConsoleSettings { quiet_from: ["10.0.0.0/8".parse().unwrap()].into(), ..ConsoleSettings::default() };
        let (mut console, flush) = console(&settings, Kept(keep), "it".into(), LineSource::Workers(1), "message");
        let peer: std::net::SocketAddr = "10.0.0.1:1".parse().unwrap();
        let conn = ConnInfo::new(ConnId(1), peer.into(), Endpoint::Unknown);
        let reasons = [CloseReason::Finished, CloseReason::Reset, CloseReason::Panicked, CloseReason::LeftEarly];
        for reason in reasons.into_iter().chain([CloseReason::Failed(io::ErrorKind::OutOfMemory)]) {
            let lasted = Duration::ZERO;
            let how = Closed { reason, bytes_in: 0, bytes_out: 0, messages: 0, lasted };
            console.opened(&conn);
            console.message(&conn, b"hello\n");
            console.unterminated(&conn, lasted);
            console.closed(&conn, &how);
            console.unopened(&conn, &how);
        }
        assert!(flush.finish(Duration::from_secs(60)).is_none());
        let text = String::from_utf8(kept.try_iter().flatten().collect()).unwrap();
        let mut lines = Vec::new();
        for reason in ["the service panicked", "socket error: out of memory"] {
            lines.push(format!("Connection closed for ('10.0.0.1', 1): {reason}"));
            lines.push(format!("No connection from ('10.0.0.1', 1): {reason}"));
        }
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
}
