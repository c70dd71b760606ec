//! Which late messages count as blocked by the target, on a virtual clock.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use resound::client::{DialPlan, DialTiming, NextDial};
use resound_proto::{Action, Conn, ConnId, ConnInfo, Endpoint, Limits, Then};

use super::*;
use crate::dial_plan::{DialRoute, LoadDialPlan};
use crate::length::Lengths;
use crate::payload::Payload;
use crate::rules::Rules;
use crate::schedule::RateCurve;
use crate::tally::Tallies;
use crate::{Arrivals, Sizes};

/// One connection of an open loop with a message each 20 ms, of which two may be in flight.
struct TestConnection {
    config: Arc<RunConfig>,
    start: Instant,
    conn: Conn,
    /// Sent and not yet answered.
    sent: Vec<u8>,
}

const SIZE: usize = 16;

impl TestConnection {
    /// Opens the connection this long after the run's start.
    fn opened_after(delay: Duration) -> Self {
        let start = Instant::now();
        let lengths = Lengths::new(&Sizes::Fixed(SIZE as u64));
        let payload = Payload::new(7, false, b"", lengths.longest());
        let config = Arc::new(RunConfig {
            rules: Arc::new(Rules { payload, lengths, verify: true }),
            traffic: TrafficPattern::Answered,
            pace: Pace::Open { rate: RateCurve::constant(50.0), arrivals: Arrivals::Fixed, depth: 2 },
            connections: 1,
            seed: 7,
            timeout: u64::MAX,
            measure_from: 0,
            until: u64::MAX,
            end: AtomicU64::new(u64::MAX),
            per_connection: None,
            keeps_silences: false,
            tallies: Tallies::new(1),
            start: OnceLock::new(),
            negotiated_tls: OnceLock::new(),
        });
        config.begin(start);
        let route = DialRoute {
            target: Endpoint::Unknown,
            sources: Vec::new(),
            timeout: Duration::MAX,
            gap: Duration::ZERO,
            from: start,
            ramp: None,
            warm_up: Duration::ZERO,
            handshake: None,
        };
        let mut plan = LoadDialPlan::new(Arc::clone(&config), route, 0, 1, None);
        let NextDial::Dial(call) = plan.next(start) else { panic!("nothing to dial") };
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let service = plan.answered(&call, DialTiming::default(), &info);
        let limits = Limits { idle_timeout: None, write_timeout: None, ..Limits::default() };
        let mut connection = Self { config, start, conn: Conn::new(info, service, limits), sent: Vec::new() };
        assert_goes_on(connection.conn.open(start + delay, &mut connection.sent, &mut ()));
        connection
    }

    /// The worker wakes up this long after the start.
    fn wake_at(&mut self, time: Duration) {
        assert_goes_on(self.conn.timed_out(self.start + time, &mut self.sent, &mut ()));
    }

    /// The oldest message in flight is answered this long after the start.
    fn answer_at(&mut self, time: Duration) {
        let mut wire: Vec<u8> = self.sent.drain(..SIZE).collect();
        assert_goes_on(self.conn.received(self.start + time, &mut wire, &mut self.sent, &mut ()));
    }

    /// Messages sent, and how many of them were blocked, since the last call.
    fn counts(&self) -> (u64, u64) {
        let counts = self.config.tallies.collect().0.counts;
        (counts.sent, counts.held)
    }
}

fn assert_goes_on(action: Action) {
    assert_eq!((action.then, action.echo), (Then::Go, 0..0));
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn a_message_that_waits_for_an_answer_for_half_of_its_lag_is_blocked() {
    for (answer, blocked) in [(ms(80) - Duration::from_nanos(1), 0), (ms(80), 1), (ms(500), 1)] {
        let mut connection = TestConnection::opened_after(Duration::ZERO);
        assert_eq!(connection.counts(), (1, 0));
        // The generator is 40 ms late with the message of 20 ms, and only then are two in flight.
        connection.wake_at(ms(60));
        assert_eq!(connection.counts(), (1, 0));
        // The message of 40 ms waits for the generator until 60 ms, and then for the answer.
        connection.answer_at(answer);
        assert_eq!(connection.counts(), (1, blocked), "answered after {answer:?}");
    }
}

#[test]
fn a_message_that_waits_for_an_answer_all_the_time_is_blocked() {
    let mut connection = TestConnection::opened_after(Duration::ZERO);
    connection.wake_at(ms(20));
    assert_eq!(connection.counts(), (2, 0));
    // Two are in flight, so that this wake-up sends nothing.
    connection.wake_at(ms(45));
    connection.answer_at(ms(50));
    assert_eq!(connection.counts(), (1, 1));
    // The next one is due at 60 ms. Less than a millisecond is not late.
    connection.answer_at(ms(60) + Counts::LATE - Duration::from_nanos(1));
    assert_eq!(connection.counts(), (1, 0));
    connection.answer_at(ms(80) + Counts::LATE);
    assert_eq!(connection.counts(), (1, 1));
}

#[test]
fn a_message_that_waits_for_its_connection_is_blocked() {
    let connection = TestConnection::opened_after(ms(30));
    assert_eq!(connection.counts(), (2, 2));
}

#[test]
fn a_message_that_waits_for_the_generator_alone_is_not_blocked() {
    let mut connection = TestConnection::opened_after(Duration::ZERO);
    connection.answer_at(ms(10));
    // Neither of the two had to wait for an answer.
    connection.wake_at(ms(200));
    assert_eq!(connection.counts(), (3, 0));
}
