//! `resound server`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use resound::faults::LiveFaults;
use resound::proxy::Proxies;
use resound::server::{Access, Listener};
use resound::tls::TlsServer;
use resound::{
    Address, Chargen, CloseReason, Discard, Echo, Endpoint, Engine, Error, Family, Framing, Handle, Handshake, Limits,
    Reply, Server, Totals,
};
use resound_console::Console;
use resound_console::escape;
use resound_console::settings::ConsoleSettings;
use resound_console::sink::Unwritten;
use resound_probe::{FarEnd, Sessions};

use crate::admin::{self, AdminListener, AdminPlan};
use crate::calls::{ExplainedServer, ServerCalls};
use crate::certificates::{ServedTls, ServerTlsArgs};
use crate::consoles::{Consoles, LineSource};
use crate::faults::{FaultPlan, FreshFaults, PreparedFaults, SeenConnections, UnfinishedRecord};
use crate::inherited_sockets::InheritedSockets;
use crate::leaving;
use crate::listening::ListenAddress;
use crate::log_file::LogFile;
use crate::reload::{Changeable, LiveConfig, Reloads};
use crate::stdio::StdStream;
use crate::supervision::{ShutdownSignals, Supervision};
use crate::units::counted;
use crate::upgrade::{self, StartedProgram, UpgradeSettings};
use crate::warnings::{Warnings, print_warnings};
use crate::{descriptors, exit};

/// A stuck console delays the exit by this time at most.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// The meaning of the flags of `resound server`.
pub(crate) struct ServerPlan {
    pub(crate) serving: ServingPlan,
    pub(crate) mode: ServerMode,
    pub(crate) framing: Framing,
    /// The server plays the far end of `resound test`.
    pub(crate) probe: bool,
    /// The calls on sockets are explained.
    pub(crate) explain: bool,
    /// `None` without a flag about faults.
    pub(crate) faults: Option<FaultPlan>,
}

/// How a server or a relay accepts connections.
pub(crate) struct ServingPlan {
    pub(crate) addresses: Vec<ListenAddress>,
    /// Of a relay, where each of the addresses leads; none of a server.
    pub(crate) targets: Vec<Address>,
    /// SIGHUP reads it again.
    pub(crate) config: Option<LiveConfig>,
    /// SIGUSR2 starts it once more.
    pub(crate) program: Option<StartedProgram>,
    pub(crate) family: Family,
    pub(crate) engine: Engine,
    pub(crate) busy_poll: Duration,
    pub(crate) congestion: Option<String>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) limits: Limits,
    /// `None` for plain text.
    pub(crate) tls: Option<ServerTlsArgs>,
    pub(crate) proxies: ProxyMode,
    pub(crate) access: Access,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) drain_timeout: Duration,
    pub(crate) upgrade: UpgradeSettings,
    pub(crate) quiet: bool,
    /// Descriptors for what the program runs beside the server.
    pub(crate) beside: usize,
    pub(crate) admin: Option<AdminPlan>,
    /// The server ends with its stdin, which the process that started it holds open.
    pub(crate) while_stdin: bool,
    pub(crate) console: ConsoleSettings,
    /// Takes the place of stdout.
    pub(crate) log_file: Option<PathBuf>,
}

impl ServingPlan {
    /// Stdout is not where the console prints to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.quiet || self.log_file.is_some()
    }
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

/// Whether connections come through proxies that name the client.
pub(crate) enum ProxyMode {
    Not,
    /// Through proxies on this machine.
    Here,
    By(Proxies),
}

pub(crate) fn run(plan: ServerPlan) -> Result<ExitCode> {
    let ServerPlan { serving, mode, framing, probe, explain, faults } = plan;
    let has_limits = serving.max_connections.is_some() || serving.access.limits_sources();
    let probe = probe.then(|| Sessions::new(serving.limits.idle_timeout).limits_connections(has_limits));
    let framing = Changeable::new(framing);
    let noun = match (mode, framing.get()) {
        (ServerMode::Reply, Framing::Auto { .. } | Framing::Line { .. }) => "message",
        _ => "read",
    };
    let mut inherited = InheritedSockets::take()?;
    let faults = faults.map(|plan| plan.prepare(LiveFaults::of_server(), &mut inherited)).transpose()?;
    let (record, is_elsewhere) = (faults.as_ref().map(PreparedFaults::record), serving.is_elsewhere());
    let of_messages = (mode == ServerMode::Reply).then(|| framing.clone());
    let mut explained = explain.then(|| ExplainedServer::new(serving.engine, serving.tls.is_some()));
    let code = serve(serving, inherited, noun, of_messages, Console::stopped, |serving| {
        let Serving { settings, listeners, console, loud, supervise } = serving;
        let calls = explained.as_mut().map(|explained| explained.start(&loud, listeners.iter().flatten()));
        let server = listeners.into_iter().flatten().fold(settings, Server::listener);
        let Some(faults) = faults else {
            let supervise = |handle| supervise(handle, None);
            let server = ServerCalls::observe(calls, server, move |worker| console.of_worker(worker));
            return run_mode(server, mode, framing, probe, supervise);
        };
        let setter = faults.setter(&console);
        let seen = SeenConnections::new(&console, &setter);
        let server = server.faults(&setter.faults, seen.of_faults(&setter));
        let open = seen.open();
        let server = ServerCalls::observe(calls, server, move |worker| seen.of_worker(worker));
        run_mode(server, mode, framing, probe, move |handle| {
            let supervising = supervise(handle, Some(faults.fresh(&setter)));
            let beside = faults.beside(setter, &console, is_elsewhere.then_some(&loud), open);
            async {
                tokio::select! {
                    () = supervising => {}
                    () = beside => {}
                }
            }
        })
    })?;
    if let Some(explained) = explained {
        explained.finish(LAST_WRITES);
    }
    record.map_or(Ok(()), UnfinishedRecord::finish)?;
    Ok(code)
}

fn run_mode<F: Future<Output = ()> + 'static>(
    server: Server,
    mode: ServerMode,
    framing: Changeable<Framing>,
    probe: Option<Sessions>,
    supervise: impl FnOnce(Handle) -> F,
) -> Result<Totals, Error> {
    let reply = move || Reply::new(Reply::PREFIX.as_bytes(), framing.get());
    match mode {
        ServerMode::Reply => match probe {
            Some(sessions) => server.save_syns(true).run(move |_| FarEnd::new(reply(), sessions.clone()), supervise),
            None => server.run(move |_| reply(), supervise),
        },
        ServerMode::Echo => server.run(|_| Echo, supervise),
        ServerMode::Discard => server.run(|_| Discard, supervise),
        ServerMode::Chargen => server.run(|_| Chargen, supervise),
    }
}

/// What happens beside a server: it reports the start, reads files again (also those of faults),
/// and decides when to drain.
type Supervise = Box<dyn FnOnce(Handle, Option<FreshFaults>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A server or a relay that is about to start.
pub(crate) struct Serving {
    /// The settings, without listeners and without observers.
    pub(crate) settings: Server,
    /// The listeners of each address.
    pub(crate) listeners: Vec<Vec<Listener>>,
    /// Silent with `--quiet`.
    pub(crate) console: Console,
    /// Prints with `--quiet` too, and on stdout if the log goes to a file.
    pub(crate) loud: Console,
    /// To be called before the first connection is accepted.
    pub(crate) supervise: Supervise,
}

impl ServingPlan {
    /// Reads what a start would read, and binds nothing. Returns what it would warn of.
    pub(crate) fn check(self) -> Result<Vec<String>> {
        let literal = |address: &ListenAddress| match address {
            ListenAddress::Bound(Address::Tcp { host, port }) => Some(SocketAddr::new(host.parse().ok()?, *port)),
            _ => None,
        };
        let exposed = self.addresses.iter().filter_map(literal).find(|address| !address.ip().is_loopback());
        trusted_proxies(self.proxies, exposed.map(Endpoint::Tcp).as_ref())?;
        self.log_file.as_deref().map(|path| LogFile::check("--log-file", path)).transpose()?;
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        if let Some(algorithm) = self.congestion {
            use socket2::{Domain, Socket, Type};
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(Error::Worker)?;
            let set = socket.set_tcp_congestion(algorithm.as_bytes());
            set.map_err(|source| Error::Congestion { algorithm, source })?;
        }
        self.tls.map_or(Ok(Vec::new()), ServerTlsArgs::check)
    }
}

/// Listens, lets `run` serve until the end, and prints the start, the drain and the end.
pub(crate) fn serve(
    plan: ServingPlan,
    mut inherited: InheritedSockets,
    noun: &'static str,
    framing: Option<Changeable<Framing>>,
    stopped: impl FnOnce(&Console, &Totals),
    run: impl FnOnce(Serving) -> Result<Totals, Error>,
) -> Result<ExitCode> {
    if plan.while_stdin {
        exit_with_stdin();
    }
    let warnings = print_warnings(plan.console.with_time);
    let log_file = plan.log_file.as_deref().map(LogFile::open).transpose()?;
    let role = if plan.targets.is_empty() { "server" } else { "relay" };
    let admin = plan.admin.as_ref().map(|plan| AdminListener::bind(plan, role, Some(&mut inherited))).transpose()?;
    let sockets = if plan.targets.is_empty() { 1 } else { 2 };
    let beside = plan.beside + sockets - 1;
    // Too few descriptors are an error before names are resolved and sockets bound.
    descriptors::for_server(plan.engine, plan.workers, plan.addresses.len(), false, beside)?;
    let listeners = bind(&plan, &mut inherited)?;
    let count = listeners.iter().flatten().count();
    let room = descriptors::for_server(plan.engine, plan.workers, count, true, beside)?;
    let chosen_ports = chosen_ports(&plan.addresses, &listeners);
    let started = started(&listeners, &plan.targets);
    let addresses: Vec<_> = started.iter().map(|(address, _)| address.clone()).collect();
    // Other machines can connect there.
    let exposed =
        addresses.iter().find(|address| matches!(address, Endpoint::Tcp(tcp) if !tcp.ip().is_loopback())).cloned();
    let proxies = trusted_proxies(plan.proxies, exposed.as_ref())?.map(Changeable::new);
    // A rule about clients shows that other machines are meant to connect.
    let restricts = proxies.is_some() || plan.tls.as_ref().is_some_and(ServerTlsArgs::ask_for_certificates);
    let exposed = exposed.filter(|_| plan.access.admits_unlisted() && !restricts);

    let has_log_file = log_file.is_some();
    let mut consoles = Consoles::new(&plan.console, log_file, LineSource::of(plan.engine, room.workers), noun);
    let (console, loud) = (consoles.console.clone(), consoles.loud.clone());
    let tls = plan.tls.map(|files| files.begin(&addresses)).transpose()?;
    let possible = room.connections.div_ceil(sockets);
    let settings = Server::new()
        .engine(plan.engine)
        .workers(room.workers)
        .limits(plan.limits)
        .access(plan.access)
        .busy_poll(plan.busy_poll)
        .max_connections(descriptors::max_connections(plan.max_connections, possible));
    let settings = plan.congestion.into_iter().fold(settings, Server::congestion);
    let settings = with_handshakes(settings, proxies.clone(), tls.as_ref().map(|tls| tls.server.clone()));

    // The server catches signals before it prints anything: a script may send one right after the
    // first line.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let notifier = inherited.notifier.clone();
    let (signals, mut upgrader) =
        runtime.block_on(async { (ShutdownSignals::catch(), inherited.finish(plan.program, plan.upgrade)) });
    let startup = {
        let (loud, console) = (loud.clone(), console.clone());
        Startup { quiet: plan.quiet, has_log_file, started, chosen_ports, exposed, loud, console }
    };
    let (config, drain_timeout, reopener) = (plan.config, plan.drain_timeout, consoles.reopener.take());
    let supervise: Supervise = Box::new(move |handle, faults| {
        upgrade::wait_for_turn(&mut upgrader, &|| signals.has_first());
        startup.report(&handle, tls.as_ref());
        let watching = admin.map(|admin| {
            // With --quiet only a port that the system chose is printed.
            let elsewhere = startup.elsewhere().filter(|_| !startup.quiet || admin.is_chosen());
            admin.watch(&handle, &startup.console, elsewhere)
        });
        let (status, console) = (startup.status(), startup.console);
        let reloads =
            Reloads { console, notifier, config, tls, faults, proxies, framing, possible, drain_timeout, has_log_file };
        let supervision = Supervision { signals, upgrader, status, reloads, reopener };
        Box::pin(admin::beside(watching, supervision.run(handle)))
    });
    let totals = run(Serving { settings, listeners, console: console.clone(), loud, supervise });
    if let Ok(totals) = &totals {
        stopped(&console, totals);
    }
    let is_written = write_the_rest(consoles, warnings);
    Ok(exit_code(&totals?, is_written))
}

/// Writes the rest of the lines. Returns whether the outputs of the console have taken all.
fn write_the_rest(consoles: Consoles, warnings: Warnings) -> bool {
    let is_written = consoles.finish(LAST_WRITES, |name, Unwritten { lines, error }| {
        // A stuck pipe may have taken a part of the last write.
        let most = if error.kind() == std::io::ErrorKind::TimedOut { "up to " } else { "" };
        let (are, lines) = (if *lines == 1 { "is" } else { "are" }, counted(*lines, "line"));
        tracing::error!("{name} could not be written to the end, {most}{lines} {are} missing: {error}");
    });
    warnings.finish(LAST_WRITES);
    is_written
}

/// `--while-stdin`: the process ends as soon as its stdin does.
fn exit_with_stdin() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut StdStream::Stdin, &mut std::io::sink());
        std::process::exit(exit::SIGNAL.into());
    });
}

fn with_handshakes(server: Server, proxies: Option<Changeable<Proxies>>, tls: Option<TlsServer>) -> Server {
    if proxies.is_none() && tls.is_none() {
        return server;
    }
    server.handshake(move |conn| {
        let handshake = proxies
            .iter()
            .fold(Handshake::new(), |handshake, proxies| handshake.expect_header(proxies.get().header_reader(conn)));
        tls.iter().fold(handshake, Handshake::tls_server)
    })
}

fn exit_code(totals: &Totals, is_written: bool) -> ExitCode {
    if leaving::is_hurried() {
        return ExitCode::from(exit::SIGNAL);
    }
    match (totals.closed(CloseReason::Cut), is_written) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(exit::USAGE),
        _ => ExitCode::from(exit::SIGNAL),
    }
}

/// What a server prints when it starts.
struct Startup {
    quiet: bool,
    /// The console prints to a file.
    has_log_file: bool,
    /// Each address, and where a relay leads.
    started: Vec<(Endpoint, Option<Address>)>,
    chosen_ports: Vec<Endpoint>,
    /// An address where any machine can connect.
    exposed: Option<Endpoint>,
    /// A console that prints with `--quiet` too.
    loud: Console,
    console: Console,
}

impl Startup {
    fn report(&self, handle: &Handle, tls: Option<&ServedTls>) {
        if self.quiet {
            let is_chosen = |(address, _): &&(Endpoint, _)| self.chosen_ports.contains(address);
            let chosen = self.started.iter().filter(is_chosen);
            self.loud.started(chosen.map(|(address, target)| (address, target.as_ref())));
            // Clients need the fingerprint of a development certificate to trust it.
            if let Some(tls) = tls.filter(|tls| tls.is_development()) {
                self.loud.certificates("development", &tls.certificates);
            }
            return;
        }
        if let Some(refusal) = handle.refusal().filter(|_| cfg!(target_os = "linux")) {
            tracing::warn!("the portable engine serves, for io_uring is not available: {refusal}");
        }
        if let Some(address) = &self.exposed {
            tracing::warn!(
                "{address} can be reached from other machines, which may use this {}: \
                 --allow limits them, 127.0.0.1 keeps it on this machine",
                if self.started.iter().any(|(_, target)| target.is_some()) { "relay" } else { "server" }
            );
        }
        // The parent process waits for the address on stdout.
        for console in [&self.loud].into_iter().filter(|_| self.has_log_file).chain([&self.console]) {
            console.started(self.started.iter().map(|(address, target)| (address, target.as_ref())));
            if let Some(tls) = tls {
                let how = if tls.is_development() { "development" } else { "loaded" };
                console.certificates(how, &tls.certificates);
            }
        }
        self.console.waiting();
    }

    /// Stdout, if that is not where the console prints to.
    fn elsewhere(&self) -> Option<&Console> {
        (self.quiet || self.has_log_file).then_some(&self.loud)
    }

    /// What the service does, for systemd.
    fn status(&self) -> String {
        let addresses: Vec<_> = self.started.iter().map(|(address, _)| address.to_string()).collect();
        format!("Serving on {}", escape::text(addresses.join(", ").as_bytes()))
    }
}

/// The listeners of each address.
fn bind(plan: &ServingPlan, inherited: &mut InheritedSockets) -> Result<Vec<Vec<Listener>>> {
    let bind = |address: &ListenAddress| {
        let listeners = address.listen(plan.family, plan.unix_mode, inherited)?;
        inherited.pass_on(address.to_string(), &listeners);
        Ok(listeners)
    };
    plan.addresses.iter().map(bind).collect()
}

/// Each address that is listened on, and where a relay leads from there.
fn started(listeners: &[Vec<Listener>], targets: &[Address]) -> Vec<(Endpoint, Option<Address>)> {
    let of = |(at, listeners): (usize, &Vec<Listener>)| {
        let target = targets.get(at).cloned();
        listeners.iter().map(|listener| (listener.address().clone(), target.clone())).collect::<Vec<_>>()
    };
    listeners.iter().enumerate().flat_map(of).collect()
}

/// The proxies whose headers the server trusts.
fn trusted_proxies(proxied: ProxyMode, exposed: Option<&Endpoint>) -> Result<Option<Proxies>> {
    match (proxied, exposed) {
        (ProxyMode::Not, _) => Ok(None),
        (ProxyMode::By(proxies), _) => Ok(Some(proxies)),
        (ProxyMode::Here, None) => Ok(Some(Proxies::local())),
        (ProxyMode::Here, Some(address)) => bail!(
            "--proxy-protocol on {address} needs --proxy-from: the sender of a PROXY \
             header chooses the address that the server trusts"
        ),
    }
}

/// The ports that the system chose where the address has port 0.
fn chosen_ports(addresses: &[ListenAddress], listeners: &[Vec<Listener>]) -> Vec<Endpoint> {
    let asked = addresses.iter().zip(listeners).filter(|(address, _)| address.is_chosen());
    asked.flat_map(|(_, listeners)| listeners).map(|listener| listener.address().clone()).collect()
}
