//! Connections that end out of order, on a virtual clock: services that fail, and peers that are
//! refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use resound::conn::{Conn, Then};
use resound::proxy::{HeaderProgress, ReadHeader};
use resound::{
    CloseReason, Closed, ConnId, ConnInfo, Cx, Echo, Endpoint, Framing, Handshake, Limits, Observer, Reply, Service,
};

use crate::proto::bench::Bench;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn writing(timeout: u64) -> Limits {
    Limits { write_timeout: Some(SECOND * timeout as u32), ..Limits::default() }
}

/// An eighth late at most.
pub(super) fn is_about(time: Duration, want: Duration) -> bool {
    (want..=want + want / 8).contains(&time)
}

/// Answers, and panics where its test wants it.
pub(crate) struct Fragile(pub(crate) Where);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Open,
    Data,
    Drained,
    Wake,
    Eof,
    Drain,
    Closed,
}

impl Where {
    pub(crate) const ALL: [Self; 7] =
        [Self::Open, Self::Data, Self::Drained, Self::Wake, Self::Eof, Self::Drain, Self::Closed];
}

impl Fragile {
    fn at(&self, place: Where) {
        if self.0 == place {
            std::panic::resume_unwind(Box::new("as the test wants it"));
        }
    }
}

impl Service for Fragile {
    fn framing(&self) -> Framing {
        Framing::line()
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"hello\n");
        self.at(Where::Open);
    }
    fn data(&mut self, line: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
        if line == b"panic\n" {
            self.at(Where::Data);
        }
    }
    fn drained(&mut self, _: &mut Cx<'_>) {
        self.at(Where::Drained);
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"woken\n");
        self.at(Where::Wake);
    }
    fn eof(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"eof\n");
        self.at(Where::Eof);
        cx.finish();
    }
    fn drain(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"drain\n");
        self.at(Where::Drain);
        cx.finish();
    }
    fn closed(&mut self, _: &CloseReason) {
        self.at(Where::Closed);
    }
}

/// A service that panics there, and its output until then.
fn broken(place: Where, telling: bool) -> (Bench, &'static str) {
    let mut bench = match telling {
        true => Bench::telling(Fragile(place), writing(300)),
        false => Bench::new(Fragile(place), writing(300)),
    };
    let output = match place {
        Where::Open => "hello\n",
        Where::Data => {
            bench.receive(b"one\npanic\ntwo\nthr");
            "hello\none\npanic\n"
        }
        Where::Drained => {
            bench.receive(b"one\n");
            bench.take(usize::MAX);
            bench.receive(b"two\n");
            return (bench, "");
        }
        Where::Wake => {
            bench.wake();
            "hello\nwoken\n"
        }
        Where::Eof => {
            bench.receive(b"one\n");
            bench.eof();
            "hello\none\neof\n"
        }
        Where::Drain => {
            bench.drain();
            "hello\ndrain\n"
        }
        Where::Closed => unreachable!("that is its end already"),
    };
    (bench, output)
}

#[test]
fn output_before_a_panic_is_delivered_and_then_the_connection_is_reset() {
    for place in Where::ALL.into_iter().filter(|place| *place != Where::Closed) {
        let (mut bench, output) = broken(place, true);
        assert_eq!(bench.then, Then::Go, "{place:?}: no FIN, or this would look like all of it");
        if place != Where::Eof {
            assert!(bench.conn.wants_read(), "{place:?}: the peer must be able to send the rest of its data");
            bench.receive(b"panic\nmore\n");
        }
        assert_eq!(bench.take_all(), output.as_bytes(), "{place:?}");
        assert_eq!(bench.run(SECOND * 200).0, SECOND * 200, "{place:?}: the peer's system has taken nothing yet");
        bench.held = 0;
        assert!(bench.run(SECOND).0 < SECOND, "{place:?}");
        assert_eq!(bench.then, Then::Reset, "{place:?}");
        assert_eq!(bench.close(), CloseReason::Panicked);
    }
}

#[test]
fn a_peer_that_takes_nothing_from_a_service_that_panicked_is_reset_in_time() {
    for place in Where::ALL.into_iter().filter(|place| *place != Where::Closed) {
        for taken in [0, usize::MAX] {
            let (mut bench, _) = broken(place, true);
            bench.take(taken);
            bench.held = bench.held.max(1);
            let (time, looks) = bench.run(SECOND * 3600);
            assert!(is_about(time, SECOND * 300), "{place:?}: {time:?}");
            assert!(looks < 4000, "{place:?}: {looks}");
            assert_eq!(bench.close(), CloseReason::Panicked);
        }
    }
}

#[test]
fn without_reports_of_the_transport_the_linger_limits_delivery() {
    let (mut bench, output) = broken(Where::Data, false);
    assert_eq!(bench.run(SECOND * 200).0, SECOND * 200);
    assert_eq!(bench.take_all(), output.as_bytes());
    assert_eq!(bench.then, Then::Go);
    assert_eq!(bench.run(SECOND * 60).0, Limits::default().linger);
    assert_eq!((bench.then, bench.close()), (Then::Reset, CloseReason::Panicked));
}

#[test]
fn a_panic_is_the_reason_and_the_end_is_reported_once() {
    // The server drains, and cuts it before all was delivered.
    let (mut bench, _) = broken(Where::Data, true);
    bench.drain();
    assert_eq!(bench.then, Then::Go);
    bench.conn.lost(bench.now, CloseReason::Cut, &mut bench.observer);
    let reasons: Vec<_> = bench.observer.closed.iter().map(|how| how.reason).collect();
    assert_eq!(reasons, [CloseReason::Panicked]);
}

#[test]
fn a_service_that_cannot_be_made_ends_its_connection_unopened() {
    let info = || ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    let make = |_: &ConnInfo| -> Box<dyn Service> { std::panic::resume_unwind(Box::new("as the test wants it")) };
    let mut bench =
        Bench::of(Conn::with_handshake(info(), Handshake::new(), make, Limits::default()).reporting_unacknowledged());
    assert_eq!((bench.then, bench.observer.opened), (Then::Reset, 0));
    bench.conn.closed(bench.now, &mut bench.observer);
    let reasons: Vec<_> = bench.observer.unopened.iter().map(|how| how.reason).collect();
    assert_eq!(reasons, [CloseReason::Panicked]);

    /// Panics already when the connection asks for its framing.
    struct Unframed;
    impl Service for Unframed {
        fn framing(&self) -> Framing {
            std::panic::resume_unwind(Box::new("as the test wants it"))
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
    }
    let mut bench = Bench::telling(Unframed, Limits::default());
    assert_eq!((bench.then, bench.observer.opened), (Then::Reset, 0));
    bench.conn.closed(bench.now, &mut bench.observer);
    assert_eq!(bench.observer.unopened[0].reason, CloseReason::Panicked);
    let handshake = Conn::with_handshake(info(), Handshake::new(), |_| Box::new(Unframed), Limits::default());
    let bench = Bench::of(handshake);
    assert_eq!((bench.then, bench.observer.opened), (Then::Reset, 0));
}

/// Wants `open`, and panics at the rest.
struct Picky;

impl ReadHeader for Picky {
    fn read(&mut self, wire: &[u8], _: &mut ConnInfo) -> HeaderProgress {
        match wire {
            b"" => HeaderProgress::More,
            b"open" => HeaderProgress::Done(4),
            b"no" => HeaderProgress::Refused(CloseReason::Aborted),
            b"op" => HeaderProgress::More,
            _ => std::panic::resume_unwind(Box::new("as the test wants it")),
        }
    }
}

#[test]
fn a_silent_refusal_is_a_reset_at_once() {
    type Refuse = fn(&mut Bench);
    let cases: [(Refuse, Then, CloseReason); 7] = [
        (|bench| bench.receive(b"no"), Then::Reset, CloseReason::Aborted),
        (|bench| bench.receive(b"whatever"), Then::Reset, CloseReason::Panicked),
        (|bench| _ = bench.reach_deadline(), Then::Reset, CloseReason::OpeningTimeout),
        (
            |bench| {
                bench.receive(b"op");
                bench.eof();
            },
            Then::Reset,
            CloseReason::LeftEarly,
        ),
        (Bench::eof, Then::Reset, CloseReason::LeftEarly),
        // These were refused nothing.
        (
            |bench| {
                bench.drain();
                bench.eof();
            },
            Then::Close,
            CloseReason::Drained,
        ),
        (
            |bench| {
                bench.receive(b"open");
                bench.eof();
            },
            Then::Close,
            CloseReason::Finished,
        ),
    ];
    for (refuse, then, why) in cases {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let handshake = Handshake::new().expect_header(Picky);
        let mut bench =
            Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(Reply::default()), Limits::default()));
        refuse(&mut bench);
        assert_eq!(bench.then, then, "{why}");
        bench.conn.closed(bench.now, &mut bench.observer);
        let seen = &bench.observer;
        let reasons: Vec<_> = seen.unopened.iter().chain(&seen.closed).map(|how| how.reason).collect();
        assert_eq!(reasons, [why]);
    }
}

/// Keeps its input, and when its connection ended.
#[derive(Clone, Default)]
struct Ear(Rc<RefCell<Vec<CloseReason>>>);

impl Service for Ear {
    fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
    fn closed(&mut self, why: &CloseReason) {
        self.0.borrow_mut().push(*why);
    }
}

#[test]
fn a_service_that_panicked_gets_only_its_end() {
    let ear = Ear::default();
    let mut bench = Bench::telling(ear.clone(), Limits::default());
    bench.receive(b"x");
    bench.receive(b"x");
    bench.wake();
    bench.eof();
    bench.drain();
    assert_eq!(bench.close(), CloseReason::Panicked);
    assert_eq!(*ear.0.borrow(), [CloseReason::Panicked]);
}

/// Answers a message and closes.
struct Once;

impl Service for Once {
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        cx.send(bytes);
        cx.close();
    }
}

#[test]
fn a_close_waits_until_the_peers_system_has_taken_all_output() {
    let mut bench = Bench::telling(Once, writing(60));
    bench.receive(&[b'x'; 1000]);
    bench.take_all();
    // The peer reads slowly: far longer than the linger.
    for _ in 0..10 {
        bench.run(SECOND * 20);
        assert_eq!(bench.then, Then::HalfClose);
        bench.held -= 100;
    }
    assert_eq!(bench.held, 0);
    let (time, _) = bench.run(SECOND * 3600);
    assert!(time < SECOND * 2 && bench.then == Then::Close, "{time:?} {:?}", bench.then);
    assert_eq!(bench.close(), CloseReason::ServiceClosed);
}

#[test]
fn a_close_with_undeliverable_output_is_a_failure_and_ends() {
    for timeout in [Some(SECOND * 8), None] {
        let limits = Limits { write_timeout: timeout, ..Limits::default() };
        let mut bench = Bench::telling(Once, limits);
        bench.receive(&[b'x'; 1000]);
        bench.take_all();
        let (time, looks) = bench.run(SECOND * 3600 * 24);
        assert_eq!(bench.then, Then::Reset);
        let want = timeout.or(Limits::default().write_timeout).unwrap();
        assert!(is_about(time, want) && looks < 10_000, "{time:?}, {looks} looks");
    }
}

/// Panics at each call.
struct Faulty;

impl Observer for Faulty {
    fn opened(&mut self, _: &ConnInfo) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
    fn received(&mut self, _: &ConnInfo, _: usize) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
    fn message(&mut self, _: &ConnInfo, _: &[u8]) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
    fn sent(&mut self, _: &ConnInfo, _: usize) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
    fn closed(&mut self, _: &ConnInfo, _: &Closed) {
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
}

#[test]
fn an_observer_that_panics_ends_its_connection_and_the_service_learns_why() {
    let (ear, info) = (Ear::default(), ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown));
    let mut conn = Conn::new(info, Box::new(ear.clone()), Limits::default());
    let (now, mut out) = (Instant::now(), Vec::new());
    assert_eq!(conn.open(now, &mut out, &mut Faulty).then, Then::Reset);
    conn.closed(now, &mut Faulty);
    assert_eq!(*ear.0.borrow(), [CloseReason::Panicked]);
    type Call = fn(&mut Conn, Instant, &mut Vec<u8>) -> Then;
    let calls: [Call; 2] = [
        |conn, now, out| conn.received(now, &mut b"x".to_vec(), out, &mut Faulty).then,
        |conn, now, out| conn.sent(now, 1, out, &mut Faulty).then,
    ];
    for call in calls {
        let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
        let mut conn = Conn::new(info, Box::new(Echo), Limits::default());
        let _ = conn.open(now, &mut Vec::new(), &mut ());
        let action = conn.received(now, &mut b"y".to_vec(), &mut Vec::new(), &mut ());
        assert_eq!(action.echo, 0..1);
        let then = call(&mut conn, now, &mut Vec::new());
        assert_eq!(then, Then::Go, "the answer is delivered first");
        assert!(conn.is_unfinished());
        conn.lost(now, CloseReason::Cut, &mut Faulty);
    }
}
