//! A load run whose target is gone for a while, or for good: what was planned and not done is no
//! success; on every engine.

use std::net::SocketAddr;
use std::time::Duration;

use resound::{Chargen, Cx, Echo, Engine, Framing, Service};
use resound_load::{Fault, Interval, Load, Mode, Phase, Ramp, RampVariable, Record, Settings, Shape};

use crate::harness::{Running, on_each_engine_once, server};
use crate::load::{load, run, run_until, settings};

on_each_engine_once! {
    an_outage_stands_in_what_was_planned,
    an_outage_that_ends_is_waited_for,
    what_waits_for_a_moment_at_the_end_is_sent,
    an_outage_of_a_closed_loop_is_time_without_an_answer,
    a_target_that_answers_no_more_is_as_good_as_gone,
    an_outage_in_a_ramp_breaks_the_step_in_which_it_began,
    what_a_ramp_could_not_send_when_it_broke_was_not_planned,
    a_plan_has_its_time,
    a_run_without_an_end_is_given_up_without_a_target,
}

const PLANNED: u64 = 600;

/// A thousand messages a second, for as long as it takes.
fn planned(engine: Engine, to: SocketAddr) -> Load {
    let duration = Some(Duration::from_millis(PLANNED));
    let settings = Settings {
        shape: Shape::Open,
        rate: Some(1000.0),
        depth: 1000,
        messages: None,
        duration,
        ..settings(Mode::Echo)
    };
    load(engine, to, settings)
}

/// Runs, and does something once when so much has been measured and something answered.
fn run_and(load: Load, at: Duration, what: impl FnOnce()) -> Record {
    let (mut what, mut received) = (Some(what), 0);
    run_until(load, std::future::pending(), |phase, tick| {
        received += tick.counts.received;
        if phase == Phase::Measuring && tick.start + tick.length >= at && received > 0 {
            what.take().into_iter().for_each(|what| what());
        }
    })
}

/// Each planned message was sent, or is known not to have been.
fn is_all_told(record: &Record) {
    let counts = &record.total.counts;
    assert_eq!(counts.planned, counts.sent + counts.failed(Fault::Unsent) + counts.lagged, "{counts:?}");
    let mut sum = Interval::default();
    record.intervals.iter().for_each(|interval| sum.add(interval));
    assert_eq!((&sum.counts, &sum.response, &sum.bounds), (counts, &record.total.response, &record.total.bounds));
}

fn an_outage_stands_in_what_was_planned(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let at = Duration::from_millis(200);
    let record = run_and(planned(engine, server.address()), at, || server.handle.stop());
    is_all_told(&record);
    let (total, counts) = (&record.total, &record.total.counts);
    assert_eq!((counts.planned, total.response.count(), total.lag.count()), (PLANNED, PLANNED, PLANNED));
    let never = counts.planned - counts.received;
    assert_eq!((total.bounds.response.count(), total.bounds.service.count()), (never, counts.unanswered));
    // It was gone before half of the time was over, however late that was heard of.
    assert!(counts.failed(Fault::Unsent) + counts.lagged > 0 && never > PLANNED / 10, "{counts:?}");
    let gone =
        Duration::from_millis(PLANNED) - Duration::from_millis(PLANNED) * counts.received as u32 / PLANNED as u32;
    let longest = total.response().max().unwrap();
    assert!(longest.is_bound && longest.time + Duration::from_millis(50) >= gone, "{longest:?} {gone:?}");
    // What was never sent stands where it was due, and is named.
    let dead = record.intervals.last().unwrap();
    assert!(dead.counts.failed(Fault::Unsent) > 0 && dead.counts.sent + dead.counts.failed(Fault::Unsent) > 0);
    assert!(record.failures.iter().any(|failure| failure.class == Fault::Unsent || counts.errors() > 100));
    assert!(record.warnings.iter().any(|warning| warning.contains("planned messages were never sent")));
}

fn an_outage_that_ends_is_waited_for(engine: Engine) {
    let first = Running::start(server(engine), |_| Echo);
    let address = first.address();
    let (mut first, mut second) = (Some(first), None);
    let record = run_until(planned(engine, address), std::future::pending(), |phase, tick| {
        if phase == Phase::Measuring && tick.start >= Duration::from_millis(100) {
            first.take().into_iter().for_each(|server| {
                server.handle.stop();
                server.handle.wait();
            });
        }
        if first.is_none() && second.is_none() && tick.start >= Duration::from_millis(250) {
            let server = server(engine).listen(&address.to_string()).unwrap();
            second = Some(Running::start_on(server, |_| Echo));
        }
    });
    is_all_told(&record);
    let counts = &record.total.counts;
    assert_eq!((counts.planned, record.total.response.count()), (PLANNED, PLANNED));
    // What became due meanwhile was sent late, and has its wait.
    let longest = record.total.response.max().unwrap();
    assert!(longest >= Duration::from_millis(100), "{longest:?}");
    assert!(counts.held > 0 && counts.opened >= 8, "{counts:?}");
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

fn what_waits_for_a_moment_at_the_end_is_sent(engine: Engine) {
    let server = Running::start(server(engine), |_| Slow(Duration::from_millis(25), Vec::new()));
    let mut load = planned(engine, server.address());
    // Of three messages the third is due while the second is in flight, and the end comes before
    // that is answered.
    load.settings = Settings {
        connections: 1,
        depth: 1,
        rate: Some(100.0),
        duration: Some(Duration::from_millis(30)),
        ..load.settings
    };
    let record = run(load);
    let counts = &record.total.counts;
    assert_eq!((counts.planned, counts.sent, counts.received), (3, 3, 3), "{counts:?}");
    assert_eq!((&record.failures[..], counts.lagged), (&[][..], 0));
    assert!(counts.late > 0, "{counts:?}");
}

fn an_outage_of_a_closed_loop_is_time_without_an_answer(engine: Engine) {
    for shape in [Shape::Closed, Shape::Connect, Shape::Stream] {
        let start = || match shape {
            Shape::Stream => Running::start(server(engine), |_| Chargen),
            _ => Running::start(server(engine), |_| Echo),
        };
        let settings = Settings {
            shape,
            messages: None,
            messages_per_connection: (shape == Shape::Connect).then_some(3),
            duration: Some(Duration::from_millis(300)),
            ..settings(if shape == Shape::Stream { Mode::Chargen } else { Mode::Echo })
        };
        let server = start();
        let gone = || server.handle.stop();
        let record = run_and(load(engine, server.address(), settings), Duration::from_millis(30), gone);
        let (counts, outage) = (&record.total.counts, record.total.outage);
        // Four connections, which were there for a tenth of the time or a little more.
        assert!(outage > Duration::from_millis(200) && outage <= Duration::from_millis(1200), "{shape:?} {outage:?}");
        if shape != Shape::Stream {
            let (service, bounds) = (&record.total.service, &record.total.bounds.service);
            assert_eq!((service.count(), bounds.count()), (counts.sent, counts.unanswered));
            assert!(counts.unanswered > 0 && bounds.max().unwrap() > Duration::from_millis(100), "{bounds:?}");
        }
        assert!(counts.unconnected > 0 && counts.received > 0 && counts.failed(Fault::Unsent) == 0, "{counts:?}");
        let said = "of the time of its connections nothing was answered";
        assert!(record.warnings.iter().any(|warning| warning.contains(said)), "{:?}", record.warnings);
        let server = start();
        let settings = Settings { duration: Some(Duration::from_millis(50)), ..record.settings.clone() };
        let record = run(load(engine, server.address(), settings));
        assert_eq!((record.total.outage, record.total.counts.unconnected), (Duration::ZERO, 0), "{shape:?}");
    }
}

/// Answers nothing from the second message on.
struct Mute(bool);

impl Service for Mute {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.0, true) {
            cx.send(line);
        }
    }
}

fn a_target_that_answers_no_more_is_as_good_as_gone(engine: Engine) {
    let server = Running::start(server(engine), |_| Mute(false));
    let settings =
        Settings { connections: 2, messages: None, duration: Some(Duration::from_millis(300)), ..settings(Mode::Echo) };
    let timeout = Duration::from_millis(400);
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let (total, counts) = (&record.total, &record.total.counts);
    assert_eq!((counts.received, counts.unanswered, counts.failed(Fault::Timeout)), (2, 2, 2), "{counts:?}");
    // They were waited for beyond the end, and stand there with all of that.
    assert_eq!((total.service.count(), total.bounds.service.count()), (4, 2));
    assert!(total.bounds.service.min().unwrap() >= Duration::from_millis(390), "{:?}", total.bounds.service);
    assert!(
        total.outage > Duration::from_millis(300) && total.outage <= Duration::from_millis(600),
        "{:?}",
        total.outage
    );
}

/// A ramp of rates that only a long wait breaks.
fn ramp(engine: Engine, to: SocketAddr, depth: u64, every: Duration) -> Load {
    let settings = Settings { shape: Shape::Ramp, messages: None, depth, ..settings(Mode::Echo) };
    let breaks = |step: &Interval| {
        let p99 = step.response.percentile(99.0)?;
        (p99 > Duration::from_millis(100)).then(|| format!("{p99:?}"))
    };
    let ramp = Ramp { of: RampVariable::Rate, from: 200.0, by: 200.0, to: 800.0, every, breaks: Box::new(breaks) };
    Load { ramp: Some(ramp), ..load(engine, to, settings) }
}

fn an_outage_in_a_ramp_breaks_the_step_in_which_it_began(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let every = Duration::from_millis(200);
    let load = ramp(engine, server.address(), 1000, every);
    let record = run_and(load, every + Duration::from_millis(30), || server.handle.stop());
    is_all_told(&record);
    // While it went on the steps that came then had no time at all, and so none that was too long.
    let held: Vec<_> = record.steps.iter().map(|step| step.broken.is_none()).collect();
    assert_eq!((held.len(), held[0], held[1]), (4, true, false), "{held:?}");
    assert!(record.total.counts.failed(Fault::Unsent) > 0);
}

fn what_a_ramp_could_not_send_when_it_broke_was_not_planned(engine: Engine) {
    // Twenty-five answers a second on each of four connections.
    let server = Running::start(server(engine), |_| Slow(Duration::from_millis(40), Vec::new()));
    let record = run(ramp(engine, server.address(), 1, Duration::from_millis(400)));
    let counts = &record.total.counts;
    let last = record.steps.last().unwrap();
    assert!(last.broken.is_some() && record.steps.len() < 4, "{:?}", record.steps.len());
    assert_eq!((&record.failures[..], counts.failed(Fault::Unsent)), (&[][..], 0), "{counts:?}");
    is_all_told(&record);
}

fn a_plan_has_its_time(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let open = Settings { shape: Shape::Open, rate: Some(20.0), messages: Some(3), depth: 9, ..settings(Mode::Echo) };
    let connect = Settings {
        shape: Shape::Connect,
        connections: 1,
        connect_rate: Some(20.0),
        messages: Some(3),
        messages_per_connection: Some(1),
        ..settings(Mode::Echo)
    };
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
        let record = run_and(load, Duration::from_millis(60), || server.handle.stop());
        is_all_told(&record);
        assert!(!record.cut_short && record.elapsed >= Duration::from_millis(300), "{:?}", record.elapsed);
        assert_eq!(record.warnings[0], "the run was given up: no connection could be made for 300 ms");
        let counts = &record.total.counts;
        assert_eq!(counts.failed(Fault::Unsent) > 0, rate.is_some(), "{counts:?}");
        assert!(counts.failed(Fault::Refused) > 0, "{counts:?}");
    }
}
