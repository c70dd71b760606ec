//! Targets that misbehave: the report names connection and sequence number; on every engine.

use std::time::Duration;

use resound::{Cx, Engine, Framing, Service};
use resound_load::{Load, LoadFailure, Mode, Record, Settings};

use super::{all_is_well, connect, echoing, echoing_seen, lasting, load, open, run, settings};
use crate::harness::{Running, longer, on_each_engine_that_dials, server};

on_each_engine_that_dials! {
    one_corrupt_byte_is_found,
    a_wrong_answer_that_comes_in_parts_is_judged_as_a_whole,
    a_wrong_answer_is_corrupt,
    garbage_ends_the_connection_that_it_comes_on,
    a_late_answer_is_late_and_not_wrong,
    a_reply_that_is_dropped_is_missing,
    reordered_replies_are_reported,
    a_duplicate_reply_is_reported,
    what_comes_behind_the_last_answer_is_reported,
    a_target_that_answers_in_the_end_does_not_discard,
    a_truncated_reply_is_reported,
    a_server_that_closes_is_reported_and_the_run_goes_on,
    a_server_that_resets_is_reported_and_the_run_goes_on,
    a_server_that_resets_a_tenth_of_its_connections_is_reported_so,
    a_server_that_finishes_first_is_reported,
    a_server_that_never_answers_is_a_timeout,
    messages_blocked_by_a_stalled_server_stay_in_the_plan,
}

/// The bytes of a message.
const SIZE: u64 = 64;

/// Where this byte of the thirtieth answer after the first stands.
fn at(byte: u64) -> u64 {
    30 * SIZE + byte
}

/// Echoes lines, and does to the thirtieth after the first what no fault of a path does.
struct Bad {
    what: What,
    left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Drops,
    Truncates,
}

impl Service for Bad {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        let is_bad = self.left == 0;
        self.left = self.left.wrapping_sub(1);
        match self.what {
            What::Drops if is_bad => {}
            What::Truncates if is_bad => cx.send(&line[..line.len() - 9]),
            _ => cx.echo(),
        }
    }
}

/// A server that does it once on each connection, to the message after so many.
fn on_each(engine: Engine, what: What, left: u64) -> Running {
    Running::start(server(engine), move |_| Bad { what, left })
}

/// One failure of this class on each of the connections, about message 30.
fn each_is_reported(record: &Record, fault: LoadFailure) {
    let mut reported: Vec<_> =
        record.failures.iter().map(|failure| (failure.class, failure.connection, failure.sequence)).collect();
    reported.sort_by_key(|&(_, connection, _)| connection);
    assert_eq!(reported, [0, 1, 2, 3].map(|connection| (fault, connection, Some(30))), "{:?}", record.failures);
}

fn deep(engine: Engine, server: &Running) -> Record {
    run(load(engine, server.address(), Settings { depth: 8, ..settings(Mode::Echo) }))
}

fn one_corrupt_byte_is_found(engine: Engine) {
    let server = echoing(engine, &format!("2: down: corrupt @{}B", 1234 * SIZE + 17));
    let settings = Settings { depth: 8, messages: Some(20_000), ..settings(Mode::Echo) };
    let record = run(load(engine, server.address(), settings));
    let counts = &record.total.counts;
    assert_eq!((counts.sent, counts.received, counts.verified), (20_000, 20_000, 19_999));
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (LoadFailure::Corrupt, Some(1234)));
    assert!(failure.connection < 4, "{failure:?}");
    assert!(failure.what.contains("1 of 64 bytes differ, the first at 17"), "{failure:?}");
}

fn a_wrong_answer_that_comes_in_parts_is_judged_as_a_whole(engine: Engine) {
    // The plan wakes each connection many times between the two halves.
    let server = echoing(engine, &format!("down: corrupt @{}B; down: stall=20ms @{}B", at(17), at(30)));
    let record = run(load(engine, server.address(), open(4000.0, 1000)));
    each_is_reported(&record, LoadFailure::Corrupt);
    assert_eq!((record.total.counts.received, record.total.counts.verified), (400, 396));
}

fn a_wrong_answer_is_corrupt(engine: Engine) {
    let record = deep(engine, &echoing(engine, "wrong-answer @message=31"));
    each_is_reported(&record, LoadFailure::Corrupt);
    assert_eq!((record.total.counts.received, record.total.counts.verified), (400, 396));
}

fn garbage_ends_the_connection_that_it_comes_on(engine: Engine) {
    let record = deep(engine, &echoing(engine, "garbage @message=31"));
    let (counts, failures) = (&record.total.counts, &record.failures);
    assert!(failures.iter().all(|failure| (failure.class, failure.sequence) == (LoadFailure::Corrupt, Some(30))));
    assert!(failures[0].what.contains("no answer to anything that was sent"), "{failures:?}");
    // A hundred messages each, and up to eight in flight: three connections at least.
    assert!(counts.failed(LoadFailure::Corrupt) >= 8 && counts.verified >= 8 * 30, "{counts:?}");
}

fn a_late_answer_is_late_and_not_wrong(engine: Engine) {
    let server = echoing(engine, "1: late-answer=300ms @message=31");
    let record = run(load(engine, server.address(), settings(Mode::Echo)));
    all_is_well(&record, 400);
    let longest = record.total.service.max().unwrap();
    assert!(longest >= Duration::from_millis(250), "{longest:?}");
    // It is too late where it comes after the end of the patience.
    let server = echoing(engine, "late-answer=1h @message=31");
    let timeout = Duration::from_secs(3);
    let settings = Settings { connections: 1, messages: Some(31), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (LoadFailure::Timeout, Some(30)));
}

fn a_reply_that_is_dropped_is_missing(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Drops, 30));
    each_is_reported(&record, LoadFailure::Missing);
    assert_eq!(record.total.counts.verified, 396);
}

fn reordered_replies_are_reported(engine: Engine) {
    let record = deep(engine, &echoing(engine, &format!("down: swap={SIZE}B @{}B", at(0))));
    each_is_reported(&record, LoadFailure::Reordered);
    assert_eq!(record.total.counts.received, 400);
}

fn a_duplicate_reply_is_reported(engine: Engine) {
    let record = deep(engine, &echoing(engine, "duplicate-last-line @message=31"));
    each_is_reported(&record, LoadFailure::Duplicate);
    assert_eq!(record.total.counts.verified, 400);
}

/// Sends one line more when its client has finished.
struct SendsMore {
    echoes: bool,
}

impl Service for SendsMore {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, _line: &[u8], cx: &mut Cx<'_>) {
        if self.echoes {
            cx.echo();
        }
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"one more\n");
        cx.close();
    }
}

fn what_comes_behind_the_last_answer_is_reported(engine: Engine) {
    let server = Running::start(server(engine), |_| SendsMore { echoes: true });
    let closed = Settings { messages_per_connection: Some(2), ..settings(Mode::Echo) };
    for settings in [Settings { messages: Some(8), ..closed }, Settings { messages: Some(4), ..connect(1) }] {
        let record = run(load(engine, server.address(), settings));
        let counts = &record.total.counts;
        assert_eq!((counts.verified, counts.failed(LoadFailure::Extra)), (counts.sent, 4), "{:?}", record.failures);
        assert_eq!(counts.errors(), 4);
    }
}

fn a_target_that_answers_in_the_end_does_not_discard(engine: Engine) {
    let server = Running::start(server(engine), |_| SendsMore { echoes: false });
    let settings = Settings { connections: 1, messages: Some(20), ..settings(Mode::Discard) };
    let record = run(load(engine, server.address(), settings));
    let counts = &record.total.counts;
    assert_eq!((counts.sent, counts.failed(LoadFailure::Extra), counts.errors()), (20, 1, 1), "{counts:?}");
}

fn a_truncated_reply_is_reported(engine: Engine) {
    let record = deep(engine, &on_each(engine, What::Truncates, 30));
    each_is_reported(&record, LoadFailure::Truncated);
    // With nothing behind it the rest of it is waited for.
    let server = on_each(engine, What::Truncates, 99);
    let timeout = Duration::from_secs(3);
    let settings = Settings { connections: 1, messages: Some(100), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (LoadFailure::Truncated, Some(99)));
}

fn a_server_that_closes_is_reported_and_the_run_goes_on(engine: Engine) {
    let record =
        run(load(engine, echoing(engine, &format!("down: close @{}B", at(0))).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    // A hundred messages each: after 30 and after 61 a connection was lost with one unanswered, and
    // after 92 another.
    assert_eq!(
        (counts.failed(LoadFailure::Eof), counts.errors(), counts.opened),
        (12, 12, 16),
        "{:?}",
        record.failures
    );
    assert_eq!((counts.sent, counts.received, counts.verified), (400, 388, 388));
    assert!(record.failures.iter().all(|failure| failure.sequence == Some(30)));
}

fn a_server_that_resets_is_reported_and_the_run_goes_on(engine: Engine) {
    let record =
        run(load(engine, echoing(engine, &format!("down: reset @{}B", at(0))).address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert_eq!(
        (counts.failed(LoadFailure::Reset), counts.errors(), counts.opened),
        (12, 12, 16),
        "{:?}",
        record.failures
    );
    assert_eq!((counts.received, counts.verified), (388, 388));
}

fn a_server_that_resets_a_tenth_of_its_connections_is_reported_so(engine: Engine) {
    let (server, injected) = echoing_seen(engine, &format!("down: reset @{SIZE}B 10%"));
    let record = run(load(engine, server.address(), Settings { messages: Some(800), ..connect(2) }));
    let counts = &record.total.counts;
    let resets = injected.try_iter().count() as u64;
    assert!((15..80).contains(&resets), "{resets} of {}", counts.opened);
    assert_eq!((counts.failed(LoadFailure::Reset), counts.errors()), (resets, resets), "{:?}", record.failures);
    assert_eq!((counts.sent, counts.verified, counts.received), (800, 800 - resets, 800 - resets));
    assert!(record.failures.iter().all(|failure| failure.class == LoadFailure::Reset));
}

fn a_server_that_finishes_first_is_reported(engine: Engine) {
    let record = run(load(engine, echoing(engine, "half-close-first @message=31").address(), settings(Mode::Echo)));
    let counts = &record.total.counts;
    assert_eq!(
        (counts.failed(LoadFailure::Eof), counts.errors(), counts.verified),
        (12, 12, 388),
        "{:?}",
        record.failures
    );
}

fn a_server_that_never_answers_is_a_timeout(engine: Engine) {
    let server = echoing(engine, "never-read @message=31");
    let timeout = Duration::from_secs(3);
    let settings = Settings { connections: 1, messages: Some(31), ..settings(Mode::Echo) };
    let record = run(Load { timeout, ..load(engine, server.address(), settings) });
    let [failure] = &record.failures[..] else { panic!("{:?}", record.failures) };
    assert_eq!((failure.class, failure.sequence), (LoadFailure::Timeout, Some(30)));
    assert_eq!(record.total.counts.verified, 30);
}

fn messages_blocked_by_a_stalled_server_stay_in_the_plan(engine: Engine) {
    longer(Duration::from_millis(100), |time| stalled_for(engine, time));
}

/// None where a busy generator was late itself.
fn stalled_for(engine: Engine, time: Duration) -> Option<()> {
    let server = echoing(engine, "never-read");
    let timeout = time + Duration::from_millis(900);
    let record = run(Load { timeout, ..load(engine, server.address(), lasting(time, open(2000.0, 5))) });
    let (counts, planned) = (&record.total.counts, 2 * time.as_millis() as u64);
    // Each connection has five in flight and keeps no more; what was due besides is known to have
    // been.
    assert_eq!((counts.planned, counts.sent, counts.received), (planned, 20, 0), "{counts:?}");
    // (A generator that a busy machine wakes late has itself to blame for a part of it.)
    let unsent = counts.failed(LoadFailure::Unsent);
    assert_eq!((counts.failed(LoadFailure::Timeout), counts.errors()), (4, 4 + unsent));
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
