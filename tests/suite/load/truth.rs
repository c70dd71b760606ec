//! The record of a load run, against what is known to have happened. Too long for every run:
//! `cargo test --release -- --ignored truth`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use resound::{CloseReason, Cx, Echo, Engine, Framing, Service};
use resound_load::{LoadFailure, Mode, Settings};

use super::{assert_warns, lasting, load, open, run, settings};
use crate::harness::{Running, engine, engines, server};

/// Echoes; and once, all of the server stands still for a second.
struct Stalls {
    at: Instant,
    stalled: Arc<AtomicU64>,
}

impl Service for Stalls {
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
        if cx.now() >= self.at && self.stalled.fetch_add(1, Relaxed) == 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// A server of one worker, which stands still after four seconds.
fn stalling() -> Running {
    let (at, stalled) = (Instant::now() + Duration::from_secs(4), Arc::default());
    Running::start(server(Engine::Portable).workers(NonZeroUsize::MIN), move |_| Stalls {
        at,
        stalled: Arc::clone(&stalled),
    })
}

#[test]
#[ignore = "takes 10 s for each engine"]
fn truth_a_stall_delays_every_planned_message() {
    for name in engines() {
        let server = stalling();
        let settings = Settings { connections: 10, ..lasting(Duration::from_secs(10), open(1000.0, 100_000)) };
        let record = run(load(engine(name), server.address(), settings));
        let response = &record.total.response;
        let ms = |percent| response.percentile(percent).unwrap().as_secs_f64() * 1e3;
        println!("{name}: p50 {:.3} p95 {:.1} p99 {:.1} max {:.1} ms", ms(50.0), ms(95.0), ms(99.0), ms(100.0));
        assert_eq!((record.total.counts.verified, record.failures.len()), (10_000, 0));
        assert!((450.0..550.0).contains(&ms(95.0)), "{}", ms(95.0));
        assert!((870.0..930.0).contains(&ms(99.0)), "{}", ms(99.0));
        assert!(ms(100.0) >= 980.0, "{}", ms(100.0));
    }
}

#[test]
#[ignore = "takes 10 s"]
fn truth_a_closed_loop_warns_of_what_it_cannot_see() {
    let server = stalling();
    let settings = Settings { connections: 1, ..lasting(Duration::from_secs(10), settings(Mode::Echo)) };
    let record = run(load(Engine::Portable, server.address(), settings));
    println!("{:?}", record.warnings);
    assert!(record.total.service.percentile(99.0).unwrap() < Duration::from_millis(100));
    assert_warns(&record, "far longer than most");
}

#[test]
#[ignore = "takes 3 s for each rate and engine"]
fn truth_rates_are_kept_to_one_per_cent() {
    for name in engines() {
        for rate in [10.0, 100.0, 1000.0, 10_000.0, 50_000.0] {
            let server = Running::start(server(Engine::Auto).workers(NonZeroUsize::MIN), |_| Echo);
            let connections = if rate < 100.0 { 1 } else { 16 };
            let settings = Settings { connections, ..lasting(Duration::from_secs(3), open(rate, 100_000)) };
            let record = run(load(engine(name), server.address(), settings));
            let kept = record.total.counts.in_time() as f64 / record.elapsed.as_secs_f64();
            let lag = record.total.lag.percentile(99.0).unwrap();
            println!("{name}: {rate} wanted, {kept} kept, 99 % of lags up to {lag:?}");
            // What is sent in the last moment is answered after the end: one message, of a small
            // rate.
            assert!((kept - rate).abs() <= (rate * 0.01).max(0.5), "{kept} of {rate}");
            assert!(lag < Duration::from_millis(100), "{lag:?}");
        }
    }
}

/// What the server has seen and answered: of connections that may be reset, and of all others.
#[derive(Default)]
struct Lines {
    seen: [AtomicU64; 2],
    answered: [AtomicU64; 2],
}

/// Echoes lines; a tenth of the connections are slow, and a tenth are reset at random.
struct Rough {
    kind: u64,
    state: u64,
    waiting: Vec<u8>,
    lines: Arc<Lines>,
}

impl Rough {
    fn answered(&self, lines: u64) {
        self.lines.answered[usize::from(self.kind != 1)].fetch_add(lines, Relaxed);
    }
}

impl Service for Rough {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        self.lines.seen[usize::from(self.kind != 1)].fetch_add(1, Relaxed);
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match self.kind {
            0 => {
                self.waiting.extend_from_slice(line);
                return cx.wake_at(cx.now() + Duration::from_millis(3));
            }
            1 if (self.state >> 33).is_multiple_of(500) => return cx.reset(),
            _ => cx.echo(),
        }
        self.answered(1);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        if !self.waiting.is_empty() {
            self.answered(self.waiting.iter().filter(|byte| **byte == b'\n').count() as u64);
            cx.send(&std::mem::take(&mut self.waiting));
        }
    }
}

/// Messages in flight on each connection, so that several could change places or be lost between
/// others.
const DEPTH: u64 = 4;

/// RESOUND_SOAK=MESSAGES makes it shorter, and RESOUND_ENGINE=NAME asks for one engine only.
#[test]
#[ignore = "takes minutes for each engine"]
fn truth_ten_million_messages_over_five_thousand_connections() {
    let messages = std::env::var("RESOUND_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let only = std::env::var("RESOUND_ENGINE").ok();
    for name in engines().into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
        let start = Instant::now();
        let lines: Arc<Lines> = Arc::default();
        let theirs = Arc::clone(&lines);
        let server = Running::start(server(engine(name)), move |conn| Rough {
            kind: conn.id.0 % 10,
            state: conn.id.0,
            waiting: Vec::new(),
            lines: Arc::clone(&theirs),
        });
        let settings = Settings { connections: 5000, depth: DEPTH, messages: Some(messages), ..settings(Mode::Echo) };
        let record = run(load(engine(name), server.address(), settings));
        let ours = &record.total.counts;
        let totals = server.drain();
        println!(
            "{name}: {} in {:.1?}, {} connections, {} resets",
            ours.sent,
            start.elapsed(),
            ours.opened,
            ours.errors()
        );
        // Nothing is lost, doubled or out of its place: a connection is reset, and takes with it
        // what is in flight there.
        assert_eq!(ours.errors(), ours.failed(LoadFailure::Reset), "{:?}", record.failures);
        assert_eq!((ours.sent, ours.received + ours.unanswered, ours.verified), (messages, messages, ours.received));
        assert!((ours.errors()..=DEPTH * ours.errors()).contains(&ours.unanswered), "{ours:?}");
        let of = |counts: &[AtomicU64; 2]| counts.each_ref().map(|count| count.load(Relaxed));
        let ([seen_there, seen], [answered_there, answered]) = (of(&lines.seen), of(&lines.answered));
        // Each unanswered line has ended its connection. Lines after it may have reached no
        // service, and answers before it may be lost.
        assert_eq!((seen, seen_there), (answered, answered_there + ours.errors()));
        assert!((ours.received..=ours.sent - ours.errors()).contains(&(answered + answered_there)), "{ours:?}");
        assert_eq!((ours.opened, ours.closed), (totals.opened, totals.closed_in_all()));
        assert_eq!(totals.closed(CloseReason::Aborted), ours.errors());
        assert!(ours.errors() > 0);
    }
}
