//! What the libraries and the program warn of, on stderr: through a [`Printer`], for a stuck stderr
//! must not block an accept loop, and at a limited rate.

mod limit;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use resound_console::printer::{EventWeight, FinalFlush, Printer, SkippedEvents};
use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use self::limit::WarningLimit;
use crate::journal::{self, LinePriority};
use crate::stdio::StdStream;

/// Prints what goes through `tracing`, until [`Warnings::finish`].
pub(crate) struct Warnings {
    shared: Arc<SharedLimit>,
    flush: FinalFlush,
}

/// Begins to print warnings and errors, each with its time if that is wanted and if stderr is not
/// the journal, which has its own.
pub(crate) fn print_warnings(with_time: bool) -> Warnings {
    let style = WarningStyle { is_journal: journal::is_stderr(), with_time };
    let skipped = move |skipped: SkippedEvents| {
        let text = format!("resound: ... and {} more warnings\n", skipped.events + skipped.lines);
        style.line(&text, LinePriority::Warning)
    };
    // There is no other stream to report a failing stderr on.
    let (printer, flush) = Printer::new(StdStream::Stderr, 1, skipped, |_| {});
    let shared = Arc::new(SharedLimit { printer, limit: Mutex::default(), ended: Condvar::new(), style });
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .event_format(PlainLine)
        .with_writer(WarningWriter(Arc::clone(&shared)))
        .init();
    Warnings { shared, flush }
}

impl Warnings {
    /// Prints how many were left out, and waits until stderr has taken all of it.
    pub(crate) fn finish(self, patience: Duration) {
        let shared = &self.shared;
        let left_out = shared.limit.lock().finish(Instant::now());
        left_out.iter().for_each(|(kind, text)| shared.print(kind, text));
        shared.ended.notify_all();
        self.flush.finish(patience);
    }
}

/// The limit of each kind, and where the rest goes.
struct SharedLimit {
    printer: Arc<Printer>,
    limit: Mutex<WarningLimit<Identifier>>,
    /// Wakes the thread that reports what was left out.
    ended: Condvar,
    style: WarningStyle,
}

impl SharedLimit {
    fn print(&self, kind: &Identifier, line: &str) {
        let line = self.style.line(line, priority_of(kind));
        self.printer.print(0, EventWeight::Event, |to| to.extend_from_slice(line.as_bytes()));
    }

    /// Prints a line, or counts it.
    fn take(self: &Arc<Self>, kind: Identifier, line: &str) {
        let mut limit = self.limit.lock();
        if limit.admits(&kind, line, Instant::now()) {
            drop(limit);
            self.print(&kind, line);
        } else if limit.begins_to_wait() {
            drop(limit);
            let shared = Arc::clone(self);
            // Without the thread the count comes with the end.
            let _ = thread::Builder::new().name("resound-warnings".into()).spawn(move || shared.report());
        }
    }

    /// Reports what was left out, as long as there is something.
    fn report(&self) {
        let mut limit = self.limit.lock();
        while let Some(at) = limit.next_report() {
            let now = Instant::now();
            let left = at.saturating_duration_since(now);
            if left.is_zero() {
                limit.due(now).iter().for_each(|(kind, text)| self.print(kind, text));
                continue;
            }
            self.ended.wait_for(&mut limit, left);
        }
        limit.waits_no_more();
    }
}

/// How a line looks: `resound: warning: what happened`.
#[derive(Clone, Copy)]
struct WarningStyle {
    is_journal: bool,
    with_time: bool,
}

impl WarningStyle {
    fn line(self, text: &str, priority: LinePriority) -> String {
        match (self.is_journal, self.with_time) {
            (true, _) => journal::prefixed(text, priority),
            (false, true) => format!("{} {text}", humantime::format_rfc3339_millis(SystemTime::now())),
            (false, false) => text.into(),
        }
    }
}

/// The priority of the lines of one kind.
fn priority_of(kind: &Identifier) -> LinePriority {
    let is_error = *kind.0.metadata().level() == tracing::Level::ERROR;
    if is_error { LinePriority::Error } else { LinePriority::Warning }
}

/// Formats an event as a line without its style: the time or the priority is that of its print.
struct PlainLine;

impl<S, N> FormatEvent<S, N> for PlainLine
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &tracing::Event<'_>) -> fmt::Result {
        let level = if *event.metadata().level() == tracing::Level::ERROR { "error" } else { "warning" };
        write!(to, "resound: {level}: ")?;
        cx.field_format().format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

#[derive(Clone)]
struct WarningWriter(Arc<SharedLimit>);

/// The line of one event.
struct WarningLine {
    shared: Arc<SharedLimit>,
    /// Where it is written in the source: that is its kind.
    kind: Option<Identifier>,
}

impl<'a> MakeWriter<'a> for WarningWriter {
    type Writer = WarningLine;

    fn make_writer(&'a self) -> WarningLine {
        WarningLine { shared: Arc::clone(&self.0), kind: None }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> WarningLine {
        WarningLine { shared: Arc::clone(&self.0), kind: Some(event.callsite()) }
    }
}

impl io::Write for WarningLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        // Only events are printed, and each has a kind.
        if let Some(kind) = self.kind.clone() {
            self.shared.take(kind, &line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
