//! How a load run ends, and what it reports of messages still open then; on every engine.

use std::io::Read;
use std::time::Duration;

use resound::{Cx, Discard, Echo, Engine, Framing, Service};
use resound_load::{Arrivals, Load, MOST_IN_FLIGHT, Mode, Phase, Settings, Shape, Sizes};

use super::{connect, lasting, load, open, ramped, rates, run, run_till, run_until, settings, without_an_end};
use crate::harness::{Running, eventually, longer, on_each_engine_plainly, server};

on_each_engine_plainly! {
    messages_beyond_the_servers_capacity_are_never_sent,
    answers_after_the_end_are_in_no_rate,
    messages_without_a_connection_were_planned,
    a_stream_that_is_not_answered_stops,
    an_unanswered_dial_does_not_delay_the_end,
    a_ramp_of_rates_has_its_last_step,
    a_ramp_that_is_observed_late_has_all_its_steps,
    a_ramp_of_rates_begins_after_its_warm_up,
    a_ramp_of_rates_may_have_poisson_arrivals,
    messages_of_the_warm_up_are_not_counted,
    connections_of_the_warm_up_are_not_counted,
}

/// Echoes one line at a time, and none sooner than this after the one before.
struct Slow {
    pause: Duration,
    waiting: std::collections::VecDeque<Vec<u8>>,
    all_at_once: bool,
}

impl Service for Slow {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        self.waiting.push_back(line.to_vec());
        if self.waiting.len() == 1 {
            cx.wake_at(cx.now() + self.pause);
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let answers = if self.all_at_once { self.waiting.len() } else { self.waiting.len().min(1) };
        self.waiting.drain(..answers).for_each(|line| cx.send(&line));
        if !self.waiting.is_empty() {
            cx.wake_at(cx.now() + self.pause);
        }
    }
}

fn slow(engine: Engine, pause: Duration, all_at_once: bool) -> Running {
    Running::start(server(engine), move |_| Slow { pause, waiting: Default::default(), all_at_once })
}

fn messages_beyond_the_servers_capacity_are_never_sent(engine: Engine) {
    longer(Duration::from_secs(1), |time| {
        let server = slow(engine, Duration::from_millis(5), false);
        let record = run(load(engine, server.address(), lasting(time, open(4000.0, 2))));
        let (counts, seconds) = (&record.total.counts, time.as_secs());
        // In a second each of four connections has two hundred answers at most, and two in flight.
        assert_eq!((counts.planned, record.elapsed), (4000 * seconds, time));
        assert!(counts.sent <= 4 * (200 * seconds + 2) && counts.received == counts.sent, "{counts:?}");
        assert!(counts.in_time() <= 4 * 200 * seconds, "{counts:?}");
        let warns = |what: &str| record.warnings.iter().any(|warning| warning.contains(what));
        // The first two messages of each connection are sent at once, and the others wait for an
        // answer; but not where this machine came to them too late to send them.
        let is_overloaded = warns("of 4,000 planned messages per second: it was overloaded");
        assert!(is_overloaded || counts.lagged > 0, "{counts:?} {:?}", record.warnings);
        // Held are all but those of the beginning, where this machine came late to the first two.
        let is_held = counts.held >= counts.sent * 9 / 10;
        (is_overloaded && is_held && warns("the target was behind")).then_some(())
    });
}

fn answers_after_the_end_are_in_no_rate(engine: Engine) {
    let server = slow(engine, Duration::from_millis(500), true);
    let record = run(load(engine, server.address(), lasting(Duration::from_millis(100), open(2000.0, 1000))));
    let counts = &record.total.counts;
    assert!(counts.received > 0 && counts.late == counts.received && counts.in_time() == 0, "{counts:?}");
    assert_eq!((counts.bytes_late, counts.bytes_in_time()), (counts.bytes_received, 0));
    // A slow answer is no overload, and delays no message.
    assert!(!record.warnings.iter().any(|warning| warning.contains("overloaded")), "{:?}", record.warnings);
    assert_eq!(counts.held, 0);
}

fn messages_without_a_connection_were_planned(engine: Engine) {
    // The target accepts four connections, ends each at its first byte, and is gone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let gone = std::thread::spawn(move || {
        let taken: Vec<_> = (0..4).map(|_| listener.accept().unwrap().0).collect();
        drop(listener);
        taken.into_iter().for_each(|mut peer| drop(peer.read(&mut [0])));
    });
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let (mut cut, mut alone_from) = (Some(cut), None);
    let long = load(engine, address, without_an_end(open(1000.0, 1000)));
    let record = run_until(long, async { drop(is_cut.await) }, |phase, tick| {
        let now = tick.start + tick.length;
        if alone_from.is_some_and(|from| now >= from + Duration::from_millis(200)) {
            cut.take().map(|cut| cut.send(()));
        }
        if phase == Phase::Measuring && tick.counts.unconnected > 0 {
            alone_from.get_or_insert(now);
        }
    });
    gone.join().unwrap();
    let (counts, seconds) = (&record.total.counts, record.elapsed.as_secs_f64());
    assert!(record.cut_short && seconds >= 0.2);
    // Each connection has a message in four, so that one of each may be due in the moment of the
    // end.
    assert!((counts.planned as f64 - seconds * 1000.0).abs() <= 5.0, "{} in {seconds}", counts.planned);
    assert!(counts.sent < counts.planned);
    let unsent = counts.failed(resound_load::LoadFailure::Unsent);
    assert_eq!(counts.planned, counts.sent + unsent + counts.lagged, "{counts:?}");
    assert!(unsent > 0 && record.total.response.count() == counts.planned, "{counts:?}");
}

fn a_stream_that_is_not_answered_stops(engine: Engine) {
    let server = Running::start(server(engine), |_| Discard);
    let size = Sizes::Fixed(1);
    let stream = Settings { shape: Shape::Stream, connections: 1, size, ..without_an_end(settings(Mode::Echo)) };
    let record = run_till(load(engine, server.address(), stream), |counts| counts.sent >= MOST_IN_FLIGHT);
    assert_eq!((record.total.counts.sent, record.total.counts.unanswered), (MOST_IN_FLIGHT, MOST_IN_FLIGHT));
}

fn an_unanswered_dial_does_not_delay_the_end(engine: Engine) {
    #[cfg(not(target_os = "linux"))]
    let _ = engine;
    #[cfg(target_os = "linux")]
    {
        let (address, _kept) = crate::engine::dialing::silent();
        // The end of the run ends the dial, which is no failure; the dial's own time limit is far.
        let record = run(load(engine, address, lasting(Duration::from_millis(50), connect(1))));
        assert_eq!((&record.failures[..], record.total.counts.opened), (&[][..], 0));
    }
}

fn a_ramp_of_rates_has_its_last_step(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let record = run(ramped(engine, server.address(), 1000, rates(100.0, 100.0, 300.0)));
    assert_eq!(record.steps.iter().map(|step| step.level).collect::<Vec<_>>(), [100.0, 200.0, 300.0]);
    assert_eq!(record.total.counts.planned, 60);
}

fn a_ramp_that_is_observed_late_has_all_its_steps(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let load = ramped(engine, server.address(), 1000, rates(100.0, 100.0, 300.0));
    let record = run_until(load, std::future::pending(), |phase, _| {
        if phase == Phase::Measuring {
            eventually("all was sent", || server.handle.totals().bytes_in == 60 * 64);
        }
    });
    let starts: Vec<_> = record.steps.iter().map(|step| (step.level, step.total.start.as_millis())).collect();
    assert_eq!(starts.len(), 3, "{starts:?}");
    assert!(starts[0] == (100.0, 0) && starts[2].0 == 300.0, "{starts:?}");
    // Each begins after the one before, though no tick shows when.
    assert!(starts.is_sorted() && starts[1].1 >= 100 && starts[2].1 >= 200, "{starts:?}");
    assert_eq!(record.steps.iter().map(|step| step.total.counts.sent).sum::<u64>(), 60);
}

fn a_ramp_of_rates_begins_after_its_warm_up(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let warm_up = Duration::from_millis(200);
    let record = run(Load { warm_up, ..ramped(engine, server.address(), 1000, rates(100.0, 100.0, 300.0)) });
    assert_eq!(record.steps.len(), 3);
    assert_eq!(record.total.counts.planned, 60);
}

fn a_ramp_of_rates_may_have_poisson_arrivals(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let poisson = |seed| {
        let mut load = ramped(engine, server.address(), 1000, rates(1000.0, 1000.0, 3000.0));
        (load.settings.arrivals, load.settings.seed) = (Arrivals::Poisson, seed);
        let record = run(load);
        assert_eq!((record.steps.len(), &record.failures[..]), (3, &[][..]));
        record.total.counts.planned
    };
    // 600 on average, with a standard deviation of 25; the seed decides which.
    let (one, other) = (poisson(7), poisson(8));
    assert!(one.abs_diff(600) < 150 && other.abs_diff(600) < 150 && one != other, "{one} {other}");
    assert_eq!(one, poisson(7));
}

fn messages_of_the_warm_up_are_not_counted(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let warm_up = Duration::from_millis(30);
    let record = run(Load { warm_up, ..load(engine, server.address(), settings(Mode::Echo)) });
    let counts = &record.total.counts;
    assert_eq!((counts.sent, counts.received), (400, 400));
    assert_eq!((counts.bytes_sent, counts.bytes_received), (64 * 400, 64 * 400));
}

fn connections_of_the_warm_up_are_not_counted(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let settings = lasting(Duration::from_millis(20), connect(1));
    let warm_up = Duration::from_millis(200);
    let record = run(Load { warm_up, ..load(engine, server.address(), settings) });
    let counts = &record.total.counts;
    // One message each; at either end some may be dialled on one side of it and sent on the other.
    assert!(counts.opened.abs_diff(counts.sent) <= 8, "{counts:?}");
    assert_eq!((counts.opened, counts.opened), (counts.closed, record.total.connect.count()));
}
