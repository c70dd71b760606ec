//! Peers that take nothing, or stay silent, on a virtual clock.

use std::time::Duration;

use resound::conn::Then;
use resound::{CloseReason, Cx, Echo, Limits, Reply, Service};

use super::ending::{SECOND, is_about, writing};
use crate::proto::bench::Bench;

#[test]
fn a_stall_counts_from_the_last_byte_that_the_peers_system_took() {
    for timeout in [1, 2, 4, 300] {
        // All of it fits into the transport, and some of it the peer takes a moment later.
        let mut bench = Bench::telling(Echo, writing(timeout));
        bench.receive(&[b'x'; 20_000]);
        assert_eq!(bench.take_all().len(), 20_000);
        bench.now += Duration::from_millis(1);
        bench.held -= 4_000;
        let (time, looks) = bench.run(SECOND * 3600);
        assert!(is_about(time, SECOND * timeout as u32), "{timeout} s: {time:?}");
        assert!(looks <= 10, "{looks}");
        assert_eq!(bench.close(), CloseReason::WriteTimeout);

        // The transport has no room for all of it.
        let mut bench = Bench::telling(Echo, writing(timeout));
        bench.receive(&[b'x'; 20_000]);
        bench.take(10_000);
        bench.held -= 1;
        let (time, _) = bench.run(SECOND * 3600);
        assert!(is_about(time, SECOND * timeout as u32), "{timeout} s: {time:?}");
        assert_eq!(bench.close(), CloseReason::WriteTimeout);
    }
}

#[test]
fn bytes_in_the_transport_are_no_progress_of_the_peer() {
    /// Sends a text every second.
    struct Ticker;
    impl Service for Ticker {
        fn open(&mut self, cx: &mut Cx<'_>) {
            self.wake(cx);
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.send(b"tick");
            cx.wake_at(cx.now() + SECOND);
        }
    }
    let mut bench = Bench::telling(Ticker, writing(10));
    let start = bench.now;
    for _ in 0..100 {
        if bench.then == Then::Go {
            bench.take_all();
            bench.reach_deadline();
        }
    }
    let time = bench.now - start;
    assert!(is_about(time, SECOND * 10), "{time:?}");
    assert_eq!(bench.close(), CloseReason::WriteTimeout);
}

#[test]
fn a_peer_that_takes_little_is_not_stalled() {
    let mut bench = Bench::telling(Echo, writing(8));
    bench.receive(&[b'x'; 100]);
    bench.take_all();
    // With and without more that the transport has no room for.
    for more in [0, 100] {
        bench.receive(&vec![b'x'; more]);
        for _ in 0..49 {
            bench.run(SECOND * 7);
            assert_eq!(bench.then, Then::Go);
            bench.held -= 1;
        }
    }
    let (time, _) = bench.run(SECOND * 3600);
    assert!(is_about(time, SECOND * 8), "{time:?}");
    assert_eq!(bench.close(), CloseReason::WriteTimeout);
}

#[test]
fn an_empty_transport_is_polled_no_more() {
    let mut bench = Bench::telling(Reply::default(), writing(300));
    assert_eq!(bench.conn.deadline(), None);
    for _ in 0..1000 {
        bench.receive(b"hello\n");
        bench.take_all();
        bench.held = 0;
        bench.now += Duration::from_millis(1);
    }
    let (_, looks) = bench.run(SECOND * 3600);
    assert_eq!((looks, bench.conn.deadline(), bench.then), (1, None, Then::Go));
    // The clock begins anew with the next byte.
    bench.receive(b"hello\n");
    bench.take_all();
    let (time, _) = bench.run(SECOND * 3600);
    assert!(is_about(time, SECOND * 300), "{time:?}");
}

#[test]
fn a_connection_that_the_engine_has_held_up_is_not_stalled() {
    let mut bench = Bench::telling(Echo, writing(8));
    bench.receive(&[b'x'; 100]);
    // The transport has room, and the engine no time.
    bench.run(SECOND * 60);
    assert_eq!(bench.then, Then::Go);
}

#[test]
fn idleness_is_ended_in_time_and_a_peer_that_takes_bytes_is_not_idle() {
    let limits = || Limits { idle_timeout: Some(SECOND * 10), ..Limits::default() };
    let mut prompt = Bench::telling(Reply::default(), limits());
    prompt.receive(b"hello\n");
    prompt.take_all();
    prompt.held = 0;
    let silent = Bench::telling(Reply::default(), limits());
    let mut stalled = Bench::telling(Reply::default(), limits());
    stalled.receive(&[b'\n'; 1000]);
    stalled.take_all();
    stalled.held -= 1000;
    for (mut bench, exactly) in [(prompt, true), (silent, true), (stalled, false)] {
        let (time, _) = bench.run(SECOND * 3600);
        assert!(if exactly { time == SECOND * 10 } else { is_about(time, SECOND * 10) }, "{time:?}");
        assert_eq!(bench.close(), CloseReason::IdleTimeout);
    }
    let mut slow = Bench::telling(Reply::default(), limits());
    slow.receive(&[b'\n'; 1000]);
    slow.take_all();
    for _ in 0..100 {
        slow.held -= 100;
        slow.run(SECOND * 8);
        assert_eq!(slow.then, Then::Go);
    }
    // It has taken the last of them a moment ago.
    slow.held = 0;
    assert_eq!(slow.run(SECOND * 9).0, SECOND * 9);
    assert_eq!(slow.then, Then::Go);
}
