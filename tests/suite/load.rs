//! The load generator, against servers that behave and servers that do not, on every engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use resound::load::{Arrivals, BULK, Fault, Interval, Load, Mode, Phase, Record, Settings, Shape, Sizes, direction};
use resound::load::{Raised, Ramp, Timestamps};
use resound::{Chargen, CloseReason, Cx, Discard, Echo, Endpoint, Engine, Framing, Reply, Service};

use crate::harness::{PATIENCE, Running, begins, hampered, on_each_engine_that_dials, server};

on_each_engine_that_dials! {
    every_size_comes_back_verified,
    replies_are_verified_too,
    many_in_flight_keep_their_order,
    an_open_loop_sends_what_was_planned,
    poisson_arrivals_are_all_sent,
    think_time_is_kept,
    one_corrupt_byte_is_found,
    a_wrong_answer_that_comes_in_parts_is_judged_as_a_whole,
    a_reply_that_is_dropped_is_missing,
    replies_that_change_places_are_told,
    a_reply_that_comes_twice_is_told,
    a_truncated_reply_is_told,
    a_server_that_closes_is_told_and_the_run_goes_on,
    a_server_that_resets_is_told_and_the_run_goes_on,
    a_server_that_never_answers_is_a_timeout,
    what_a_stalled_server_holds_up_stays_in_the_plan,
    a_refused_server_ends_the_run,
    connections_come_and_go,
    bulk_both_ways_is_verified,
    bulk_one_way,
    a_pattern_is_received_and_verified,
    a_ramp_ends_where_a_threshold_breaks,
    a_ramp_of_connections_goes_up,
    a_run_that_is_cut_short_keeps_its_results,
    both_ends_agree,
}

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings {
        shape: Shape::Closed,
        target: "test".into(),
        mode,
        connections: 4,
        depth: 1,
        rate: None,
        arrivals: Arrivals::Fixed,
        size: Sizes::Fixed(64),
        duration: None,
        messages: Some(400),
        messages_per_connection: None,
        direction: None,
        seed: 7,
        verify: true,
        think_time: Duration::ZERO,
        connect_rate: None,
        ramp: None,
        busy_poll: Duration::ZERO,
        timestamps: Timestamps::Clock,
        interval: Duration::from_secs(1),
        tls: None,
        proxy: None,
        command: String::new(),
    }
}

pub(crate) fn load(engine: Engine, to: SocketAddr, settings: Settings) -> Load {
    Load {
        settings,
        target: Endpoint::Tcp(to),
        lines: true,
        warm_up: Duration::ZERO,
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        opening: begins(),
        sources: Vec::new(),
        engine,
        workers: std::num::NonZeroUsize::new(2),
        congestion: None,
        hampered: hampered(),
        ramp: None,
    }
}

pub(crate) fn run(load: Load) -> Record {
    run_until(load, std::future::pending(), |_, _| {})
}

/// Whatever happens, what is told while it happens adds up to the result, and no message is left out of it.
pub(crate) fn run_until(
    load: Load,
    cut: impl Future<Output = ()>,
    mut observe: impl FnMut(Phase, &Interval),
) -> Record {
    let _ = resound::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (is_answered, mut told) = (matches!(load.settings.mode, Mode::Echo | Mode::Reply), Interval::default());
    let observe = |phase, tick: &Interval| {
        if matches!(phase, Phase::Measuring | Phase::Finishing { .. }) {
            told.join(tick);
        }
        observe(phase, tick);
    };
    let record = runtime.block_on(async { load.start().unwrap().watch(Duration::from_millis(20), cut, observe).await });
    let (counts, ended) = (&record.total.counts, record.intervals.last().map(|last| last.start + last.length));
    assert_eq!((&told.counts, &told.response), (counts, &record.total.response));
    assert_eq!(told.length, ended.unwrap_or_default());
    if is_answered {
        assert_eq!(counts.sent, counts.received + counts.unanswered, "{counts:?}");
    }
    record
}

/// All was sent, answered and right.
pub(crate) fn all_is_well(record: &Record, messages: u64) {
    let counts = &record.total.counts;
    assert_eq!(record.failures, [], "{counts:?}");
    assert_eq!((counts.sent, counts.received, counts.verified), (messages, messages, messages), "{counts:?}");
    assert_eq!((counts.opened, counts.closed), (counts.opened, counts.opened));
    assert_eq!(record.total.service.count(), messages);
    let of_intervals: u64 = record.intervals.iter().map(|interval| interval.counts.received).sum();
    assert_eq!(of_intervals, messages);
}

fn every_size_comes_back_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let weighted = Sizes::Weighted(vec![(1, 5.0), (100, 3.0), (200_000, 0.5)]);
    for size in [Sizes::Fixed(1), Sizes::Fixed(2), Sizes::Fixed(70_000), Sizes::Range(1, 5000), weighted] {
        for lines in [true, false] {
            let settings = Settings { size: size.clone(), messages: Some(100), ..settings(Mode::Echo) };
            all_is_well(&run(Load { lines, ..load(engine, server.address(), settings) }), 100);
        }
    }
}

fn replies_are_verified_too(engine: Engine) {
    let server = Running::start(server(engine), |_| Reply::default());
    for size in [Sizes::Fixed(1), Sizes::Fixed(64), Sizes::Range(1, 60_000)] {
        all_is_well(&run(load(engine, server.address(), Settings { size, ..settings(Mode::Reply) })), 400);
    }
}

fn many_in_flight_keep_their_order(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { depth: 50, messages: Some(10_000), size: Sizes::Range(1, 300), ..settings(Mode::Echo) };
    all_is_well(&run(load(engine, server.address(), settings)), 10_000);
}

fn an_open_loop_sends_what_was_planned(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings {
        shape: Shape::Open,
        rate: Some(2000.0),
        depth: 1000,
        messages: None,
        duration: Some(Duration::from_millis(300)),
        ..settings(Mode::Echo)
    };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 600);
    let total = &record.total;
    assert_eq!((total.counts.planned, total.response.count(), total.lag.count()), (600, 600, 600));
    assert_eq!(record.elapsed, Duration::from_millis(300));
}

fn poisson_arrivals_are_all_sent(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings {
        shape: Shape::Open,
        rate: Some(2000.0),
        arrivals: Arrivals::Poisson,
        depth: 1000,
        messages: Some(400),
        ..settings(Mode::Echo)
    };
    all_is_well(&run(load(engine, server.address(), settings)), 400);
}

fn think_time_is_kept(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { think_time: Duration::from_millis(5), messages: Some(40), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 40);
    // Ten messages a connection, with nine pauses between them.
    assert!(record.elapsed >= Duration::from_millis(45), "{:?}", record.elapsed);
}

/// Echoes lines, and does something to one of them.
struct Bad {
    what: What,
    /// Which line of this connection, or of all.
    line: u64,
    seen: Arc<AtomicU64>,
    kept: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Corrupts,
    /// And sends the second half of it later.
    Dribbles,
    Drops,
    Swaps,
    Repeats,
    Truncates,
    Closes,
    Resets,
    Stalls,
}

impl Service for Bad {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        if self.what == What::Dribbles && !self.kept.is_empty() {
            return self.kept.extend_from_slice(line);
        }
        if self.seen.fetch_add(1, Relaxed) != self.line {
            cx.echo();
            return cx.send(&std::mem::take(&mut self.kept));
        }
        match self.what {
            What::Corrupts => {
                let mut wrong = line.to_vec();
                wrong[17] ^= 1;
                cx.send(&wrong);
            }
            What::Dribbles => {
                let mut wrong = line.to_vec();
                wrong[17] ^= 1;
                self.kept = wrong.split_off(30);
                cx.send(&wrong);
                cx.wake_at(cx.now() + Duration::from_millis(20));
            }
            What::Drops => {}
            What::Swaps => self.kept = line.to_vec(),
            What::Repeats => cx.send(&[line, line].concat()),
            What::Truncates => cx.send(&line[..line.len() - 9]),
            What::Closes => cx.close(),
            What::Resets => cx.reset(),
            What::Stalls => cx.pause(true),
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(&std::mem::take(&mut self.kept));
    }
}

/// A server that does it once on each connection.
fn on_each(engine: Engine, what: What, line: u64) -> Running {
    Running::start(server(engine), move |_| Bad { what, line, seen: Arc::default(), kept: Vec::new() })
}

/// One failure of this class on each of the connections, about message 30.
fn each_is_told(record: &Record, fault: Fault) {
    let mut told: Vec<_> =
        record.failures.iter().map(|failure| (failure.class, failure.connection, failure.sequence)).collect();
    told.sort_by_key(|&(_, connection, _)| connection);
    assert_eq!(told, [0, 1, 2, 3].map(|connection| (fault, connection, Some(30))), "{:?}", record.failures);
}

fn deep(engine: Engine, server: &Running) -> Record {
    run(load(engine, server.address(), Settings { depth: 8, ..settings(Mode::Echo) }))
}

fn one_corrupt_byte_is_found(engine: Engine) {
    let seen = Arc::new(AtomicU64::new(0));
    let bad = move |_: &resound::ConnInfo| Bad {
        what: What::Corrupts,
        line: 12_345,
        seen: Arc::clone(&seen),
        kept: Vec::new(),
    };
    let server = Running::start(server(engine), bad);
    let settings = Settings { depth: 8, messages: Some(20_000), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    let counts = &record.total.counts;
    assert_eq!((counts.sent, counts.received, counts.verified), (20_000, 20_000, 19_999));
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!(failure.class, Fault::Corrupt);
    assert!(failure.connection < 4 && failure.sequence.is_some_and(|sequence| sequence < 5000), "{failure:?}");
    assert!(failure.what.contains("1 of 64 bytes differ, the first at 17"), "{failure:?}");
}

fn a_wrong_answer_that_comes_in_parts_is_judged_as_a_whole(engine: Engine) {
    // The plan wakes each connection many times between the two halves.
    let settings = Settings { shape: Shape::Open, rate: Some(4000.0), depth: 1000, ..settings(Mode::Echo) };
    let record = run(load(engine, on_each(engine, What::Dribbles, 30).address(), settings));
    each_is_told(&record, Fault::Corrupt);
    assert_eq!((record.total.counts.received, record.total.counts.verified), (400, 396));
}

fn a_reply_that_is_dropped_is_missing(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Drops, 30));
    each_is_told(&record, Fault::Missing);
    assert_eq!(record.total.counts.verified, 396);
}

fn replies_that_change_places_are_told(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Swaps, 30));
    each_is_told(&record, Fault::Reordered);
    assert_eq!(record.total.counts.received, 400);
}

fn a_reply_that_comes_twice_is_told(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Repeats, 30));
    each_is_told(&record, Fault::Duplicate);
    assert_eq!(record.total.counts.verified, 400);
}

fn a_truncated_reply_is_told(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Truncates, 30));
    each_is_told(&record, Fault::Truncated);
    // With nothing behind it the rest of it is waited for.
    let server = on_each(engine, What::Truncates, 99);
    let timeout = Duration::from_secs(1);
    let settings = Settings { connections: 1, messages: Some(100), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (Fault::Truncated, Some(99)));
}

fn a_server_that_closes_is_told_and_the_run_goes_on(engine: Engine) {
    let record = run(load(engine, on_each(engine, What::Closes, 30).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    // A hundred messages each: after 30 and after 61 a connection was lost with one unanswered, and after 92 another.
    assert_eq!((counts.failed(Fault::Eof), counts.errors(), counts.opened), (12, 12, 16), "{:?}", record.failures);
    assert_eq!((counts.sent, counts.received, counts.verified), (400, 388, 388));
    assert!(record.failures.iter().all(|failure| failure.sequence == Some(30)));
}

fn a_server_that_resets_is_told_and_the_run_goes_on(engine: Engine) {
    let record = run(load(engine, on_each(engine, What::Resets, 30).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert_eq!((counts.failed(Fault::Reset), counts.errors(), counts.opened), (12, 12, 16), "{:?}", record.failures);
    assert_eq!((counts.received, counts.verified), (388, 388));
}

fn a_server_that_never_answers_is_a_timeout(engine: Engine) {
    let server = on_each(engine, What::Stalls, 30);
    let timeout = Duration::from_secs(1);
    let settings = Settings { connections: 1, messages: Some(31), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (Fault::Timeout, Some(30)));
    assert_eq!(record.total.counts.verified, 30);
}

fn what_a_stalled_server_holds_up_stays_in_the_plan(engine: Engine) {
    let server = on_each(engine, What::Stalls, 0);
    let settings = Settings {
        shape: Shape::Open,
        rate: Some(2000.0),
        depth: 5,
        messages: None,
        duration: Some(Duration::from_millis(100)),
        ..settings(Mode::Echo)
    };
    let record = run(Load { timeout: Duration::from_secs(1), ..load(engine, server.address(), settings) });
    let counts = &record.total.counts;
    // Each connection has five in flight and keeps no more; what was due besides is known to have been.
    assert_eq!((counts.planned, counts.sent, counts.received), (200, 20, 0), "{counts:?}");
    assert_eq!((counts.failed(Fault::Timeout), counts.errors()), (4, 4), "{:?}", record.failures);
    let overload = "kept 0.0 of 2000.0 planned messages per second: it was overloaded; 0 were answered after the end, and 180 planned";
    assert!(record.warnings.iter().any(|warning| warning.contains(overload)), "{:?}", record.warnings);
    // Each of those that were sent is in the response times, with the second that was waited for it.
    assert_eq!((counts.unanswered, record.total.response.count()), (20, 20));
    assert!(record.total.response.min().unwrap() >= Duration::from_millis(900), "{:?}", record.total.response.min());
    assert!(record.warnings.iter().any(|warning| warning.starts_with("20 messages were never answered")));
}

fn a_refused_server_ends_the_run(engine: Engine) {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let record = run(load(engine, gone, settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert!(counts.failed(Fault::Refused) >= 4, "{counts:?}");
    assert_eq!((counts.opened, counts.sent, counts.errors()), (0, 0, counts.failed(Fault::Refused)));
}

fn connections_come_and_go(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings {
        shape: Shape::Connect,
        messages_per_connection: Some(3),
        messages: Some(300),
        ..settings(Mode::Echo)
    };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 300);
    assert_eq!((record.total.counts.opened, record.total.connect.count()), (100, 100));
    assert_eq!(server.drain().closed[CloseReason::Finished.index()], 100);
}

fn stream(mode: Mode) -> Settings {
    Settings {
        shape: Shape::Stream,
        connections: 2,
        messages: None,
        duration: Some(Duration::from_millis(100)),
        size: Sizes::Fixed(BULK),
        direction: Some(direction(mode)),
        ..settings(mode)
    }
}

fn bulk_both_ways_is_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let record = run(load(engine, server.address(), stream(Mode::Echo)));
    let counts = &record.total.counts;
    assert_eq!(record.failures, []);
    assert!(counts.sent > 0);
    assert_eq!((counts.received, counts.verified), (counts.sent, counts.sent));
    assert_eq!(counts.bytes_received, counts.bytes_sent);
}

fn bulk_one_way(engine: Engine) {
    let server = Running::start(server(engine), |_| Discard);
    let record = run(load(engine, server.address(), stream(Mode::Discard)));
    let counts = &record.total.counts;
    assert_eq!(record.failures, []);
    assert!(counts.sent > 0 && counts.received == 0);
    let taken = server.drain().bytes_in;
    // What comes first, and TLS, are bytes too.
    assert!(taken == counts.bytes_sent || begins().is_some() && taken > counts.bytes_sent, "{taken}: {counts:?}");
}

fn a_pattern_is_received_and_verified(engine: Engine) {
    let server = Running::start(server(engine), |_| Chargen);
    // As long as it takes: on a busy machine nothing may come for a while.
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let mut cut = Some(cut);
    let long = Settings { duration: Some(PATIENCE * 60), ..stream(Mode::Chargen) };
    let record = run_until(load(engine, server.address(), long), async { drop(is_cut.await) }, |_, tick| {
        if tick.counts.received > 0 {
            cut.take().map(|cut| cut.send(()));
        }
    });
    let counts = &record.total.counts;
    assert_eq!(record.failures, []);
    assert!(counts.verified > 0 && counts.sent == 0 && counts.verified == counts.received, "{counts:?}");
}

fn a_ramp_ends_where_a_threshold_breaks(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { shape: Shape::Ramp, messages: None, depth: 1000, ..settings(Mode::Echo) };
    let ramp = Ramp {
        of: Raised::Rate,
        from: 100.0,
        by: 100.0,
        to: 1000.0,
        every: Duration::from_millis(100),
        breaks: Box::new(|step| (step.counts.sent > 25).then(|| format!("{} were sent", step.counts.sent))),
    };
    let record = run(Load { ramp: Some(ramp), ..load(engine, server.address(), settings) });
    let levels: Vec<_> = record.steps.iter().map(|step| (step.level, step.broken.is_some())).collect();
    // How many are seen in a step depends on when it is looked at; that rate is kept is another test's matter.
    assert!(levels.len() < 10 && levels.iter().filter(|(_, broken)| *broken).count() == 1, "{levels:?}");
    assert!(levels.last().is_some_and(|(_, broken)| *broken));
    assert_eq!(record.failures, []);
}

fn a_ramp_of_connections_goes_up(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = Settings { shape: Shape::Ramp, messages: None, ..settings(Mode::Echo) };
    let ramp = Ramp {
        of: Raised::Connections,
        from: 2.0,
        by: 2.0,
        to: 6.0,
        every: Duration::from_millis(100),
        breaks: Box::new(|_| None),
    };
    let record = run(Load { ramp: Some(ramp), ..load(engine, server.address(), settings) });
    assert_eq!(record.steps.iter().map(|step| step.level).collect::<Vec<_>>(), [2.0, 4.0, 6.0]);
    assert_eq!((record.total.counts.opened, record.total.counts.closed), (6, 6));
    assert_eq!(record.failures, []);
}

fn a_run_that_is_cut_short_keeps_its_results(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let mut cut = Some(cut);
    let settings = Settings { messages: None, duration: Some(PATIENCE * 60), ..settings(Mode::Echo) };
    let mut received = 0;
    let record = run_until(load(engine, server.address(), settings), async { drop(is_cut.await) }, |phase, tick| {
        // What the end of the warm-up tells is told again as measured.
        received += if phase == Phase::Measuring { tick.counts.received } else { 0 };
        if received > 100 {
            cut.take().map(|cut| cut.send(()));
        }
    });
    let counts = &record.total.counts;
    assert!(record.cut_short && counts.received > 100 && counts.received == counts.sent, "{counts:?}");
    assert_eq!(record.failures, []);
    assert!(record.elapsed < PATIENCE);
}

fn both_ends_agree(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings =
        Settings { connections: 50, messages: Some(5000), size: Sizes::Range(1, 2000), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    all_is_well(&record, 5000);
    let (ours, theirs) = (&record.total.counts, server.drain());
    assert_eq!((ours.opened, ours.closed), (50, 50));
    assert_eq!(theirs.opened, 50);
    if begins().is_none() {
        assert_eq!((theirs.bytes_in, theirs.bytes_out), (ours.bytes_sent, ours.bytes_received));
    }
    assert_eq!(theirs.closed[CloseReason::Finished.index()], 50);
}
