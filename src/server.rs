//! `resound server`.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use resound::proxy::Proxies;
use resound::server::{Access, Listener};
use resound::{
    Address, Chargen, CloseReason, Discard, Echo, Endpoint, Engine, Family, Framing, Handle, Handshake, Limits, Reply,
    Server,
};
use tracing_subscriber::fmt::format::Writer;

use crate::certificates::Files;
use crate::console::{Console, CountedService, Format};
use crate::printer::{EventWeight, Printer, PrinterMessages};
use crate::signals::{CaughtSignals, SAME_SIGNAL};
use crate::sink::Unwritten;
use crate::stdio::{StdStream, say};
use crate::units::counted;
use crate::{descriptors, exit};

/// What a stuck console may hold up the exit.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What `resound server` was asked to do.
pub(crate) struct ServerPlan {
    pub(crate) addresses: Vec<Address>,
    pub(crate) family: Family,
    pub(crate) mode: ServerMode,
    pub(crate) framing: Framing,
    pub(crate) engine: Engine,
    pub(crate) busy_poll: Duration,
    pub(crate) congestion: Option<String>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) limits: Limits,
    /// `None`: in plain text.
    pub(crate) tls: Option<Files>,
    pub(crate) proxies: ProxyMode,
    pub(crate) access: Access,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) verbose: bool,
    /// The proxies' own connections are kept out of the log.
    pub(crate) quiet_local: bool,
    pub(crate) drain_timeout: Duration,
    pub(crate) quiet: bool,
    /// Whoever has started this server holds the other end of its stdin.
    pub(crate) while_stdin: bool,
    pub(crate) format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerMode {
    /// `Server received: ` and the message
    Reply,
    /// The same bytes (RFC 862)
    Echo,
    /// Nothing (RFC 863)
    Discard,
    /// A rotating pattern of characters, without end (RFC 864)
    Chargen,
}

/// Whether connections come through proxies that say who the client is.
pub(crate) enum ProxyMode {
    Not,
    /// Through this machine's own.
    Here,
    By(Proxies),
}

pub(crate) fn run(plan: ServerPlan) -> Result<ExitCode> {
    if plan.while_stdin {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut StdStream::Stdin, &mut std::io::sink());
            std::process::exit(exit::SIGNAL.into());
        });
    }
    let complaints = complaints();
    // Before anything is started, the addresses behind names included.
    descriptors::for_server(plan.engine, plan.workers, plan.addresses.len(), false)?;
    let listeners = bind(&plan)?;
    let room = descriptors::for_server(plan.engine, plan.workers, listeners.iter().flatten().count(), true)?;
    let workers = room.workers;
    let chosen = chosen_ports(&plan.addresses, &listeners);
    let addresses: Vec<_> = listeners.iter().flatten().map(|listener| listener.address().clone()).collect();
    let exposed = addresses.iter().find(|address| is_reachable(address)).cloned();
    let proxies = believed(plan.proxies, exposed.as_ref())?;
    // Who has said who may come need not be told that anybody may.
    let asks_who = proxies.is_some() || plan.tls.as_ref().is_some_and(Files::ask_for_certificates);
    let exposed = exposed.filter(|_| plan.access.admits_unlisted() && !asks_who && !plan.quiet);

    let unit = match (plan.mode, plan.framing) {
        (ServerMode::Reply, Framing::Auto { .. } | Framing::Line { .. }) => CountedService::Messages,
        _ => CountedService::Reads,
    };
    let (console, ending) = Console::new(plan.format, plan.verbose, workers.get(), unit);
    let watch = if plan.quiet { console.silent() } else { console.quiet_local(plan.quiet_local) };
    let tls = plan.tls.map(|files| files.begin(&addresses)).transpose()?;
    let observed = watch.clone();
    let server = listeners
        .into_iter()
        .flatten()
        .fold(Server::new(), Server::listener)
        .engine(plan.engine)
        .workers(workers)
        .limits(plan.limits)
        .access(plan.access)
        .busy_poll(plan.busy_poll)
        .max_connections(max_connections(plan.max_connections, room.connections))
        .observe(move |worker| observed.of_worker(worker));
    let server = match plan.congestion {
        Some(algorithm) => server.congestion(algorithm),
        None => server,
    };
    let server = match (proxies, tls.as_ref().map(|tls| tls.server.clone())) {
        (None, None) => server,
        (proxies, tls) => server.opening(move |conn| {
            let opening =
                proxies.iter().fold(Handshake::new(), |opening, proxies| opening.preface(proxies.preface(conn)));
            tls.iter().fold(opening, Handshake::tls_server)
        }),
    };

    // Signals are caught before the first word, so that whoever has read it can send one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let (mut signals, mut hangup) = runtime.block_on(async { (CaughtSignals::interrupt(), CaughtSignals::hangup()) });
    let voice = watch.clone();
    // Called before the first connection is accepted.
    let supervise = |handle: Handle| {
        if let Some(refusal) = handle.refusal().filter(|_| cfg!(target_os = "linux") && !plan.quiet) {
            tracing::warn!("the portable engine serves, for io_uring is not available: {refusal}");
        }
        if let Some(address) = exposed {
            tracing::warn!(
                "{address} can be reached from other machines, and whoever reaches it may use it: --allow says who may, 127.0.0.1 keeps it here"
            );
        }
        if !plan.quiet {
            voice.started(&addresses);
            if let Some(tls) = &tls {
                voice.certificates(if tls.is_development() { "development" } else { "loaded" }, &tls.certificates);
            }
            voice.waiting();
        } else {
            console.started(&chosen);
            // What nobody knows nobody can trust.
            if let Some(tls) = tls.as_ref().filter(|tls| tls.is_development()) {
                console.certificates("development", &tls.certificates);
            }
        }
        let announcer = voice.clone();
        // Files are read again on SIGHUP; where there are none, it is a terminal that was closed.
        let hung_up = async move {
            match tls.filter(|tls| tls.has_files()) {
                Some(tls) => tls.keep_fresh(announcer).await,
                None => hangup.next().await,
            }
        };
        async move {
            tokio::select! {
                () = signals.next() => {}
                () = hung_up => {}
            }
            tokio::time::sleep(SAME_SIGNAL).await;
            signals.forget().await;
            voice.draining(handle.connections().iter().sum(), plan.drain_timeout).await;
            handle.drain(plan.drain_timeout);
            signals.next().await;
            // At once means at once: no more words, no destructors.
            std::process::exit(exit::SIGNAL.into());
        }
    };
    let framing = plan.framing;
    let totals = match plan.mode {
        ServerMode::Reply => server.run(move |_| Reply::new(Reply::PREFIX.as_bytes(), framing), supervise),
        ServerMode::Echo => server.run(|_| Echo, supervise),
        ServerMode::Discard => server.run(|_| Discard, supervise),
        ServerMode::Chargen => server.run(|_| Chargen, supervise),
    };
    if let Ok(totals) = &totals {
        watch.stopped(totals);
    }
    let unwritten = ending.finish(LAST_WORDS);
    if let Some(Unwritten { lines, error }) = &unwritten {
        // It is not known what a stuck pipe has taken of the last write.
        let most = if error.kind() == std::io::ErrorKind::TimedOut { "up to " } else { "" };
        let lines = counted(*lines, "line");
        tracing::error!("stdout could not be written to the end, {most}{lines} are missing: {error}");
    }
    complaints.finish(LAST_WORDS);
    let totals = totals?;
    let cut = totals.closed(CloseReason::Cut);
    Ok(match (cut, unwritten) {
        (0, None) => ExitCode::SUCCESS,
        (0, Some(_)) => ExitCode::from(exit::USAGE),
        _ => ExitCode::from(exit::SIGNAL),
    })
}

/// One entry for each address that was asked for: its listeners.
fn bind(plan: &ServerPlan) -> Result<Vec<Vec<Listener>>> {
    let bind = |address: &Address| match address {
        #[cfg(unix)]
        Address::Unix(path) => Ok(vec![Listener::bind_unix(path, plan.unix_mode)?]),
        address => Ok(Listener::bind(address, plan.family)?),
    };
    plan.addresses.iter().map(bind).collect()
}

/// Can other machines connect?
fn is_reachable(address: &Endpoint) -> bool {
    matches!(address, Endpoint::Tcp(address) if !address.ip().is_loopback())
}

/// Whose PROXY headers are believed, where any are.
fn believed(proxied: ProxyMode, exposed: Option<&Endpoint>) -> Result<Option<Proxies>> {
    match (proxied, exposed) {
        (ProxyMode::Not, _) => Ok(None),
        (ProxyMode::By(proxies), _) => Ok(Some(proxies)),
        (ProxyMode::Here, None) => Ok(Some(Proxies::local())),
        (ProxyMode::Here, Some(address)) => bail!(
            "--proxy-protocol on {address} needs --proxy-from: whoever may send a PROXY header chooses the address that is believed"
        ),
    }
}

/// Where port 0 was asked for, what was got.
fn chosen_ports(addresses: &[Address], listeners: &[Vec<Listener>]) -> Vec<Endpoint> {
    let asked = addresses.iter().zip(listeners).filter(|(address, _)| matches!(address, Address::Tcp { port: 0, .. }));
    asked.flat_map(|(_, listeners)| listeners).map(|listener| listener.address().clone()).collect()
}

/// How many connections there can be. Says so where that is fewer than asked.
fn max_connections(asked: Option<usize>, possible: usize) -> usize {
    match asked {
        Some(asked) if asked > possible => {
            say(&format!(
                "at most {possible} connections at once, not {asked}: the limit on open files (`ulimit -n`) allows no more"
            ));
            possible
        }
        Some(asked) => asked,
        None => possible,
    }
}

/// Sends the library's warnings to stderr, by a printer: a stuck stderr must not hold up an accept loop.
fn complaints() -> crate::printer::FinalFlush {
    let words = PrinterMessages {
        skipped: |skipped| format!("resound: ... and {} more warnings\n", skipped.events + skipped.lines),
        // There is no other place to say it.
        failing: |_| {},
    };
    let (printer, ending) = Printer::new(StdStream::Stderr, 1, words);
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .event_format(PlainFormat)
        .with_writer(move || LogLine(printer.clone()))
        .init();
    ending
}

/// `resound: warning: what happened`.
struct PlainFormat;

impl<S, N> tracing_subscriber::fmt::FormatEvent<S, N> for PlainFormat
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        cx: &tracing_subscriber::fmt::FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let level = if *event.metadata().level() == tracing::Level::ERROR { "error" } else { "warning" };
        write!(writer, "resound: {level}: ")?;
        tracing_subscriber::fmt::FormatFields::format_fields(cx.field_format(), writer.by_ref(), event)?;
        writeln!(writer)
    }
}

struct LogLine(Printer);

impl std::io::Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.print(0, EventWeight::Event, |to| to.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
