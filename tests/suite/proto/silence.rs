//! Clients that send no newline and wait, as tutorials have them (`Framing::Auto`): on a virtual
//! clock, and on each engine.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use resound::conn::{Conn, Then};
use resound::proxy::Proxies;
use resound::tls::{TlsServer, TlsServerSettings};
use resound::{
    CloseReason, ConnId, ConnInfo, Cx, Endpoint, Engine, Framing, Handshake, Limits, Observer, Reply, Service,
};

use crate::harness::{Peer, Running, on_each_engine_that_dials, server};
use crate::proto::bench::Bench;
use crate::tunnel;

const FIRST: Duration = Duration::from_millis(300);
const NEXT: Duration = Duration::from_millis(20);
/// What may become a line of resound's own protocol.
const OWN: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

fn reply() -> Reply {
    Reply::new(Reply::PREFIX.as_bytes(), Framing::auto())
}

fn bench() -> Bench {
    Bench::new(reply(), Limits::default())
}

/// What is answered once the pause that is under way is over, and how long that was.
fn answered(bench: &mut Bench) -> (Duration, String) {
    let pause = bench.reach_deadline();
    (pause, String::from_utf8(bench.take_all()).unwrap())
}

#[test]
fn a_client_without_newlines_is_answered_after_a_pause_and_soon_from_the_second_message_on() {
    let mut bench = bench();
    assert_eq!(bench.conn.deadline(), None, "no deadline before the first byte");
    bench.receive(b"Hello");
    bench.pass(FIRST - MOMENT);
    assert!(bench.queue.is_empty() && !bench.conn.is_silence_due(bench.now));
    bench.now += MOMENT;
    assert!(bench.conn.is_silence_due(bench.now));
    assert_eq!(answered(&mut bench), (Duration::ZERO, "Server received: Hello".into()), "no newline is added");
    assert_eq!(bench.conn.deadline(), None);
    for message in ["How are you?", "a\0b", " "] {
        bench.receive(message.as_bytes());
        assert_eq!(answered(&mut bench), (NEXT, format!("Server received: {message}")));
    }
    assert_eq!(bench.observer.messages.len(), 4);
    assert_eq!(bench.observer.pauses, [FIRST], "reported for the first message");
    bench.eof();
    assert_eq!(bench.close(), CloseReason::Finished);
}

#[test]
fn parts_of_a_message_are_joined() {
    let mut bench = bench();
    for pause in [FIRST - MOMENT, NEXT - MOMENT] {
        for part in ["Hel", "lo, ", "serv", "er!"] {
            bench.pass(pause);
            bench.receive(part.as_bytes());
            assert!(bench.queue.is_empty());
        }
        bench.reach_deadline();
        assert_eq!(bench.take_all(), b"Server received: Hello, server!");
    }
}

#[test]
fn after_its_first_newline_a_connection_is_framed_by_lines() {
    for (before, first) in [("", ""), ("Hello", "Server received: Hello")] {
        let mut bench = bench();
        bench.receive(before.as_bytes());
        bench.pass(FIRST);
        assert_eq!(bench.take_all(), first.as_bytes());
        for part in ["a\nb\r\nta", "il"] {
            bench.receive(part.as_bytes());
        }
        assert_eq!(bench.take_all(), b"Server received: a\nServer received: b\r\n");
        assert_eq!(bench.conn.deadline(), None, "the tail waits for its newline");
        bench.pass(Duration::from_secs(3600));
        assert!(bench.queue.is_empty());
        bench.eof();
        assert_eq!(bench.take_all(), b"Server received: tail", "or for the end");
    }
    let mut late = bench();
    late.receive(b"a line whose end");
    late.pass(FIRST - MOMENT);
    late.receive(b" is late\nand");
    assert_eq!(late.take_all(), b"Server received: a line whose end is late\n");
    assert_eq!(late.conn.deadline(), None);
}

#[test]
fn lines_and_chunks_stay_what_they_were() {
    let mut lines = Bench::new(Reply::default(), Limits::default());
    lines.receive(b"Hello");
    assert_eq!(lines.conn.deadline(), None);
    lines.drain();
    assert!(lines.queue.is_empty(), "an unfinished line is no message at a drain");
    let mut chunks = Bench::new(Reply::new(&b"> "[..], Framing::Chunk), Limits::default());
    chunks.receive(b"Hello");
    assert_eq!(chunks.take_all(), b"> Hello");
}

#[test]
fn a_partial_line_of_the_own_protocol_waits_for_its_end() {
    let line = b"resound-probe/1 some more\n";
    let beginning = b"resound-probe/1 ".len();
    for answered_before in [false, true] {
        let mut slow = bench();
        if answered_before {
            slow.receive(b"Hello");
            slow.pass(FIRST);
            slow.take_all();
        }
        for byte in &line[..line.len() - 1] {
            slow.receive(&[*byte]);
            slow.pass(OWN - MOMENT);
            assert!(slow.queue.is_empty());
        }
        assert_eq!(slow.conn.deadline(), None, "it is one: it ends with its newline");
        slow.pass(Duration::from_secs(3600));
        slow.receive(b"\n");
        assert_eq!(slow.take_all(), [b"Server received: ", &line[..]].concat());
    }
    for n in 1..beginning {
        let mut short = bench();
        short.receive(&line[..n]);
        let text = String::from_utf8(line[..n].to_vec()).unwrap();
        assert_eq!(answered(&mut short), (OWN, format!("Server received: {text}")), "it was none after all");
        // What it is not is known as soon as it differs.
        short.receive(&line[..n]);
        short.receive(b"!");
        assert_eq!(answered(&mut short), (NEXT, format!("Server received: {text}!")));
    }
    let mut drained = bench();
    drained.receive(b"resound-pro");
    drained.drain();
    assert!(drained.queue.is_empty(), "not even then");
}

#[test]
fn such_messages_do_not_put_the_idle_timeout_off() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(10)), ..Limits::default() };
    let mut bench = Bench::new(reply(), limits);
    let mut answers = 0;
    for _ in 0..1000 {
        if bench.then != Then::Go {
            break;
        }
        bench.receive(b"x");
        bench.reach_deadline();
        answers += usize::from(!bench.take_all().is_empty());
    }
    assert!(answers > 100, "{answers} were answered meanwhile");
    assert_eq!(bench.observer.closed.len(), 0);
    bench.eof();
    let lasted = bench.now;
    bench.conn.closed(bench.now, &mut bench.observer);
    assert_eq!(bench.observer.closed[0].reason, CloseReason::IdleTimeout);
    assert_eq!((bench.observer.closed[0].lasted, lasted), (Duration::from_secs(10), bench.now));

    // A line does, and so does the service's own output.
    let mut bench = Bench::new(Clock, limits);
    bench.receive(b"x");
    for _ in 0..100 {
        bench.reach_deadline();
        bench.take_all();
    }
    assert_eq!(bench.then, Then::Go);
    let mut lines = Bench::new(reply(), limits);
    for part in ["x", "y\n", "z\n"] {
        lines.receive(part.as_bytes());
        lines.pass(Duration::from_secs(9));
        lines.take_all();
        lines.pass(MOMENT);
        assert_eq!(lines.then, Then::Go, "{part:?}");
    }
}

/// Sends a text every five seconds.
struct Clock;

impl Service for Clock {
    fn framing(&self) -> Framing {
        Framing::auto()
    }
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.wake_at(cx.now() + Duration::from_secs(5));
    }
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"tick");
        cx.wake_at(cx.now() + Duration::from_secs(5));
    }
}

#[test]
fn an_end_answers_the_rest_at_once() {
    let mut eof = bench();
    eof.receive(b"Hello");
    eof.eof();
    assert_eq!(eof.take_all(), b"Server received: Hello");
    assert_eq!(eof.close(), CloseReason::Finished);
    let mut drained = bench();
    drained.receive(b"Hello");
    drained.drain();
    assert_eq!(drained.take_all(), b"Server received: Hello");
    assert!(drained.observer.pauses.is_empty(), "no pause has ended it");
    drained.reach_deadline();
    assert_eq!(drained.close(), CloseReason::Drained);
}

#[test]
fn the_longest_line_bounds_what_has_no_newline_too() {
    let limited = || Bench::new(Reply::new(&b"> "[..], Framing::Auto { max: 5 }), Limits::default());
    let mut longest = limited();
    longest.receive(b"12345");
    assert_eq!(answered(&mut longest), (FIRST, "> 12345".into()));
    let mut longer = limited();
    longer.receive(b"1234");
    longer.receive(b"56");
    assert_eq!(longer.take_all(), b"Error: line longer than 5 bytes\n");
    longer.eof();
    assert_eq!(longer.close(), CloseReason::LineTooLong);
}

#[test]
fn nothing_is_hurried_while_an_answer_waits_or_the_service_has_paused() {
    let mut bench = bench();
    bench.receive(b"Hello");
    bench.reach_deadline();
    bench.receive(b"again");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.queue, b"Server received: Hello", "it has not left yet");
    bench.take(3);
    assert!(!bench.conn.is_silence_due(bench.now));
    bench.take_all();
    assert_eq!(answered(&mut bench), (Duration::ZERO, "Server received: again".into()));

    struct Pausing(bool);
    impl Service for Pausing {
        fn framing(&self) -> Framing {
            Framing::auto()
        }
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.pause(true);
        }
        fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
            cx.echo();
        }
        fn wake(&mut self, cx: &mut Cx<'_>) {
            cx.pause(self.0);
        }
    }
    let mut paused = Bench::new(Pausing(false), Limits::default());
    paused.receive(b"Hello");
    assert_eq!(paused.conn.deadline(), None);
    paused.pass(FIRST);
    assert!(paused.queue.is_empty());
    paused.wake();
    assert_eq!(answered(&mut paused), (Duration::ZERO, "Hello".into()));
}

/// Sends what it is woken for.
struct Talker;

impl Service for Talker {
    fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"Hello");
    }
}

#[test]
fn a_part_of_a_record_or_of_a_handshake_is_no_silence() {
    let tls = TlsServer::new(&TlsServerSettings::new(tunnel::identity().clone())).unwrap();
    let info = || ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    let handshake = Handshake::new().tls_server(&tls);
    let mut server = Bench::of(Conn::with_handshake(info(), handshake, |_| Box::new(reply()), Limits::default()));
    let handshake = Handshake::new().tls_client(tunnel::client());
    let mut client = Bench::of(Conn::with_handshake(info(), handshake, |_| Box::new(Talker), Limits::default()));
    // In the handshake only its own time counts.
    let hello = client.take_all();
    server.receive(&hello[..hello.len() / 2]);
    server.pass(Duration::from_secs(9));
    assert!(server.queue.is_empty() && server.observer.messages.is_empty());
    server.receive(&hello[hello.len() / 2..]);
    for _ in 0..3 {
        client.receive(&server.take_all());
        server.receive(&client.take_all());
    }
    assert_eq!((server.observer.opened, client.observer.opened), (1, 1));
    let mut at = 1;
    loop {
        // A message in two records, of which the second comes in two parts.
        client.wake();
        server.receive(&client.take_all());
        client.wake();
        let record = client.take_all();
        let Some((part, rest)) = record.split_at_checked(at).filter(|(_, rest)| !rest.is_empty()) else { break };
        server.receive(part);
        assert_eq!(server.conn.deadline(), None, "more is on its way: {at} of {}", record.len());
        server.pass(Duration::from_secs(60));
        server.receive(rest);
        assert_eq!(server.reach_deadline(), if at == 1 { FIRST } else { NEXT });
        assert_eq!(server.observer.messages.pop().unwrap(), b"HelloHello");
        client.receive(&server.take_all());
        at += 1;
    }
    assert!(at > 20);
    assert_eq!(server.observer.pauses, [FIRST]);
}

#[test]
fn a_part_of_a_proxy_header_is_no_message() {
    let here: Endpoint = std::net::SocketAddr::from(([127, 0, 0, 1], 5)).into();
    let info = ConnInfo::new(ConnId(1), here.clone(), here);
    let handshake = Handshake::new().expect_header(Proxies::local().header_reader(&info));
    let mut bench = Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(reply()), Limits::default()));
    for part in ["PRO", "XY TCP4 192.0.2.7 192.0.2.8 1 2"] {
        bench.receive(part.as_bytes());
        bench.pass(Duration::from_secs(1));
        assert!(bench.queue.is_empty());
    }
    bench.receive(b"\r\nHello");
    assert_eq!(
        answered(&mut bench),
        (FIRST, "Server received: Hello".into()),
        "the header's newline is not the client's"
    );
}

proptest! {
    /// Any input at any time: messages end at a newline or, before the first one, at a pause.
    #[test]
    fn a_pause_ends_a_message_as_long_as_no_newline_has_come(
        parts in proptest::collection::vec(("[ab]{1,4}|[ab]{0,2}\n[ab]{0,2}", 1_u64..700), 1..20),
    ) {
        let mut bench = bench();
        let (mut want, mut tail, mut lines, mut pause): (Vec<String>, _, _, _) = (vec![], String::new(), false, FIRST);
        for (part, gap) in &parts {
            bench.receive(part.as_bytes());
            tail += part;
            lines |= part.contains('\n');
            while let Some(at) = tail.find('\n') {
                want.push(tail.drain(..=at).collect());
            }
            let gap = Duration::from_millis(*gap);
            if !lines && gap >= pause {
                want.push(std::mem::take(&mut tail));
                pause = NEXT;
            }
            bench.take_all();
            bench.pass(gap);
            bench.take_all();
        }
        let got: Vec<String> =
            bench.observer.messages.iter().map(|message| String::from_utf8(message.clone()).unwrap()).collect();
        prop_assert_eq!(got, want);
    }
}

on_each_engine_that_dials!(a_tutorials_client_is_answered);

fn a_tutorials_client_is_answered(engine: Engine) {
    let running = Running::start(server(engine), |_| reply());
    let mut peer = running.connect();
    for message in ["Hello, server!", "How are you?"] {
        peer.send(message);
        peer.expect(format!("Server received: {message}"));
    }
    // The first of these might become a line of our own protocol, so it is the end of the second
    // that counts.
    peer.send("resound");
    peer.send(" is a name");
    peer.expect("Server received: resound is a name");
    let mut other = running.connect();
    other.send("a\nb");
    other.expect("Server received: a\n");
    other.finish();
    assert_eq!(other.rest(), b"Server received: b");
    // A drain does not wait for a pause.
    let mut last = running.connect();
    last.send("good");
    last.expect("Server received: good");
    running.drain();
    assert!(last.rest().is_empty() && peer.rest().is_empty());
}

// These see, or delay, what passes below TLS.
mod below {
    crate::harness::on_each_engine_plainly!(a_message_is_not_cut_because_the_engine_is_late);
    use super::a_message_is_not_cut_because_the_engine_is_late;
}

/// Holds a worker up with what it has just received.
struct Gate {
    reached: Sender<usize>,
    go: Arc<Mutex<Receiver<()>>>,
}

impl Observer for Gate {
    fn received(&mut self, _: &ConnInfo, bytes: usize) {
        let _ = self.reached.send(bytes);
        let _ = self.go.lock().unwrap().recv();
    }
}

fn a_message_is_not_cut_because_the_engine_is_late(engine: Engine) {
    let (reached, at_gate) = mpsc::channel();
    let (open, go) = mpsc::channel();
    let go = Arc::new(Mutex::new(go));
    let gate = move |_| Gate { reached: reached.clone(), go: Arc::clone(&go) };
    let handle = server(engine).listen("127.0.0.1:0").unwrap().observe(gate).serve(|_| reply()).unwrap();
    let Endpoint::Tcp(address) = handle.addresses()[0] else { panic!("TCP was asked for") };
    let mut peer = Peer::connect(address);
    peer.send("Hel");
    let mut seen = at_gate.recv_timeout(crate::harness::PATIENCE).unwrap();
    peer.send("lo");
    // Longer than the pause, while the worker is busy.
    peer.0.set_read_timeout(Some(FIRST + FIRST / 3)).unwrap();
    let early = loop {
        match peer.0.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    let kind = early.expect_err("it is held up").kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind}");
    peer.0.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    open.send(()).unwrap();
    while seen < "Hello".len() {
        seen += at_gate.recv_timeout(crate::harness::PATIENCE).unwrap();
        open.send(()).unwrap();
    }
    peer.expect("Server received: Hello");
    drop(peer);
    drop(open);
    handle.drain(crate::harness::PATIENCE);
    handle.wait();
}
