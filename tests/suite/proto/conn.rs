//! `Conn` by itself, on a virtual clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use resound::conn::{Conn, Then};
use resound::{Chargen, CloseReason, ConnId, ConnInfo, Cx, Discard, Echo, Endpoint, Framing, Limits, Reply, Service};

use crate::proto::bench::Bench;

const SCRIPT: &[u8] = b"Hello, server!\r\n\n\0\xff\xfe\nGr\xc3\xbc\xc3\x9fe\nlast";

fn replies(input: &[u8]) -> Vec<u8> {
    input.split_inclusive(|&byte| byte == b'\n').flat_map(|line| [b"Server received: ", line].concat()).collect()
}

#[test]
fn every_split_gives_the_same_answers() {
    let want = replies(SCRIPT);
    for first in 0..=SCRIPT.len() {
        for second in first..=SCRIPT.len() {
            let mut bench = Bench::new(Reply::default(), Limits::default());
            let mut got = Vec::new();
            for part in [&SCRIPT[..first], &SCRIPT[first..second], &SCRIPT[second..]] {
                bench.receive(part);
                got.extend(bench.take_all());
            }
            bench.eof();
            got.extend(bench.take_all());
            assert_eq!(
                got.escape_ascii().to_string(),
                want.escape_ascii().to_string(),
                "split at {first} and {second}"
            );
            assert_eq!(bench.then, Then::Close);
            assert_eq!(bench.close(), CloseReason::Finished);
        }
    }
}

#[test]
fn an_echo_is_lent_and_not_copied() {
    let mut conn =
        Conn::new(ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown), Box::new(Echo), Limits::default());
    let (now, mut out) = (Instant::now(), Vec::new());
    let _ = conn.open(now, &mut out, &mut ());
    let mut wire = *b"some bytes";
    let action = conn.received(now, &mut wire, &mut out, &mut ());
    assert_eq!((action.echo, out.len()), (0..10, 0));
}

/// Echoes lines, and sends bytes of its own before the ones that begin with `!`.
struct Mixed;

impl Service for Mixed {
    fn framing(&self) -> Framing {
        Framing::line()
    }
    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        if line.starts_with(b"!") {
            cx.send(b"(");
        }
        cx.echo();
    }
}

#[test]
fn lent_and_copied_bytes_keep_their_order() {
    for at in 0..20 {
        let input = b"a\nb\n!c\nd\n!e\nf\n";
        let (first, second) = input.split_at(at.min(input.len()));
        let mut bench = Bench::new(Mixed, Limits::default());
        bench.receive(first);
        bench.receive(second);
        assert_eq!(bench.queue, b"a\nb\n(!c\nd\n(!e\nf\n", "split at {at}");
    }
}

#[test]
fn a_read_of_newlines_does_not_become_a_megabyte_of_replies() {
    let limits = Limits { high_water: 4096, ..Limits::default() };
    let mut bench = Bench::new(Reply::default(), limits);
    let one = "Server received: \n".len();
    bench.receive(&[b'\n'; 65_536]);
    assert!(bench.queue.len() < 4096 + one, "{}", bench.queue.len());
    assert!(!bench.conn.wants_read());
    // A read that was under way when the mark was passed.
    bench.receive(&[b'\n'; 10]);
    bench.eof();
    let mut total = 0;
    while !bench.queue.is_empty() {
        assert!(bench.queue.len() < 4096 + one, "{}", bench.queue.len());
        assert_ne!(bench.then, Then::Close);
        total += bench.take(1000).len();
    }
    assert_eq!(total, 65_546 * one);
    assert_eq!(bench.then, Then::Close);
}

#[test]
fn memory_is_bounded_for_a_peer_that_takes_nothing() {
    let high = Limits::default().high_water;
    for line in [0, 1, 20, 99, 1000, 5000, 20_000, 60_000] {
        let input = [vec![b'x'; line], b"\n".to_vec()].concat().repeat((1 << 20) / (line + 1));
        // The transport takes some of it, and then nothing any more, at each possible place.
        for taken in [0, 1, 10_000, 40_000, 100_000, 123_456, 300_000] {
            let mut bench = Bench::new(Reply::default(), Limits::default());
            let (mut at, mut left) = (0, taken);
            while bench.conn.wants_read() && at < input.len() {
                let n = bench.conn.read_limit().min(64 * 1024).min(input.len() - at);
                bench.receive(&input[at..at + n]);
                at += n;
                while left > 0 && !bench.queue.is_empty() {
                    left -= bench.take(left).len();
                }
            }
            assert!(
                !bench.conn.wants_read(),
                "lines of {line} bytes, {taken} taken: {at} read, {} unsent",
                bench.queue.len()
            );
            let delivered: usize = bench.observer.messages.iter().map(Vec::len).sum();
            let kept = bench.queue.len() + at - delivered;
            let most = high + (line + "Server received: \n".len()).max(5 * 1024);
            assert!(kept <= most, "{kept} bytes for lines of {line} bytes, of whose answers {taken} bytes left");
        }
    }
}

#[test]
fn after_a_long_line_more_is_read_at_once_and_the_memory_stays_bounded() {
    let high = Limits::default().high_water;
    let mut bench = Bench::new(Reply::default(), Limits::default());
    let of_short_lines = bench.conn.read_limit();
    assert!(of_short_lines < high);
    bench.receive(&[b'x'; 20_000]);
    assert!(bench.conn.awaits_rest() && bench.conn.read_limit() >= high);
    bench.receive(b"\n");
    assert!(!bench.conn.awaits_rest() && bench.queue.len() > 20_000);
    bench.take_all();
    assert_eq!(bench.conn.read_limit(), high);
    // The answer to an empty line is eighteen times as long, and is not taken.
    bench.receive(&vec![b'\n'; high]);
    let kept = bench.queue.len() + high - (bench.observer.messages.len() - 1);
    assert!(!bench.conn.wants_read() && !bench.conn.awaits_rest() && kept <= high + 5 * 1024, "{kept} bytes");
    while !bench.queue.is_empty() {
        bench.take_all();
    }
    assert_eq!((bench.observer.messages.len(), bench.conn.read_limit()), (1 + high, of_short_lines));
}

#[test]
fn a_generator_keeps_little_for_a_peer_that_takes_nothing() {
    let bench = Bench::new(Chargen, Limits::default());
    assert!((32 * 1024..48 * 1024).contains(&bench.queue.len()), "{}", bench.queue.len());
}

#[test]
fn a_line_of_the_greatest_length_is_answered_and_a_longer_one_ends_the_connection() {
    let limited = || Bench::new(Reply::new(&b"> "[..], Framing::Line { max: 5 }), Limits::default());
    let mut bench = limited();
    bench.receive(b"12345\n");
    assert_eq!(bench.take_all(), b"> 12345\n");
    // In one read, over several, and after a line that is still answered.
    for parts in [&[&b"ok\n123456\nnext\n"[..]][..], &[b"ok\n1234", b"56", b"78\nnext\n"]] {
        let mut bench = limited();
        for part in parts {
            bench.receive(part);
        }
        assert_eq!(bench.take_all(), b"> ok\nError: line longer than 5 bytes\n");
        assert_eq!(
            bench.then,
            Then::HalfClose,
            "what still comes is thrown away, so that nothing of the error is lost"
        );
        bench.receive(&[b'x'; 100_000]);
        assert!(bench.queue.is_empty() && bench.conn.wants_read());
        bench.eof();
        assert_eq!(bench.close(), CloseReason::LineTooLong);
    }
}

#[test]
fn a_peer_that_takes_nothing_is_reset_in_time_and_a_slow_one_is_not() {
    let limits = Limits { write_timeout: Some(Duration::from_secs(30)), ..Limits::default() };
    let mut bench = Bench::new(Echo, limits);
    assert_eq!(bench.conn.deadline(), None, "nothing waits");
    bench.receive(&[b'x'; 1000]);
    for _ in 0..20 {
        bench.pass(Duration::from_secs(29));
        assert_eq!(bench.then, Then::Go);
        bench.take(1);
    }
    assert_eq!(bench.reach_deadline(), Duration::from_secs(30));
    assert_eq!(bench.then, Then::Reset);
    assert_eq!(bench.close(), CloseReason::WriteTimeout);
}

#[test]
fn a_peer_that_talks_and_takes_nothing_is_reset_all_the_same() {
    let limits = Limits { write_timeout: Some(Duration::from_secs(30)), ..Limits::default() };
    let mut bench = Bench::new(Echo, limits);
    bench.receive(&[b'x'; 1000]);
    for _ in 0..29 {
        bench.pass(Duration::from_secs(1));
        bench.receive(b"still talking");
        assert_eq!(bench.then, Then::Go);
    }
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.close(), CloseReason::WriteTimeout);
}

#[test]
fn idleness_is_ended_and_dripped_bytes_are_idleness() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(10)), ..Limits::default() };
    let mut bench = Bench::new(Reply::default(), limits);
    for _ in 0..5 {
        bench.pass(Duration::from_secs(9));
        bench.receive(b"line\n");
        bench.take_all();
        assert_eq!(bench.then, Then::Go);
    }
    for _ in 0..9 {
        bench.pass(Duration::from_secs(1));
        bench.receive(b"x");
    }
    assert_eq!(bench.then, Then::Go);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.then, Then::Close, "long quiet, so there is nothing to linger for");
    assert_eq!(bench.close(), CloseReason::IdleTimeout);
}

#[test]
fn a_limit_beyond_the_clock_is_no_limit() {
    let limits = Limits {
        idle_timeout: Some(Duration::MAX),
        write_timeout: Some(Duration::MAX),
        linger: Duration::MAX,
        ..Limits::default()
    };
    let mut bench = Bench::new(Reply::default(), limits);
    bench.receive(b"line\n");
    assert_eq!(bench.conn.deadline(), None);
    bench.drain();
    bench.take_all();
    bench.eof();
    assert_eq!(bench.close(), CloseReason::Drained);
}

#[test]
fn a_drain_answers_what_was_received_and_closes_idle_connections_at_once() {
    let limits = Limits { high_water: 20, ..Limits::default() };
    let mut bench = Bench::new(Reply::default(), limits);
    bench.receive(b"a\nb\nc\nunfinished");
    bench.drain();
    assert_eq!(bench.then, Then::Go, "two lines still wait behind the first answer");
    assert_eq!(bench.take_all(), b"Server received: a\nServer received: b\nServer received: c\n");
    assert_eq!(bench.then, Then::HalfClose, "the peer may still be sending: its FIN is awaited");
    assert_eq!(bench.reach_deadline(), Limits::default().linger);
    assert_eq!(bench.close(), CloseReason::Drained);

    let mut idle = Bench::new(Reply::default(), Limits::default());
    idle.receive(b"a\n");
    idle.take_all();
    idle.pass(Duration::from_secs(5));
    idle.drain();
    assert_eq!(idle.then, Then::Close);
    assert_eq!(idle.close(), CloseReason::Drained);
}

#[test]
fn a_half_closed_peer_gets_everything_and_a_fin_only_then() {
    let mut bench = Bench::new(Echo, Limits::default());
    bench.receive(&[b'x'; 1000]);
    bench.eof();
    assert_eq!(bench.then, Then::HalfClose);
    bench.take(999);
    assert_eq!(bench.then, Then::HalfClose);
    bench.take(1);
    assert_eq!(bench.close(), CloseReason::Finished);
}

#[test]
fn chargen_goes_on_behind_a_half_close_and_stops_at_the_drain() {
    let mut bench = Bench::new(Chargen, Limits::default());
    bench.eof();
    for _ in 0..10 {
        assert!(!bench.queue.is_empty());
        bench.take(usize::MAX);
    }
    assert_eq!(bench.then, Then::Go);
    bench.drain();
    bench.take_all();
    assert_eq!(bench.close(), CloseReason::Drained);
}

#[test]
fn discard_sends_nothing() {
    let mut bench = Bench::new(Discard, Limits::default());
    bench.receive(b"anything\n");
    bench.eof();
    assert!(bench.queue.is_empty());
    assert_eq!(bench.close(), CloseReason::Finished);
}

/// Takes one line, pauses for a second, takes the next.
struct Sleepy;

impl Service for Sleepy {
    fn framing(&self) -> Framing {
        Framing::line()
    }
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
        cx.pause(true);
        cx.wake_at(cx.now() + Duration::from_secs(1));
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.pause(false);
    }
}

#[test]
fn a_paused_service_gets_the_rest_in_order_with_the_end_behind_it() {
    let mut bench = Bench::new(Sleepy, Limits::default());
    bench.receive(b"a\nb\nc");
    bench.eof();
    for want in [&b"a\n"[..], b"b\n", b"c"] {
        assert_eq!(bench.take_all(), want);
        assert_eq!(bench.then, Then::Go, "the end waits with the rest");
        assert!(!bench.conn.wants_read());
        assert_eq!(bench.reach_deadline(), Duration::from_secs(1));
    }
    assert_eq!(bench.close(), CloseReason::Finished);
}

#[test]
fn a_paused_service_sees_a_drain_after_its_input() {
    let mut bench = Bench::new(Sleepy, Limits::default());
    bench.receive(b"a\n");
    bench.take_all();
    bench.drain();
    assert_eq!(bench.then, Then::HalfClose, "nothing was held");

    let mut bench = Bench::new(Sleepy, Limits::default());
    bench.receive(b"a\nb\n");
    bench.take_all();
    bench.drain();
    assert_eq!(bench.then, Then::Go, "a line is held, and comes first");
    bench.reach_deadline();
    assert_eq!(bench.take_all(), b"b\n");
    assert_eq!(bench.then, Then::HalfClose);
}

/// Reads a header line, then a body of any bytes.
struct Header;

impl Service for Header {
    fn framing(&self) -> Framing {
        Framing::line()
    }
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        if bytes == b"body\n" {
            cx.framing(Framing::Chunk);
        }
        cx.send(format!("[{}]", bytes.len()).as_bytes());
    }
}

#[test]
fn framing_can_change_between_messages() {
    let mut bench = Bench::new(Header, Limits::default());
    bench.receive(b"one\nbody\n1\n2\n3");
    assert_eq!(bench.queue, b"[4][5][5]");
    let mut bench = Bench::new(Header, Limits { high_water: 1, ..Limits::default() });
    bench.receive(b"one\nbody\n1\n2\n3");
    assert_eq!(bench.take_all(), b"[4][5][5]", "also where the input had to wait");
}

struct Ender(Rc<RefCell<Vec<CloseReason>>>, fn(&mut Cx<'_>));

impl Service for Ender {
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.send(b"bye");
        (self.1)(cx);
        cx.send(b"lost");
    }
    fn closed(&mut self, why: &CloseReason) {
        self.0.borrow_mut().push(*why);
    }
}

#[test]
fn a_service_ends_its_connection_as_it_likes() {
    let reasons = Rc::new(RefCell::new(Vec::new()));
    let mut bench = Bench::new(Ender(Rc::clone(&reasons), |cx| cx.close()), Limits::default());
    bench.receive(b"x");
    assert_eq!((bench.queue.as_slice(), bench.then), (&b"bye"[..], Then::HalfClose));
    bench.take_all();
    bench.receive(b"still talking");
    bench.reach_deadline();
    assert_eq!(bench.close(), CloseReason::ServiceClosed);

    let mut bench = Bench::new(Ender(Rc::clone(&reasons), |cx| cx.reset()), Limits::default());
    bench.receive(b"x");
    assert_eq!(bench.then, Then::Reset);
    assert_eq!(bench.close(), CloseReason::Aborted);

    let mut bench = Bench::new(Ender(Rc::clone(&reasons), |cx| cx.finish()), Limits::default());
    bench.receive(b"x");
    bench.receive(b"y");
    assert_eq!(bench.take_all(), b"bye");
    assert_eq!(bench.then, Then::HalfClose, "the peer goes on talking");
    bench.eof();
    assert_eq!(bench.close(), CloseReason::Finished);
    assert_eq!(*reasons.borrow(), [CloseReason::ServiceClosed, CloseReason::Aborted, CloseReason::Finished]);
}

#[test]
fn the_first_reason_wins_and_the_end_is_reported_once() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(1)), ..Limits::default() };
    let mut bench = Bench::new(Reply::default(), limits);
    bench.receive(b"a\n");
    bench.take_all();
    bench.reach_deadline();
    bench.conn.lost(bench.now, CloseReason::Reset, &mut bench.observer);
    bench.conn.lost(bench.now, CloseReason::Cut, &mut bench.observer);
    bench.conn.closed(bench.now, &mut bench.observer);
    let closed: Vec<_> = bench.observer.closed.iter().map(|how| how.reason).collect();
    assert_eq!(closed, [CloseReason::IdleTimeout]);
    let how = bench.observer.closed[0];
    assert_eq!((how.messages, how.bytes_in, how.bytes_out, how.lasted), (1, 2, 19, Duration::from_secs(1)));
}

#[test]
fn a_drain_that_is_cut_short_is_not_orderly() {
    for (taken, want) in [(0, CloseReason::Cut), (usize::MAX, CloseReason::Drained)] {
        let mut bench = Bench::new(Reply::default(), Limits::default());
        bench.receive(b"a\n");
        bench.drain();
        bench.take(taken);
        bench.conn.lost(bench.now, CloseReason::Cut, &mut bench.observer);
        assert_eq!(bench.observer.closed[0].reason, want);
    }
}

proptest! {
    /// Any input, cut anywhere, with answers that leave at any speed: the same answers, in order,
    /// with bounded memory.
    #[test]
    fn framing_and_backpressure_lose_nothing(
        input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600),
        cuts in proptest::collection::vec(0_usize..600, 0..12),
        takes in proptest::collection::vec(1_usize..200, 1..12),
        high_water in 1_usize..300,
    ) {
        let mut bench = Bench::new(Reply::default(), Limits { high_water, ..Limits::default() });
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let mut takes = takes.into_iter().cycle();
        let mut got = Vec::new();
        let longest = "Server received: ".len() + input.len();
        for part in cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]) {
            while !bench.conn.wants_read() {
                let n = takes.next().unwrap();
                got.extend(bench.take(n));
            }
            bench.receive(part);
            prop_assert!(bench.queue.len() < high_water + longest);
        }
        bench.eof();
        while !bench.queue.is_empty() {
            prop_assert_ne!(bench.then, Then::Close);
            let n = takes.next().unwrap();
            got.extend(bench.take(n));
        }
        prop_assert_eq!(got, replies(&input));
        let lines: Vec<Vec<u8>> = input.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert_eq!(&bench.observer.messages, &lines);
        prop_assert_eq!(bench.close(), CloseReason::Finished);
    }
}
