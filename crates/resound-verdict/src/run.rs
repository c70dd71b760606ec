//! The order of a run: who is there, what size passes, and then everything else.

use std::time::{Duration, Instant};

use resound::Address;
use resound::tls::TlsClient;
use tokio::time::timeout;

use crate::by_chance;
use crate::check::greet::{Greetings, elapsed};
use crate::check::split_hello::SplitHellos;
use crate::check::waits::WaitsPlan;
use crate::check::{
    CheckId, accept_truth, address, backends, cap, churn, greet, integrity, one_ended, options, proxy_header,
    responsiveness, rtt, split_hello, spurious_reset, tls, waits,
};
use crate::first_checks::{FirstChecks, FirstFindings};
use crate::pace::ConnectPace;
use crate::path::PathSettings;
use crate::path_run::{PathRun, Progress};
use crate::permits::ConnectionPermits;
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict, FarKind, PathReport};
use crate::together::Together;

/// The checks of what TCP alone has: RSTs, segments, options, and counts of acknowledged bytes.
const OF_TCP: [CheckId; 7] = [
    CheckId::ResetOut,
    CheckId::ResetIn,
    CheckId::MtuOut,
    CheckId::MtuIn,
    CheckId::HiddenBuffer,
    CheckId::Options,
    CheckId::SplitTcp,
];
/// How long a stall lasts where both ends misread windows.
const KNOWN_STALL: Duration = Duration::from_secs(3);

/// Tests the path to one address.
pub(crate) async fn run(
    end: &PathEnd,
    family: &'static str,
    settings: &PathSettings,
    resolved: &CheckReport,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> PathReport {
    let start = Instant::now();
    let (port, of_tcp) = match &end.address {
        Address::Tcp { port, .. } => (Some(*port), &[][..]),
        Address::Unix(_) => (None, &OF_TCP[..]),
    };
    let without_tcp: Vec<_> = of_tcp.iter().filter(|id| settings.wants(**id)).collect();
    let settings = &settings.without(of_tcp);
    let run = PathRun::new(settings, end.machine.clone(), tell);
    run.add(resolved.clone());
    let hellos = if port.is_some() { split_hello::find(end).await } else { None };
    // Where a large ClientHello is lost, all other checks go on with a small one.
    let end = &end.with_tls(hellos.as_ref().and_then(SplitHellos::remedy));
    let greetings = greet::greet(end, port).await;
    let (kind, name) = (greetings.kind(), greetings.name());
    run.far_has_limits.set(greetings.hello().is_some_and(|hello| hello.limits_connections));
    tell(Progress::Greets(kind, name.as_deref()));
    let waiting = planned_waits(settings, &greetings, tell);
    run.add(greet::connect(&greetings));
    let is_connected = greetings.tries.iter().any(|tried| tried.connected_in.is_some());
    if is_connected {
        *run.hello.borrow_mut() = Some(split_hello::split_hello(hellos.as_ref()));
        if greetings.in_full_size.is_empty() {
            run.add(accept_truth::accept_truth(&greetings, &greetings.tries));
        }
    } else {
        run.skip_rest("there is no connection");
    }
    // After the greeting of a far end that plays, its own check counts them.
    if let Some(report) = greet::changed_greetings(&greetings).filter(|_| kind != FarKind::Probe) {
        run.add(report);
    }
    let is_own_header = end.first_bytes.is_some();
    if kind == FarKind::SpeaksFirst && !is_own_header && greetings.shows_proxy_header() {
        run.add(proxy_header::unexpected());
    }
    let cut_off = waits::cut_off(settings);
    let behind = timeout(cut_off, after_greetings(&run, end, family, &greetings, hellos.as_ref(), &waiting)).await;
    // Those of a run that was cut off.
    run.kept.take().into_iter().for_each(|report| run.add(report));
    if !run.has(CheckId::AcceptTruth) {
        run.add(accept_truth_by_size(&run, &greetings));
    }
    if kind == FarKind::Probe {
        of_all_connections(&run, end);
    }
    if behind.is_err() {
        run.give_up(&format!("not judged: the run was cut off after {}", elapsed(cut_off)));
    }
    if let Some(hello) = run.hello.take() {
        let is_met = greetings.tries.iter().any(|tried| tried.result.is_ok());
        let hello = split_hello::beside(hello, is_met, &run.checks.borrow());
        run.add(hello);
    }
    run.skip_rest(why_not(&greetings));
    let mut checks = run.checks.take();
    for id in without_tcp {
        let report = CheckReport::new(*id, CheckVerdict::Skip, "a unix socket has no TCP");
        tell(Progress::Checked(&report));
        checks.push(report);
    }
    checks.sort_by_key(|check| CheckId::ALL.iter().position(|id| *id == check.id));
    PathReport {
        address: end.address.to_string(),
        family,
        far: kind,
        far_name: name,
        checks,
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// The waits of the run. Those that are long are announced before the first check.
fn planned_waits(settings: &PathSettings, greetings: &Greetings, tell: &(dyn Fn(Progress<'_>) + Sync)) -> WaitsPlan {
    let far_timeout = greetings.hello().and_then(|hello| hello.idle_timeout_ms).map(Duration::from_millis);
    let waiting = WaitsPlan::of(settings, far_timeout);
    if greetings.kind() == FarKind::Probe {
        waiting.announce(|what| tell(Progress::Announces(what)));
    }
    waiting
}

/// `accept-truth`, where some greetings stayed silent in segments of the full size: by that size,
/// or by chance. A server that answers something else cannot show which.
fn accept_truth_by_size(run: &PathRun<'_>, greetings: &Greetings) -> CheckReport {
    let shows_sizes = matches!(greetings.kind(), FarKind::Probe | FarKind::Echo | FarKind::Reply);
    let is_size = run.loses_large.get() || !shows_sizes;
    accept_truth::accept_truth(greetings, if is_size { &greetings.tries } else { &greetings.in_full_size })
}

/// The checks after the greetings.
async fn after_greetings(
    run: &PathRun<'_>,
    end: &PathEnd,
    family: &str,
    greetings: &Greetings,
    hellos: Option<&SplitHellos>,
    waiting: &WaitsPlan,
) {
    let small = &end.with_segments_of(greetings.max_segment.or(end.dial.max_segment));
    if greetings.tries.iter().any(|tried| tried.connected_in.is_some()) {
        who(run, small, greetings).await;
    }
    match greetings.kind() {
        FarKind::Probe => {
            for tried in &greetings.tries {
                match &tried.result {
                    Ok(_) => end.ledger.goes_on(0, Duration::ZERO),
                    Err(symptom) => end.ledger.begins().failed(symptom),
                }
            }
            // Each transfer that stalls is known to, and need not be waited for as long.
            let patience = if run.explains_stalls.get() { KNOWN_STALL.min(end.patience) } else { end.patience };
            let short_hello = hellos.and_then(SplitHellos::short);
            let end = &PathEnd { patience, ..end.clone() };
            two_ended(run, end, family, greetings, short_hello, waiting).await;
        }
        kind @ (FarKind::Echo | FarKind::Reply) => {
            one_ended::run(small, kind, |id| run.wants(id), |report| run.add(report)).await
        }
        _ => {}
    }
}

/// Why checks that are left were not tried.
fn why_not(greetings: &Greetings) -> &'static str {
    match greetings.kind() {
        _ if greetings.has_no_tls() => "there is no TLS session",
        FarKind::SpeaksFirst => "the server speaks first, so nothing is sent to it",
        FarKind::Silent | FarKind::Hangs => "nothing answers",
        _ => "needs resound server at the far end",
    }
}

/// The checks of what either end knows of the other, whatever its program is.
async fn who(run: &PathRun<'_>, end: &PathEnd, greetings: &Greetings) {
    let look = options::look(end, greetings).await;
    let options = options::options(greetings, &look);
    run.explains_stalls.set(options::explains_stalls(&options));
    let reports = [
        address::address(greetings, &end.greeted.all(), end.first_bytes.is_some()),
        options,
        tls::tls(greetings, end.tls.is_some()),
    ];
    reports.into_iter().for_each(|report| run.add(report));
}

/// Bytes of a transfer that takes about a third of a second.
fn bulk(rate: Option<f64>) -> u64 {
    let Some(rate) = rate else { return 64 * 1024 };
    ((rate / 3.0) as u64).clamp(16 * 1024, 4 * 1024 * 1024) / 4096 * 4096
}

/// The checks in which the far end cooperates. `short_hello`: TLS whose ClientHello is small.
async fn two_ended(
    run: &PathRun<'_>,
    end: &PathEnd,
    family: &str,
    greetings: &Greetings,
    short_hello: Option<&TlsClient>,
    waiting: &WaitsPlan,
) {
    let is_ipv6 = family == "ipv6";
    // Before anything loads the path.
    let tries = rtt::measure(&end.with_segments_of(greetings.max_segment), greetings.rtt()).await;
    run.add(rtt::report(&tries));
    let trips = rtt::measured(&tries);
    let rtt = trips.map_or(greetings.rtt(), rtt::RoundTrips::typical);
    let small = end.with_segments_of(Some(greet::SMALL_SEGMENT));
    let first = FirstChecks { run, sized: end.with_tls(short_hello), small, trips, rtt, is_ipv6 };
    let mut found = first.all().await;
    // What is known of large segments must not spoil the other checks.
    let with_known_size = |found: &FirstFindings| {
        let known = found.max_segment().or(greetings.max_segment);
        end.with_segments_of([known, end.dial.max_segment].into_iter().flatten().min())
    };
    let mut limits = churn::ConnectLimits::default();
    if run.wants(CheckId::Churn) {
        let (report, of_path) =
            churn::run(&with_known_size(&found), rtt.max(greetings.alone()), found.back.rate()).await;
        run.add(report);
        limits = of_path;
    }
    let churn::ConnectLimits { pace, permits } = limits;
    first.again(&mut found, &pace, &permits).await;
    let bytes = bulk(found.rate());
    let end = &PathEnd { pace, permits, ..with_known_size(&found) };
    let together = Together { run, end, bytes, rtt, waiting };
    let busy = async {
        together.all().await;
        // Alone: it fills the path.
        run.check(CheckId::Responsiveness, responsiveness::run(end, trips)).await;
    };
    // Idle connections disturb none of them.
    let (idle, ()) = tokio::join!(waits::idle(end, waiting, rtt), busy);
    idle.into_iter().for_each(|report| run.add(report));
    last(run, end, bytes, rtt).await;
    by_chance::confirm(&together, end).await;
}

/// What all connections of a run have shown.
fn of_all_connections(run: &PathRun<'_>, end: &PathEnd) {
    if run.wants(CheckId::SpuriousReset) {
        let mut report = spurious_reset::with_others(&run.judged_lines(end), &run.checks.borrow());
        // A far end that limits its connections says why some met none.
        if !run.far_has_limits.get() {
            let (checks, hello, transfers) = (run.checks.borrow(), run.hello.borrow(), run.transfers.borrow());
            let others = checks.iter().chain(hello.iter()).chain(transfers.iter().flatten());
            report = spurious_reset::with_unmet(report, &end.ledger.damage(), others);
        }
        run.add(report);
    }
    if let Some([integrity, both_ways]) = run.transfers.take() {
        let damage = end.ledger.damage();
        run.add(integrity::with_others(integrity, &damage, &both_ways));
        run.add(integrity::both_ways_with_others(both_ways, &damage));
    }
}

/// Further connections for the checks of all, and the checks that must be alone.
async fn last(run: &PathRun<'_>, end: &PathEnd, bytes: u64, rtt: Duration) {
    if run.wants(CheckId::SpuriousReset) {
        Box::pin(spurious_reset::more(end, bytes)).await;
    }
    if let Some(wanted) = run.settings.connections {
        // Many at once are what it asks for.
        let unpaced = PathEnd { pace: ConnectPace::default(), permits: ConnectionPermits::default(), ..end.clone() };
        run.check(CheckId::Cap, cap::run(&unpaced, wanted, rtt)).await;
    }
    run.add(backends::backends(&end.greeted.all(), &end.greeted.asked()));
}
