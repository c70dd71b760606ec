//! `resound load`.

mod find;
mod loopback;
mod plan;
mod unreachable;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use resound::server::HandshakeFactory;
use resound::{Address, DialOptions, Endpoint, Engine, Handshake};
use resound_load::{
    Direction, Interval, Load, LoadError, Mode, Record, RunningLoad, Settings, Shape, Threshold, Timestamps, direction,
};
use tokio::sync::Notify;

use self::loopback::Loopback;
pub(crate) use self::plan::{LoadPlan, LoadTarget};
use crate::admin::{self, AdminListener};
use crate::client::{ConnectSetup, TlsOptions};
use crate::report::{self, Gate, LiveView, Output, Run, tick};
use crate::result_output::ResultOutput;
use crate::signals::{SAME_SIGNAL, exit_at_signal, termination};
use crate::source_address::check_own;
use crate::stdio::say;
use crate::{descriptors, exit, units};

pub(crate) fn run(mut plan: LoadPlan) -> Result<ExitCode> {
    plan.output.check(&[])?;
    check_descriptors(&mut plan)?;
    plan.sources.iter().try_for_each(|&source| check_own("--source", source))?;
    let admin = plan.admin.as_ref().map(|plan| AdminListener::bind(plan, "load", None)).transpose()?;
    // The server serves until the run is over.
    let (address, _server) = match &plan.target {
        LoadTarget::At(address) => (address.clone(), None),
        LoadTarget::Loopback(handshakes) => {
            let (mode, proxy) = (*plan.mode.get_or_insert(Mode::Echo), plan.before.send_proxy.is_some());
            let server = Loopback::start(mode, plan.engine, handshakes.is_some(), proxy)?;
            if let (Some(handshakes), Some(pin)) = (handshakes, server.pin) {
                plan.before.tls = Some(TlsOptions::pinned(pin, handshakes)?);
            }
            (server.address.clone(), Some(server))
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    // Signals count from here on.
    let signal = {
        let _guard = runtime.enter();
        termination()
    };
    runtime.block_on(async {
        tokio::pin!(signal);
        let prepared = tokio::select! {
            biased;
            () = &mut signal => {
                say("interrupted before the run began: nothing was measured, and no report was written");
                return Ok(ExitCode::from(exit::SIGNAL));
            }
            prepared = prepare(&mut plan, address) => prepared,
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                if let Some(record) = unreachable::record(&plan, &error) {
                    report::conclude(&record, &plan.output, false)?;
                }
                return Err(error);
            }
        };
        generate(plan, prepared, admin, signal).await
    })
}

/// The target, and how to load it.
struct Prepared {
    target: Endpoint,
    lines: bool,
    /// A test connection was made before the run.
    was_probed: bool,
}

/// Resolves the target, and detects its mode unless --mode gives it.
async fn prepare(plan: &mut LoadPlan, address: Address) -> Result<Prepared> {
    plan.settings.target = address.to_string();
    address.check_interface()?;
    let how = DialOptions { family: plan.family, timeout: plan.connect_timeout, ..DialOptions::default() };
    // A numeric address and a known mode need no probe. But a handshake may be refused: then one
    // probe reports why before thousands of connections do.
    let was_probed = plan.mode.is_none();
    let (target, lines) = match (plan.mode, numeric(&address)) {
        (Some(_), Some(target)) if plan.before.is_empty() => (target, false),
        (Some(_), _) => (find::reachable_address(&address, how, &plan.before).await?, false),
        (None, _) => {
            let (target, mode) = find::mode(&address, how, &plan.before).await?;
            plan.mode = Some(mode);
            // Detection proves only that the server answers lines.
            (target, mode == Mode::Echo)
        }
    };
    if let Endpoint::Tcp(target) = &target
        && let Some(source) = plan.sources.iter().find(|source| source.is_ipv4() != target.is_ipv4())
    {
        bail!(
            "--source {source} cannot reach {target}, which is of the other family: \
             give an address of its family, or drop --source"
        );
    }
    let is_link_local = |source: &&IpAddr| matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if let Endpoint::Tcp(SocketAddr::V6(target)) = &target
        && target.scope_id() == 0
        && let Some(source) = plan.sources.iter().find(is_link_local)
    {
        bail!(
            "--source {source} is a link-local address, and {target} does not name its interface: \
             write the target with one, such as fe80::1%eth0; the interfaces are {}",
            resound::system::interface_names().join(", ")
        );
    }
    let (shape, mode) = (plan.settings.shape, plan.mode.unwrap_or(Mode::Echo));
    plan.settings.mode = mode;
    if mode == Mode::Discard && !plan.settings.think_time.is_zero() {
        bail!("--think-time is a pause after an answer, and the target does not answer");
    }
    if shape == Shape::Stream {
        plan.settings.direction = Some(direction(mode));
    }
    let receives = plan.settings.direction == Some(Direction::Receive);
    if mode == Mode::Chargen && !receives {
        bail!("a target that generates (--mode chargen) can only be received from: use --shape stream");
    }
    if mode == Mode::Reply && longest(&plan.settings) > resound::Framing::DEFAULT_MAX_LINE as u64 {
        plan.settings.size = match plan.settings.shape {
            Shape::Stream => resound_load::Sizes::Fixed(16 * 1024),
            _ => bail!(
                "a line has at most 64 KiB if the target replies to lines: use a smaller --size, or --mode \
             echo if it echoes"
            ),
        };
    }
    Ok(Prepared { target, lines, was_probed })
}

fn longest(settings: &Settings) -> u64 {
    use resound_load::Sizes;
    match &settings.size {
        Sizes::Fixed(size) => *size,
        Sizes::Range(_, to) => *to,
        Sizes::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
    }
}

/// The address, if it needs no resolver.
fn numeric(address: &Address) -> Option<Endpoint> {
    match address {
        Address::Tcp { host, port } => {
            let ip: IpAddr = host.parse().ok()?;
            Some(SocketAddr::new(ip, *port).into())
        }
        Address::Unix(path) => Some(Endpoint::Unix(Some(path.as_path().into()))),
    }
}

async fn generate(
    plan: LoadPlan,
    prepared: Prepared,
    admin: Option<AdminListener>,
    signal: impl Future<Output = ()>,
) -> Result<ExitCode> {
    let LoadPlan { settings, warm_up, output, .. } = plan;
    let mut live = LiveView::new(&output, &settings, warm_up);
    let every = tick(settings.interval);
    let judged = settings.clone();
    let breaks: Box<Threshold> = Box::new(move |step| broken(step, &plan.until, &judged));
    let load = Load {
        settings,
        target: prepared.target,
        lines: prepared.lines,
        warm_up,
        timeout: plan.timeout,
        connect_timeout: plan.connect_timeout,
        sources: plan.sources,
        engine: plan.engine,
        workers: plan.workers,
        congestion: plan.congestion,
        handshake: handshake(plan.before),
        breaks: Some(breaks),
    };
    let wants_kernel = load.settings.timestamps == Timestamps::Kernel;
    let generation = load.start().map_err(of_start)?;
    if wants_kernel && generation.timestamps() == Timestamps::Clock && !output.quiet {
        say("kernel timestamps are not available here: service times use this program's clock");
    }
    if let (_, Some(refusal)) = generation.engine()
        && cfg!(target_os = "linux")
        && !output.quiet
    {
        say(&format!("the portable engine generates, for io_uring is not available: {refusal}"));
    }
    let signalled = Cell::new(false);
    let (signal_seen, first) = tokio::sync::oneshot::channel();
    let cut = async {
        signal.await;
        signalled.set(true);
        let _ = signal_seen.send(());
    };
    let again = async {
        let _ = first.await;
        tokio::time::sleep(SAME_SIGNAL).await;
        termination().await;
    };
    let closed = Notify::new();
    let ends = async {
        tokio::select! {
            () = cut => {}
            () = closed.notified() => {}
        }
    };
    let mut shown = Ok(());
    let watching = admin.map(|listener| watched(listener, &generation, output.quiet));
    let watch = generation.watch(every, ends, |phase, tick| {
        if shown.is_ok() {
            shown = live.tick(phase, tick);
        }
        // The reader of the intervals has left, or stdout fails: the results so far stand.
        if shown.is_err() || !ResultOutput::has_reader() {
            closed.notify_one();
        }
    });
    let record = tokio::select! {
        record = admin::beside(watching, watch) => record,
        // The second signal ends the run without results.
        () = again => return Ok(ExitCode::from(exit::SIGNAL)),
    };
    exit_at_signal();
    // A run that cannot be shown is still saved.
    let shown = shown.and_then(|()| live.finish());
    let code = conclude(&record, &output, record.cut_short && !signalled.get(), prepared.was_probed)?;
    shown?;
    Ok(code)
}

/// Says where the metrics are, and serves them.
fn watched(listener: AdminListener, generation: &RunningLoad, quiet: bool) -> impl Future<Output = ()> + use<> {
    if !quiet || listener.is_chosen() {
        say(&format!("Admin on http://{}", listener.address()));
    }
    listener.exposure().iter().for_each(|exposure| say(&format!("warning: {exposure}")));
    listener.serve(generation.inspector())
}

/// The handshake of each connection.
fn handshake(before: ConnectSetup) -> Option<Box<HandshakeFactory>> {
    if before.is_empty() {
        return None;
    }
    Some(Box::new(move |conn| {
        // Invalid headers were refused with their flag.
        let header = before.send_proxy.as_ref().and_then(|proxy| proxy.header(&conn.local, &conn.peer).ok());
        let handshake = header.into_iter().fold(Handshake::new(), Handshake::header);
        before.tls.iter().fold(handshake, |handshake, tls| handshake.tls_client(tls.client()))
    }))
}

/// Reports include a run that found no target: a report of an earlier run must not stand in its
/// place.
fn conclude(record: &Record, output: &Output, unread: bool, was_probed: bool) -> Result<ExitCode> {
    let code = report::conclude(record, output, unread)?;
    if Run::of(record.clone()).had_only_failures() && !record.cut_short {
        let first = record.failures.first();
        let what = first.map_or("no connection was made".into(), |failure| failure.to_string());
        say(&format!("cannot load {}: {what}", record.settings.target));
        if was_probed {
            say(
                "the connection that asked what the target does had been accepted before: with --mode it is not asked, \
                 for a server that takes one connection only",
            );
        }
    }
    Ok(code)
}

/// The condition that a step of a ramp meets.
fn broken(step: &Interval, until: &[Gate], settings: &Settings) -> Option<String> {
    let record = Record { elapsed: step.length, total: step.clone(), ..Record::empty(settings.clone()) };
    let run = Run::of(record);
    let met = until.iter().find_map(|gate| Some(format!("{} ({})", gate.text, gate.is_met(&run)?)));
    met.or_else(|| report::unforgiven(&run, until))
}

/// Why a load did not start. The advice for an error of the dialer is found by its type.
fn of_start(error: LoadError) -> anyhow::Error {
    match error {
        LoadError::Dialer(error) => error.into(),
        error => error.into(),
    }
}

/// Fails early if there are too few descriptors, and limits the workers to what fits.
fn check_descriptors(plan: &mut LoadPlan) -> Result<()> {
    let room = descriptors::for_generator(plan.engine, plan.workers, plan.beside)?;
    if plan.engine != Engine::Threads {
        plan.workers.get_or_insert(room.workers);
    }
    let connections = plan.settings.most_connections();
    let possible = room.connections as u64;
    if connections > possible {
        bail!(
            "{} need more descriptors than the limit on open files allows: use {} at most, or raise it \
             (`ulimit -n {}`)",
            units::counted(connections, "connection"),
            units::count(possible),
            (connections + 100).next_power_of_two()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use resound_load::{Counts, Latency, LoadFailure};

    use super::*;

    #[test]
    fn a_step_that_lost_connections_has_not_held_whatever_its_conditions_say() {
        let settings = report::settings();
        let mut counts = Counts { sent: 76, received: 72, opened: 4, ..Counts::default() };
        counts.failures[LoadFailure::Refused.index()] = 125;
        counts.failures[LoadFailure::Eof.index()] = 4;
        let length = std::time::Duration::from_secs(1);
        let step = Interval { counts, length, response: Latency::of([(1_000_000, 76)]), ..Interval::default() };
        let broken = |until: &[&str]| {
            let until: Vec<_> = until.iter().map(|text| Gate::parse(text).unwrap()).collect();
            broken(&step, &until, &settings)
        };
        assert_eq!(broken(&["p99>5s"]).unwrap(), "125 refused, 4 eof");
        assert_eq!(broken(&["p99>5s", "refused>200"]).unwrap(), "4 eof");
        assert_eq!(broken(&["errors>100"]).unwrap(), "errors>100 (129 errors)");
        // A condition with a maximum allows fewer.
        assert_eq!(broken(&["errors>200"]), None);
    }
}
