//! A load run whose target is gone for a while, or for good: messages that were planned and never
//! sent are no success; on every engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use resound::{Chargen, ConnInfo, Cx, Echo, Engine, Framing, Service};
use resound_load::{Interval, Load, LoadFailure, Mode, Phase, RampSteps, Record, Settings, Shape};

use super::{assert_warns, connect, lasting, load, open, ramped, rates, run, run_until, settings, without_an_end};
use crate::client::connecting::closed_port;
use crate::harness::{Running, longer, on_each_engine_once, server};

on_each_engine_once! {
    an_outage_counts_as_planned,
    an_outage_that_ends_is_waited_for,
    a_short_backlog_at_the_end_is_sent,
    an_outage_of_a_closed_loop_is_time_without_an_answer,
    a_target_that_stops_answering_is_an_outage,
    an_outage_in_a_ramp_breaks_the_step_in_which_it_began,
    messages_after_a_ramp_broke_were_not_planned,
    a_plan_has_its_time,
    a_run_without_an_end_is_given_up_without_a_target,
    a_target_that_ends_each_connection_gets_all_that_was_planned,
}

const PLANNED: u64 = 600;
/// Connections of a run.
const CONNECTIONS: u64 = 4;

/// So many messages, a thousand a second, for as long as it takes.
fn planned(engine: Engine, to: SocketAddr) -> Load {
    let interval = Duration::from_millis(100);
    load(engine, to, Settings { messages: Some(PLANNED), interval, ..open(1000.0, 50) })
}

/// Echoes so many lines, and answers nothing from then on.
struct Falling {
    left: Arc<AtomicU64>,
    /// Lines that got no answer, on all connections.
    ignored: Arc<AtomicU64>,
}

impl Falling {
    /// Answers so many lines on each of a run's connections, and none on those that come later.
    fn each(answers: u64) -> impl Fn(&ConnInfo) -> Self + Send + Sync {
        let opened = AtomicU64::new(0);
        move |_| {
            let left = if opened.fetch_add(1, Relaxed) < CONNECTIONS { answers } else { 0 };
            Self { left: Arc::new(AtomicU64::new(left)), ignored: Arc::default() }
        }
    }
}

impl Service for Falling {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        match self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => cx.send(line),
            Err(_) => _ = self.ignored.fetch_add(1, Relaxed),
        }
    }
}

/// Stops the server as soon as `is_ready` returns true for the number of answers. Once a connection
/// has been refused for certain, `then` gets that moment and, tick by tick, the present one; the
/// run ends where it returns true.
fn run_without(
    load: Load,
    stop: impl FnOnce(),
    is_ready: impl Fn(u64) -> bool,
    mut then: impl FnMut(Duration, Duration) -> bool,
) -> (Record, Duration) {
    let (mut stop, mut received, mut is_refused, mut gone) = (Some(stop), 0, false, None);
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let mut cut = Some(cut);
    let record = run_until(load, async { drop(is_cut.await) }, |phase, tick| {
        if phase != Phase::Measuring {
            return;
        }
        received += tick.counts.received;
        let now = tick.start + tick.length;
        // The events of a tick may be a moment younger than its time; the next tick is later.
        if is_refused && then(*gone.get_or_insert(now), now) {
            cut.take().map(|cut| cut.send(()));
        }
        is_refused |= stop.is_none() && tick.counts.unconnected > 0;
        if is_ready(received) {
            stop.take().into_iter().for_each(|stop| stop());
        }
    });
    (record, gone.unwrap_or_default())
}

/// Each planned message was sent, or is known not to have been.
fn every_planned_message_is_reported(record: &Record) {
    let counts = &record.total.counts;
    assert_eq!(counts.planned, counts.sent + counts.failed(LoadFailure::Unsent) + counts.lagged, "{counts:?}");
    let mut sum = Interval::default();
    record.intervals.iter().for_each(|interval| sum.add(interval));
    assert_eq!((&sum.counts, &sum.response, &sum.bounds), (counts, &record.total.response, &record.total.bounds));
}

fn an_outage_counts_as_planned(engine: Engine) {
    let server = Running::start(server(engine), Falling::each(25));
    let load = planned(engine, server.address());
    // All was due by the end, and for the greater part of its time there was no connection for it.
    let is_enough = |gone: Duration, now| now >= Duration::from_millis(PLANNED + 100).max(gone * 2);
    let (record, _) = run_without(load, || server.handle.stop(), |received| received == 100, is_enough);
    every_planned_message_is_reported(&record);
    let (total, counts) = (&record.total, &record.total.counts);
    assert_eq!((counts.planned, total.response.count(), total.lag.count()), (PLANNED, PLANNED, PLANNED));
    let never = counts.planned - counts.received;
    assert_eq!((counts.received, never), (100, 500));
    assert_eq!((total.bounds.response.count(), total.bounds.service.count()), (never, counts.unanswered));
    assert!(counts.failed(LoadFailure::Unsent) > 0, "{counts:?}");
    // The first that was not answered was due no later than the hundredth message or one behind it.
    let longest = total.response().max().unwrap();
    let gone = record.elapsed - Duration::from_millis(100 + CONNECTIONS);
    assert!(longest.is_bound && longest.time + record.elapsed / 50 >= gone, "{longest:?} {gone:?}");
    // What was never sent stands where it was due, and is named.
    let until = Duration::from_millis(PLANNED) + record.elapsed / 500;
    for interval in &record.intervals {
        let is_due = interval.start + interval.length > Duration::from_millis(100) && interval.start < until;
        assert!(is_due || interval.counts.failed(LoadFailure::Unsent) == 0, "{interval:?}");
    }
    assert!(record.failures.iter().any(|failure| failure.class == LoadFailure::Unsent || counts.errors() > 100));
    assert_warns(&record, "planned messages were never sent");
}

fn an_outage_that_ends_is_waited_for(engine: Engine) {
    // The port is held, so that the second server finds it free.
    let (_held, address) = closed_port();
    let start = || server(engine).listen(&address.to_string()).unwrap();
    let first = Running::start_on(start(), Falling::each(25));
    let stop = || {
        first.handle.stop();
        first.handle.wait();
    };
    let mut second = None;
    // What became due meanwhile has waited for the greater part of its time for a connection.
    let comes_back = |gone: Duration, now| {
        if second.is_none() && now >= Duration::from_millis(450).max(gone * 2) {
            second = Some(Running::start_on(start(), |_| Echo));
        }
        false
    };
    let (record, _) = run_without(planned(engine, address), stop, |received| received == 100, comes_back);
    every_planned_message_is_reported(&record);
    let counts = &record.total.counts;
    assert_eq!((counts.planned, record.total.response.count()), (PLANNED, PLANNED));
    // It was sent late, and has its wait: each connection had sent 75 messages at most, and the
    // next was due before 310 ms.
    let longest = record.total.response.max().unwrap();
    assert!(longest >= Duration::from_millis(130), "{longest:?}");
    assert!(counts.held > 0 && counts.opened >= 2 * CONNECTIONS, "{counts:?}");
}

/// Echoes after a while, and nothing meanwhile.
struct Slow(Duration, Vec<u8>);

impl Service for Slow {
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.1.extend_from_slice(bytes);
        cx.wake_at(cx.now() + self.0);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(&std::mem::take(&mut self.1));
    }
}

fn a_short_backlog_at_the_end_is_sent(engine: Engine) {
    let server = Running::start(server(engine), |_| Slow(Duration::from_millis(25), Vec::new()));
    let mut load = planned(engine, server.address());
    // Of three messages the third is due while the second is in flight, and the end comes before
    // that is answered.
    load.settings = Settings { connections: 1, ..lasting(Duration::from_millis(30), open(100.0, 1)) };
    let record = run(load);
    let counts = &record.total.counts;
    assert_eq!((counts.planned, counts.sent, counts.received), (3, 3, 3), "{counts:?}");
    assert_eq!((&record.failures[..], counts.lagged), (&[][..], 0));
    assert!(counts.late > 0, "{counts:?}");
}

fn an_outage_of_a_closed_loop_is_time_without_an_answer(engine: Engine) {
    for shape in [Shape::Closed, Shape::Connect, Shape::Stream] {
        const ANSWERS: u64 = 40;
        let ignored = Arc::new(AtomicU64::new(0));
        let falling = {
            let (left, ignored) = (Arc::new(AtomicU64::new(ANSWERS)), Arc::clone(&ignored));
            move |_: &ConnInfo| Falling { left: Arc::clone(&left), ignored: Arc::clone(&ignored) }
        };
        let is_stream = shape == Shape::Stream;
        let first = if is_stream {
            Running::start(server(engine), |_| Chargen)
        } else {
            Running::start(server(engine), falling)
        };
        let settings = Settings {
            shape,
            messages_per_connection: (shape == Shape::Connect).then_some(3),
            ..without_an_end(settings(if is_stream { Mode::Chargen } else { Mode::Echo }))
        };
        // Where there are messages, each of the four connections has one that is not answered.
        let is_ready = |received| if is_stream { received > 0 } else { ignored.load(Relaxed) == CONNECTIONS };
        let is_enough = |gone, now| now >= gone + Duration::from_millis(200);
        let load_of = |to, settings| load(engine, to, settings);
        let stop = || first.handle.stop();
        let (record, gone) = run_without(load_of(first.address(), settings), stop, is_ready, is_enough);
        let (counts, outage) = (&record.total.counts, record.total.outage);
        // One connection at least was gone since then, and none for longer than the run.
        let least = record.elapsed - gone;
        assert!(least >= Duration::from_millis(200), "{shape:?} {least:?}");
        assert!(outage >= least && outage <= record.elapsed * CONNECTIONS as u32, "{shape:?} {outage:?} {least:?}");
        if !is_stream {
            let (service, bounds) = (&record.total.service, &record.total.bounds.service);
            assert_eq!((service.count(), bounds.count()), (counts.sent, counts.unanswered));
            assert!(counts.unanswered >= CONNECTIONS && counts.received == ANSWERS, "{shape:?} {counts:?}");
            let longest = bounds.max().unwrap();
            assert!(longest + record.elapsed / 50 >= least, "{shape:?} {longest:?} {least:?}");
        }
        assert!(counts.unconnected > 0 && counts.received > 0 && counts.failed(LoadFailure::Unsent) == 0, "{counts:?}");
        assert_warns(&record, "of the time of its connections nothing was answered");
        let well = match shape {
            Shape::Stream => Running::start(server(engine), |_| Chargen),
            _ => Running::start(server(engine), |_| Echo),
        };
        let settings = Settings { duration: Some(Duration::from_millis(50)), ..record.settings.clone() };
        let record = run(load_of(well.address(), settings));
        assert_eq!((record.total.outage, record.total.counts.unconnected), (Duration::ZERO, 0), "{shape:?}");
    }
}

fn a_target_that_stops_answering_is_an_outage(engine: Engine) {
    // A machine so slow that not both of the messages were sent in time gets a longer run.
    longer(Duration::from_millis(300), |time| {
        let (send, ignored) = std::sync::mpsc::channel();
        let mute = move |_: &ConnInfo| Mute { has_answered: false, ignored: send.clone() };
        let server = Running::start(server(engine), mute);
        let settings = Settings { connections: 2, ..lasting(time, settings(Mode::Echo)) };
        let timeout = time + Duration::from_millis(100);
        let begun = Instant::now();
        let record = run(Load { timeout, ..load(engine, server.address(), settings) });
        let (total, counts) = (&record.total, &record.total.counts);
        if (counts.sent, counts.received) != (4, 2) {
            return None;
        }
        assert_eq!((counts.unanswered, counts.failed(LoadFailure::Timeout), counts.errors()), (2, 2, 2), "{counts:?}");
        // They were waited for beyond the end, and stand there with all of that.
        assert_eq!((total.service.count(), total.bounds.service.count()), (4, 2));
        let shortest = total.bounds.service.min().unwrap();
        assert!(shortest >= timeout - Duration::from_millis(10), "{:?}", total.bounds.service);
        // The run began no earlier than this, and they were sent before they came.
        let ignored: Vec<Instant> = ignored.try_iter().collect();
        let least: Duration = ignored.iter().map(|at| (begun + time).saturating_duration_since(*at)).sum();
        assert!(ignored.len() == 2 && (least..=2 * time).contains(&total.outage), "{least:?} {:?}", total.outage);
        Some(())
    });
}

/// Answers nothing from the second message on.
struct Mute {
    has_answered: bool,
    /// Receives the instant of each message that it ignores.
    ignored: std::sync::mpsc::Sender<Instant>,
}

impl Service for Mute {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        match std::mem::replace(&mut self.has_answered, true) {
            false => cx.send(line),
            true => _ = self.ignored.send(Instant::now()),
        }
    }
}

/// A ramp of rates, from 200 messages a second to 800.
fn ramp(
    engine: Engine,
    to: SocketAddr,
    (depth, every): (u64, Duration),
    breaks: impl Fn(&Interval) -> bool + Send + 'static,
) -> Load {
    let breaks = move |step: &Interval| breaks(step).then(|| "enough".to_owned());
    let ramp = ramped(engine, to, depth, RampSteps { every, ..rates(200.0, 200.0, 800.0) });
    Load { breaks: Some(Box::new(breaks)), ..ramp }
}

fn an_outage_in_a_ramp_breaks_the_step_in_which_it_began(engine: Engine) {
    // On each connection the first step sends ten messages and the second twenty.
    let server = Running::start(server(engine), Falling::each(15));
    let (depth, every) = (20, Duration::from_millis(200));
    let load = ramp(engine, server.address(), (depth, every), |step| !step.bounds.response.is_empty());
    let (record, _) = run_without(load, || server.handle.stop(), |received| received == 60, |_, _| false);
    every_planned_message_is_reported(&record);
    // While it went on nothing was known of how long its messages would wait.
    let held: Vec<_> = record.steps.iter().map(|step| step.broken.is_none()).collect();
    assert_eq!((held.len(), held[0], held[1]), (4, true, false), "{held:?}");
    assert!(record.total.counts.failed(LoadFailure::Unsent) + record.total.counts.lagged > 0);
}

fn messages_after_a_ramp_broke_were_not_planned(engine: Engine) {
    // Twenty-five answers a second on each of four connections: half of what the first step plans.
    let server = Running::start(server(engine), |_| Slow(Duration::from_millis(40), Vec::new()));
    let record = run(ramp(engine, server.address(), (1, Duration::from_millis(400)), |_| true));
    let counts = &record.total.counts;
    assert!(record.steps.len() == 1 && record.steps[0].broken.is_some(), "{:?}", record.steps.len());
    // One was due each 5 ms.
    let due = record.elapsed.as_millis() as u64 / 5;
    assert!(counts.sent < due, "{counts:?} in {:?}", record.elapsed);
    assert_eq!((&record.failures[..], counts.failed(LoadFailure::Unsent)), (&[][..], 0), "{counts:?}");
    every_planned_message_is_reported(&record);
}

fn a_plan_has_its_time(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let open = Settings { messages: Some(3), ..open(20.0, 9) };
    let connect = Settings { connections: 1, connect_rate: Some(20.0), messages: Some(3), ..connect(1) };
    for settings in [open.clone(), Settings { duration: Some(Duration::from_secs(60)), ..open.clone() }, connect] {
        let record = run(load(engine, server.address(), settings));
        // The third is answered after 100 ms.
        assert!(record.elapsed >= Duration::from_millis(150), "{:?}", record.elapsed);
        assert_eq!((record.total.counts.sent, record.total.counts.received), (3, 3));
        let measured: Duration = record.intervals.iter().map(|interval| interval.length).sum();
        assert!(measured >= Duration::from_millis(150), "{measured:?}");
    }
    // A time that is shorter than the plan is the end of it.
    let short = Settings { duration: Some(Duration::from_millis(70)), ..open };
    let record = run(load(engine, server.address(), short));
    assert_eq!((record.elapsed, record.total.counts.sent), (Duration::from_millis(70), 2));
}

fn a_run_without_an_end_is_given_up_without_a_target(engine: Engine) {
    for rate in [None, Some(1000.0)] {
        let server = Running::start(server(engine), |_| Echo);
        let shape = if rate.is_some() { Shape::Open } else { Shape::Closed };
        let settings = Settings { shape, rate, messages: Some(1_000_000_000), ..settings(Mode::Echo) };
        let load = Load { connect_timeout: Duration::from_millis(100), ..load(engine, server.address(), settings) };
        let (record, _) = run_without(load, || server.handle.stop(), |received| received > 0, |_, _| false);
        every_planned_message_is_reported(&record);
        assert!(!record.cut_short && record.elapsed >= Duration::from_millis(300), "{:?}", record.elapsed);
        assert_eq!(record.warnings[0], "the run was given up: no connection could be made or kept for 300 ms");
        let counts = &record.total.counts;
        assert_eq!(counts.failed(LoadFailure::Unsent) > 0, rate.is_some(), "{counts:?}");
        assert!(counts.failed(LoadFailure::Refused) > 0, "{counts:?}");
    }
}

/// Ends its connection at once.
struct Ends;

impl Service for Ends {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.close();
    }

    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}

fn a_target_that_ends_each_connection_gets_all_that_was_planned(engine: Engine) {
    let server = Running::start(server(engine), |_| Ends);
    let wanted = Settings { connections: 1, ..settings(Mode::Echo) };
    let duration = Some(Duration::from_millis(500));
    let timed = Settings { messages: None, duration, ..wanted.clone() };
    let record = run(load(engine, server.address(), timed));
    assert!(Some(record.elapsed) >= duration && record.total.counts.errors() >= 2, "{:?}", record.total.counts);
    // Without an end of its own, the run would go on for as long as it has messages.
    let settings = Settings { messages: Some(1_000_000_000), ..wanted };
    let record = run(Load { connect_timeout: Duration::from_millis(100), ..load(engine, server.address(), settings) });
    assert_eq!(record.warnings[0], "the run was given up: no connection could be made or kept for 300 ms");
}
