//! What comes before a service is open: by itself on a virtual clock, and on each engine.

use std::time::Duration;

use resound::conn::{Conn, Then};
use resound::proxy::{HeaderProgress, ReadHeader};
use resound::{CloseReason, ConnId, ConnInfo, Cx, Endpoint, Engine, Handshake, Limits, Reply, Service};

use crate::harness::{PATIENCE, Running, on_each_engine_plainly, server};
use crate::proto::bench::Bench;

/// Four bytes, `open`; the peer is `after` from then on.
#[derive(Default)]
struct Word(usize);

impl ReadHeader for Word {
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> HeaderProgress {
        let want = &b"open"[self.0..];
        let n = want.len().min(wire.len());
        if wire[..n] != want[..n] {
            return HeaderProgress::Refused(CloseReason::Aborted);
        }
        self.0 += n;
        if n < want.len() {
            return HeaderProgress::More;
        }
        conn.peer = Endpoint::Unix(Some(std::path::Path::new("after").into()));
        HeaderProgress::Done(n)
    }
}

/// Sends the address of its peer, and then replies.
struct Greeter;

impl Service for Greeter {
    fn framing(&self) -> resound::Framing {
        resound::Framing::line()
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        let peer = cx.conn().peer.to_string();
        cx.send(format!("hello {peer}\n").as_bytes());
    }
    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
        assert!(!bytes.is_empty());
    }
}

fn bench(limits: Limits) -> Bench {
    let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    Bench::of(Conn::with_handshake(
        info,
        Handshake::new().expect_header(Word::default()),
        |_| Box::new(Greeter),
        limits,
    ))
}

#[test]
fn the_service_opens_behind_the_header_at_every_split() {
    let script = b"openone\ntwo";
    for at in 0..=script.len() {
        let mut bench = bench(Limits::default());
        bench.receive(&script[..at]);
        assert_eq!(bench.observer.opened, usize::from(at >= 4), "split at {at}");
        bench.receive(&script[at..]);
        let mut got = bench.take_all();
        bench.eof();
        got.extend(bench.take_all());
        assert_eq!(got.escape_ascii().to_string(), "hello unix:after\\none\\ntwo", "split at {at}");
        assert_eq!(bench.conn.info().peer.to_string(), "unix:after");
        assert_eq!(bench.close(), CloseReason::Finished);
    }
}

#[test]
fn a_connection_that_never_opens_is_reported_once_with_its_reason() {
    type End = fn(&mut Bench);
    let cases: [(End, Then, CloseReason); 4] = [
        (|bench| bench.receive(b"opex"), Then::Reset, CloseReason::Aborted),
        (Bench::eof, Then::Reset, CloseReason::LeftEarly),
        (Bench::drain, Then::Close, CloseReason::Drained),
        (
            |bench| {
                assert_eq!(bench.reach_deadline(), Duration::from_secs(10));
            },
            Then::Reset,
            CloseReason::OpeningTimeout,
        ),
    ];
    for (end, then, why) in cases {
        let mut bench = bench(Limits { linger: Duration::ZERO, ..Limits::default() });
        bench.receive(b"o");
        end(&mut bench);
        assert_eq!(bench.then, then, "{why}");
        assert!(bench.queue.is_empty(), "{why}");
        bench.conn.closed(bench.now, &mut bench.observer);
        bench.conn.closed(bench.now, &mut bench.observer);
        let seen = &bench.observer;
        assert_eq!((seen.opened, seen.closed.len(), seen.unopened.len()), (0, 0, 1), "{why}");
        assert_eq!(seen.unopened[0].reason, why);
    }
}

#[test]
fn an_open_connection_is_not_held_to_the_openings_time() {
    let mut bench = bench(Limits::default());
    bench.receive(b"open");
    bench.take_all();
    assert_eq!(bench.conn.deadline(), None);
}

#[test]
fn time_without_limit_is_possible() {
    let bench = bench(Limits { opening_timeout: None, ..Limits::default() });
    assert_eq!(bench.conn.deadline(), None);
}

on_each_engine_plainly!(a_header_comes_first, a_connection_that_never_opened_is_counted_and_releases_its_place);

fn with_header(engine: Engine, limits: Limits) -> Running {
    let server = server(engine).limits(limits).handshake(|_| Handshake::new().expect_header(Word::default()));
    Running::start(server, |_| Reply::default())
}

fn a_header_comes_first(engine: Engine) {
    let running = with_header(engine, Limits::default());
    let mut peer = running.connect();
    peer.send("open");
    peer.ask("one");
    peer.send("two");
    peer.finish();
    assert_eq!(peer.rest(), b"Server received: two");
    assert_eq!(running.closed(), CloseReason::Finished);
    let totals = running.drain();
    assert_eq!((totals.opened, totals.unopened, totals.live()), (1, 0, 0));
}

fn a_connection_that_never_opened_is_counted_and_releases_its_place(engine: Engine) {
    let within = |time| Limits { opening_timeout: Some(time), linger: Duration::ZERO, ..Limits::default() };
    let impatient = with_header(engine, within(Duration::from_millis(50)));
    let mut silent = impatient.connect();
    assert_eq!(impatient.unopened(), CloseReason::OpeningTimeout);
    assert!(silent.is_reset());
    assert_eq!(impatient.drain().unopened, 1);
    let running = with_header(engine, within(PATIENCE));
    let mut wrong = running.connect();
    wrong.send("nonsense");
    assert_eq!(running.unopened(), CloseReason::Aborted);
    assert!(wrong.is_reset());
    let left = running.connect();
    drop(left);
    assert_eq!(running.unopened(), CloseReason::LeftEarly);
    let totals = running.drain();
    assert_eq!((totals.opened, totals.unopened, totals.live()), (0, 2, 0));
    assert_eq!(running.handle.connections().iter().sum::<usize>(), 0);
}
