//! Services whose two directions are independent, and resets after what was sent, on a virtual
//! clock.

use std::time::Duration;

use resound::conn::Then;
use resound::{CloseReason, Cx, Limits, Service};

use crate::proto::bench::Bench;

const SECOND: Duration = Duration::from_secs(1);

/// Answers each byte with a kilobyte, and ends as its test wants it.
struct Loud {
    full_duplex: bool,
}

impl Service for Loud {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.full_duplex(self.full_duplex);
    }
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        match bytes {
            b"finish" => cx.finish(),
            b"reset" => cx.reset_after_delivery(),
            b"pause" => cx.pause(true),
            b"limit delivery" => cx.limit_delivery(),
            _ => cx.send(&vec![b'x'; 1024 * bytes.len()]),
        }
    }
    fn eof(&mut self, _: &mut Cx<'_>) {}
    fn drain(&mut self, _: &mut Cx<'_>) {}
}

#[test]
fn input_is_delivered_however_much_is_unsent() {
    for (full_duplex, want) in [(true, 200), (false, 24)] {
        let mut bench = Bench::new(Loud { full_duplex }, Limits::default());
        (0..200).for_each(|_| bench.receive(b"a"));
        assert_eq!(bench.observer.messages.len(), want, "full duplex: {full_duplex}");
        assert_eq!(bench.conn.wants_read(), full_duplex);
        assert_eq!(bench.conn.read_limit() > 0, full_duplex);
    }
    let mut bench = Bench::new(Loud { full_duplex: true }, Limits::default());
    bench.receive(b"pause");
    bench.receive(b"a");
    assert!(bench.observer.messages.len() == 1 && !bench.conn.wants_read(), "a pause holds it up");
}

#[test]
fn a_drain_leaves_a_half_closed_full_duplex_connection_open() {
    for (full_duplex, messages) in [(true, 2), (false, 1)] {
        let mut bench = Bench::new(Loud { full_duplex }, Limits::default());
        bench.receive(b"finish");
        assert_eq!(bench.then, Then::HalfClose);
        bench.drain();
        bench.receive(b"more");
        assert_eq!(bench.observer.messages.len(), messages, "full duplex: {full_duplex}");
    }
}

#[test]
fn an_idle_full_duplex_connection_is_reset() {
    let limits = Limits { idle_timeout: Some(SECOND), ..Limits::default() };
    for (full_duplex, want) in [(true, Then::Reset), (false, Then::Close)] {
        let mut bench = Bench::new(Loud { full_duplex }, limits);
        let (time, _) = bench.run(SECOND * 60);
        assert_eq!((time, bench.then), (SECOND, want));
        assert_eq!(bench.close(), CloseReason::IdleTimeout);
    }
}

#[test]
fn a_full_duplex_connection_that_has_paused_is_not_idle() {
    let limits = Limits { idle_timeout: Some(SECOND), ..Limits::default() };
    for (full_duplex, want) in [(true, Then::Go), (false, Then::Close)] {
        let mut bench = Bench::new(Loud { full_duplex }, limits);
        bench.receive(b"pause");
        bench.run(SECOND * 60);
        assert_eq!(bench.then, want, "it waits for another connection");
    }
}

#[test]
fn a_cut_of_an_open_full_duplex_connection_is_unfinished() {
    for full_duplex in [true, false] {
        let mut bench = Bench::new(Loud { full_duplex }, Limits::default());
        assert_eq!(bench.conn.is_unfinished(), full_duplex);
        bench.eof();
        assert_eq!(bench.conn.is_unfinished(), full_duplex);
    }
    let mut bench = Bench::new(Loud { full_duplex: true }, Limits::default());
    bench.receive(b"finish");
    bench.eof();
    assert_eq!(bench.then, Then::Close, "both directions have ended");
}

#[test]
fn a_reset_waits_until_what_was_sent_is_delivered() {
    let mut bench = Bench::telling(Loud { full_duplex: true }, Limits::default());
    bench.receive(b"a");
    bench.receive(b"reset");
    bench.receive(b"a");
    assert_eq!((bench.then, bench.observer.messages.len()), (Then::Go, 2), "later input is discarded");
    assert_eq!(bench.take_all().len(), 1024);
    bench.run(SECOND * 5);
    assert_eq!(bench.then, Then::Go, "the peer's system has not taken it");
    bench.held = 0;
    let (time, _) = bench.run(SECOND * 60);
    assert!(time < SECOND * 5 && bench.then == Then::Reset, "{time:?}");
    assert_eq!(bench.close(), CloseReason::Aborted);
}

#[test]
fn a_reset_does_not_wait_for_ever() {
    for (write_timeout, want) in [(Some(8), 8), (Some(60), 10), (None, 10)] {
        let limits = Limits { write_timeout: write_timeout.map(|n| SECOND * n), ..Limits::default() };
        let mut bench = Bench::telling(Loud { full_duplex: true }, limits);
        bench.receive(b"a");
        bench.receive(b"reset");
        bench.take_all();
        let (time, _) = bench.run(SECOND * 3600);
        assert!((SECOND * want..=SECOND * (want + 2)).contains(&time) && bench.then == Then::Reset, "{time:?}");
    }
}

#[test]
fn a_service_in_a_hurry_gives_its_peer_ten_seconds_for_each_part() {
    for (timeout, want) in [(Some(SECOND * 300), SECOND * 10), (Some(SECOND * 3), SECOND * 3), (None, SECOND * 10)] {
        let limits = Limits { write_timeout: timeout, ..Limits::default() };
        let mut bench = Bench::telling(Loud { full_duplex: true }, limits);
        bench.receive(b"a");
        bench.take_all();
        bench.receive(b"limit delivery");
        // The peer is slow, and then has all of it.
        for held in [1000, 500, 1, 0] {
            bench.held = held;
            let (time, _) = bench.run(want / 2);
            assert_eq!((time, bench.then), (want / 2, Then::Go), "{held} bytes");
        }
        bench.run(SECOND * 3600);
        assert_eq!(bench.then, Then::Go, "nothing is on its way");
        bench.receive(b"b");
        bench.take_all();
        let (time, looks) = bench.run(SECOND * 3600);
        assert!(want <= time && time < want + SECOND && looks < 200, "{time:?}, {looks} looks");
        assert_eq!(bench.close(), CloseReason::WriteTimeout);
    }
}

#[test]
fn a_broken_connection_delivers_what_came_before_and_sends_nothing() {
    /// Goes on once it is woken.
    struct Waits;
    impl Service for Waits {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.full_duplex(true);
            cx.send(b"unsent");
            cx.pause(true);
        }
        fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
            assert!(cx.is_reset_by_peer());
            cx.echo();
        }
        fn wake(&mut self, cx: &mut Cx<'_>) {
            assert!(cx.is_reset_by_peer() && cx.unsent() == 0);
            cx.pause(false);
        }
    }
    let mut bench = Bench::telling(Waits, Limits::default());
    bench.receive(b"held");
    bench.handle_peer_reset();
    bench.receive(b"read");
    assert_eq!(bench.observer.messages, [b"held", b"read"]);
    assert!(bench.queue.is_empty() && bench.conn.wants_read() && bench.conn.deadline().is_none());
    assert!(bench.conn.is_unfinished(), "a FIN would mislead its peer");
    bench.conn.lost(bench.now, CloseReason::Reset, &mut bench.observer);
    assert_eq!(bench.observer.closed[0].reason, CloseReason::Reset);
}
