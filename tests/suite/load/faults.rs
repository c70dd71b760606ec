//! Targets that misbehave: the report names connection and sequence number; on every engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use resound::{Cx, Engine, Framing, Service};
use resound_load::{Fault, Load, Mode, Record, Settings};

use super::{lasting, load, open, run, settings};
use crate::harness::{Running, longer, on_each_engine_that_dials, server};

on_each_engine_that_dials! {
    one_corrupt_byte_is_found,
    a_wrong_answer_that_comes_in_parts_is_judged_as_a_whole,
    a_reply_that_is_dropped_is_missing,
    reordered_replies_are_reported,
    a_duplicate_reply_is_reported,
    a_truncated_reply_is_reported,
    a_server_that_closes_is_reported_and_the_run_goes_on,
    a_server_that_resets_is_reported_and_the_run_goes_on,
    a_server_that_never_answers_is_a_timeout,
    messages_blocked_by_a_stalled_server_stay_in_the_plan,
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
fn each_is_reported(record: &Record, fault: Fault) {
    let mut reported: Vec<_> =
        record.failures.iter().map(|failure| (failure.class, failure.connection, failure.sequence)).collect();
    reported.sort_by_key(|&(_, connection, _)| connection);
    assert_eq!(reported, [0, 1, 2, 3].map(|connection| (fault, connection, Some(30))), "{:?}", record.failures);
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
    let record = run(load(engine, on_each(engine, What::Dribbles, 30).address(), open(4000.0, 1000)));
    each_is_reported(&record, Fault::Corrupt);
    assert_eq!((record.total.counts.received, record.total.counts.verified), (400, 396));
}

fn a_reply_that_is_dropped_is_missing(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Drops, 30));
    each_is_reported(&record, Fault::Missing);
    assert_eq!(record.total.counts.verified, 396);
}

fn reordered_replies_are_reported(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Swaps, 30));
    each_is_reported(&record, Fault::Reordered);
    assert_eq!(record.total.counts.received, 400);
}

fn a_duplicate_reply_is_reported(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Repeats, 30));
    each_is_reported(&record, Fault::Duplicate);
    assert_eq!(record.total.counts.verified, 400);
}

fn a_truncated_reply_is_reported(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Truncates, 30));
    each_is_reported(&record, Fault::Truncated);
    // With nothing behind it the rest of it is waited for.
    let server = on_each(engine, What::Truncates, 99);
    let timeout = Duration::from_secs(3);
    let settings = Settings { connections: 1, messages: Some(100), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (Fault::Truncated, Some(99)));
}

fn a_server_that_closes_is_reported_and_the_run_goes_on(engine: Engine) {
    let record = run(load(engine, on_each(engine, What::Closes, 30).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    // A hundred messages each: after 30 and after 61 a connection was lost with one unanswered, and
    // after 92 another.
    assert_eq!((counts.failed(Fault::Eof), counts.errors(), counts.opened), (12, 12, 16), "{:?}", record.failures);
    assert_eq!((counts.sent, counts.received, counts.verified), (400, 388, 388));
    assert!(record.failures.iter().all(|failure| failure.sequence == Some(30)));
}

fn a_server_that_resets_is_reported_and_the_run_goes_on(engine: Engine) {
    let record = run(load(engine, on_each(engine, What::Resets, 30).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert_eq!((counts.failed(Fault::Reset), counts.errors(), counts.opened), (12, 12, 16), "{:?}", record.failures);
    assert_eq!((counts.received, counts.verified), (388, 388));
}

fn a_server_that_never_answers_is_a_timeout(engine: Engine) {
    let server = on_each(engine, What::Stalls, 30);
    let timeout = Duration::from_secs(3);
    let settings = Settings { connections: 1, messages: Some(31), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (Fault::Timeout, Some(30)));
    assert_eq!(record.total.counts.verified, 30);
}

fn messages_blocked_by_a_stalled_server_stay_in_the_plan(engine: Engine) {
    longer(Duration::from_millis(100), |time| stalled_for(engine, time));
}

/// None where a busy generator was late itself.
fn stalled_for(engine: Engine, time: Duration) -> Option<()> {
    let server = on_each(engine, What::Stalls, 0);
    let timeout = time + Duration::from_millis(900);
    let record = run(Load { timeout, ..load(engine, server.address(), lasting(time, open(2000.0, 5))) });
    let (counts, planned) = (&record.total.counts, 2 * time.as_millis() as u64);
    // Each connection has five in flight and keeps no more; what was due besides is known to have
    // been.
    assert_eq!((counts.planned, counts.sent, counts.received), (planned, 20, 0), "{counts:?}");
    // (A generator that a busy machine wakes late has itself to blame for a part of it.)
    let unsent = counts.failed(Fault::Unsent);
    assert_eq!((counts.failed(Fault::Timeout), counts.errors()), (4, 4 + unsent));
    assert_eq!(unsent + counts.lagged, planned - 20, "{counts:?}");
    if unsent == 0 {
        return None;
    }
    let overload = format!(
        "kept 0.00 of 2,000 planned messages per second: it was overloaded, or its connections were lost; \
         0 were answered after the end, and {unsent} planned"
    );
    let is_overloaded = record.warnings.iter().any(|warning| warning.contains(&overload));
    assert!(is_overloaded || counts.lagged >= unsent, "{:?}", record.warnings);
    // All of them are in the response times: those that were sent with the second that was waited
    // for them, the others up to the end.
    let (response, bounds) = (&record.total.response, &record.total.bounds);
    assert_eq!((counts.unanswered, response.count(), record.total.service.count()), (20, planned, 20));
    assert_eq!((&bounds.response, &bounds.service), (response, &record.total.service));
    assert!(response.min().unwrap() <= Duration::from_millis(10), "{:?}", response.min());
    assert!(record.total.service.min().unwrap() >= timeout * 9 / 10, "{:?}", record.total.service.min());
    assert!(record.warnings.iter().any(|warning| warning.starts_with("20 messages were never answered")));
    Some(())
}
