//! TLS: on a virtual clock with both ends in memory, and on each engine.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use resound::conn::{Conn, Then};
use resound::tls::rustls::pki_types::ServerName;
use resound::tls::{TlsClient, TlsFailure, TlsInfo, TlsServer, TlsServerSettings, rustls};
use resound::{CloseReason, ConnId, ConnInfo, Cx, Echo, Endpoint, Engine, Handshake, Limits, Reply, Service};

use crate::harness::{Running, noise, on_each_engine_plainly, server};
use crate::proto::bench::Bench;
use crate::tunnel::{HINT, client, identity};

/// A service that sends what its test asks for when it is woken, and keeps its input.
#[derive(Clone, Default)]
struct Talker(Rc<Talk>);

#[derive(Default)]
struct Talk {
    to_send: RefCell<Vec<u8>>,
    finish: Cell<bool>,
    received: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    info: RefCell<Option<Arc<TlsInfo>>>,
}

impl Service for Talker {
    fn open(&mut self, cx: &mut Cx<'_>) {
        *self.0.info.borrow_mut() = cx.conn().tls.clone();
    }
    fn data(&mut self, bytes: &[u8], _: &mut Cx<'_>) {
        self.0.received.borrow_mut().extend_from_slice(bytes);
    }
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(&self.0.to_send.take());
        if self.0.finish.get() {
            cx.finish();
        }
    }
    fn eof(&mut self, _: &mut Cx<'_>) {
        self.0.ended.set(true);
    }
}

/// One end, and the state of its service.
struct End {
    bench: Bench,
    talk: Rc<Talk>,
}

impl End {
    fn send(&mut self, bytes: &[u8]) {
        self.talk.to_send.borrow_mut().extend_from_slice(bytes);
        self.bench.wake();
    }
    fn finish(&mut self) {
        self.talk.finish.set(true);
        self.bench.wake();
    }
    fn received(&self) -> String {
        self.talk.received.take().escape_ascii().to_string()
    }
    fn info(&self) -> Arc<TlsInfo> {
        self.talk.info.borrow().clone().expect("the connection is open")
    }
}

fn bench(handshake: Handshake, service: impl Service + 'static, limits: Limits) -> Bench {
    let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(service), limits))
}

fn end(handshake: Handshake) -> End {
    let talker = Talker::default();
    let talk = Rc::clone(&talker.0);
    End { bench: bench(handshake, talker, Limits::default()), talk }
}

pub(crate) fn serving(settings: &TlsServerSettings) -> TlsServer {
    TlsServer::new(settings).unwrap().hint(HINT)
}

pub(crate) fn plain_server() -> TlsServer {
    serving(&TlsServerSettings::new(identity().clone()))
}

fn replier(tls: &TlsServer) -> Bench {
    bench(Handshake::new().tls_server(tls), Reply::default(), Limits::default())
}

/// Carries the output of each end to the other, in pieces of so many bytes, until both are silent.
fn carry(one: &mut Bench, other: &mut Bench, piece: usize) {
    while !one.queue.is_empty() || !other.queue.is_empty() {
        let there = one.take(piece);
        if !there.is_empty() {
            other.receive(&there);
        }
        let back = other.take(piece);
        if !back.is_empty() {
            one.receive(&back);
        }
    }
}

/// A handshake between the two, and its outcome at each end.
pub(crate) fn shake(client: &TlsClient, server: &TlsServer) -> (Arc<TlsInfo>, Arc<TlsInfo>) {
    let (mut ours, mut theirs) = (end(Handshake::new().tls_client(client)), end(Handshake::new().tls_server(server)));
    carry(&mut ours.bench, &mut theirs.bench, usize::MAX);
    (ours.info(), theirs.info())
}

/// A handshake that fails: why, at each end.
pub(crate) fn fail(client: &TlsClient, server: &TlsServer) -> (Option<CloseReason>, Option<CloseReason>) {
    let mut ours = end(Handshake::new().tls_client(client)).bench;
    let mut theirs = end(Handshake::new().tls_server(server)).bench;
    carry(&mut ours, &mut theirs, usize::MAX);
    let why = |bench: &mut Bench| {
        bench.conn.closed(bench.now, &mut bench.observer);
        let seen = &bench.observer;
        seen.unopened.iter().chain(&seen.closed).map(|how| how.reason).next()
    };
    (why(&mut ours), why(&mut theirs))
}

/// The same client, of TLS 1.2 only.
pub(crate) fn of_tls12() -> TlsClient {
    of_suites(&rustls::version::TLS12, rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES)
}

/// The same client, of these cipher suites of one version only.
pub(crate) fn of_suites(
    version: &'static rustls::SupportedProtocolVersion,
    suites: &[rustls::SupportedCipherSuite],
) -> TlsClient {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = suites.to_vec();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity().chain()[0].clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsClient::of(Arc::new(config), ServerName::try_from("localhost").unwrap())
}

#[test]
fn a_conversation_agrees_at_every_cut_of_the_records() {
    for (client, version) in [(client(), "TLSv1.3"), (&of_tls12(), "TLSv1.2")] {
        for piece in [1, 2, 3, 5, 7, 64, 1000, usize::MAX] {
            let mut server = replier(&plain_server());
            let mut client = end(Handshake::new().tls_client(client));
            carry(&mut client.bench, &mut server, piece);
            assert_eq!(client.info().version, version);
            client.send(b"one\ntwo\nlast");
            carry(&mut client.bench, &mut server, piece);
            client.finish();
            carry(&mut client.bench, &mut server, piece);
            let want = "Server received: one\\nServer received: two\\nServer received: last";
            assert_eq!(client.received(), want, "{version} in pieces of {piece}");
            assert!(client.talk.ended.get(), "the server's close_notify came");
            assert_eq!((client.bench.then, server.then), (Then::Close, Then::Close));
            assert_eq!((client.bench.close(), server.close()), (CloseReason::Finished, CloseReason::Finished));
        }
    }
}

#[test]
fn a_server_may_end_first_and_still_receives_everything() {
    let mut server = end(Handshake::new().tls_server(&plain_server()));
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server.bench, usize::MAX);
    server.send(b"that is all");
    server.finish();
    carry(&mut client.bench, &mut server.bench, usize::MAX);
    client.bench.eof();
    assert_eq!((client.received(), client.talk.ended.get()), ("that is all".into(), true));
    assert_eq!(server.bench.then, Then::HalfClose);
    client.send(b"and something more");
    client.finish();
    carry(&mut client.bench, &mut server.bench, usize::MAX);
    assert_eq!((server.received(), server.talk.ended.get()), ("and something more".into(), true));
    assert_eq!((client.bench.close(), server.bench.close()), (CloseReason::Finished, CloseReason::Finished));
}

#[test]
fn large_messages_come_back_exactly_and_nothing_is_kept_when_idle() {
    let mut server = bench(Handshake::new().tls_server(&plain_server()), Echo, Limits::default());
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server, usize::MAX);
    let sent = noise(5, 3 << 20);
    for part in sent.chunks(100_003) {
        client.send(part);
        carry(&mut client.bench, &mut server, 65_521);
    }
    assert!(*client.talk.received.borrow() == sent, "the bytes differ");
    assert_eq!(server.conn.deadline(), None);
}

#[test]
fn an_end_without_close_notify_is_reported_and_a_partial_line_is_not_answered() {
    let mut server = replier(&plain_server());
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server, usize::MAX);
    client.send(b"whole\ncut o");
    carry(&mut client.bench, &mut server, usize::MAX);
    server.eof();
    carry(&mut client.bench, &mut server, usize::MAX);
    assert_eq!(client.received(), "Server received: whole\\n");
    assert!(client.talk.ended.get(), "the server's own end is in order all the same");
    assert_eq!(server.close(), CloseReason::Truncated);
}

#[test]
fn a_last_line_before_close_notify_is_answered_and_later_bytes_are_dropped() {
    let mut server = replier(&plain_server());
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server, usize::MAX);
    client.send(b"last");
    client.finish();
    let mut wire = client.bench.take_all();
    wire.extend_from_slice(b"\x17\x03\x03\x00\x05trash behind the end");
    server.receive(&wire);
    server.receive(b"and more");
    server.eof();
    carry(&mut client.bench, &mut server, usize::MAX);
    assert_eq!(client.received(), "Server received: last");
    assert_eq!(server.close(), CloseReason::Finished);
}

#[test]
fn a_changed_record_ends_the_connection_and_is_not_delivered() {
    let mut server = replier(&plain_server());
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server, usize::MAX);
    client.send(b"hello\n");
    let mut wire = client.bench.take_all();
    *wire.last_mut().unwrap() ^= 1;
    server.receive(&wire);
    assert!(server.observer.messages.is_empty());
    assert!(!server.queue.is_empty(), "an alert");
    client.bench.receive(&server.take_all());
    server.eof();
    client.bench.eof();
    assert_eq!(server.close(), CloseReason::Tls(TlsFailure::Damaged));
    assert_eq!(client.bench.close(), CloseReason::Tls(TlsFailure::Refused(20)));
}

#[test]
fn a_plain_peer_gets_an_error_in_plain_text() {
    let mut server = replier(&plain_server());
    server.receive(b"hello\n");
    let error = server.take_all();
    assert_eq!(error.escape_ascii().to_string(), "Error: this server speaks TLS (resound client --tls)\\n");
    server.eof();
    assert_eq!(server.then, Then::Close);
    server.conn.closed(server.now, &mut server.observer);
    assert_eq!(server.observer.unopened[0].reason, CloseReason::Tls(TlsFailure::NotTls));

    // Too short to distinguish from a hello of SSL 2.0, until it ends.
    let mut server = replier(&plain_server());
    server.receive(b"\x80\x2e");
    assert!(server.queue.is_empty());
    server.eof();
    assert_eq!(server.take_all(), HINT);
    server.conn.closed(server.now, &mut server.observer);
    assert_eq!(server.observer.unopened[0].reason, CloseReason::Tls(TlsFailure::NotTls));

    let mut client = end(Handshake::new().tls_client(client()));
    client.bench.receive(b"Server received: \x16\x03\x01");
    client.bench.conn.closed(client.bench.now, &mut client.bench.observer);
    assert_eq!(client.bench.observer.unopened[0].reason, CloseReason::Tls(TlsFailure::NotTls));
}

/// First bytes that are TLS's and no hello, and what rustls answers: the number of its alert, or
/// nothing, to an alert.
const NO_HELLO: [(&[u8], Option<u8>, CloseReason); 8] = {
    let (misbehaved, not_tls) = (CloseReason::Tls(TlsFailure::Misbehaved), CloseReason::Tls(TlsFailure::NotTls));
    [
        (b"\x15\x03\x03\0\x02\x02\x28", None, CloseReason::Tls(TlsFailure::Refused(40))),
        (b"\x15\x03\x03\0\x02\x01\0", None, CloseReason::LeftEarly),
        (b"\x17\x03\x03\0\x05hello", Some(10), misbehaved),
        (b"\x14\x03\x03\0\x01\x01", Some(10), misbehaved),
        (b"\x18\x03\x02\0\x03\x01\x40\0", Some(50), not_tls),
        (b"\x80\x1c\x01\x03\x01\0\x03\0\0\0\x10\0\0\x2fAAAAAAAAAAAAAAAA", Some(50), not_tls),
        (b"\x80\x1c\x01\0\x02\0\x03\0\0\0\x10\x07\0\xc0AAAAAAAAAAAAAAAA", Some(50), not_tls),
        (b"\x16\x7f\xff\0\x01\x01", Some(50), not_tls),
    ]
};

#[test]
fn a_tls_peer_gets_an_alert_at_every_cut_of_its_bytes() {
    for (bytes, alert, why) in NO_HELLO {
        for piece in 1..=bytes.len() {
            let mut server = replier(&plain_server());
            bytes.chunks(piece).for_each(|part| server.receive(part));
            let want = alert.map(|alert| vec![21, 3, 3, 0, 2, 2, alert]).unwrap_or_default();
            assert_eq!(server.take_all(), want, "{} in pieces of {piece}", bytes.escape_ascii());
            // A warning that is not authenticated is passed over: the hello may still come.
            let goes_on = bytes[0] == 21 && bytes[5] == 1;
            assert_eq!(server.then == Then::Go, goes_on, "{}", bytes.escape_ascii());
            server.eof();
            // An end without a hello gets no error text.
            assert_eq!(server.then, if goes_on { Then::Reset } else { Then::Close }, "{}", bytes.escape_ascii());
            server.conn.closed(server.now, &mut server.observer);
            assert_eq!(server.observer.unopened[0].reason, why, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn bytes_that_are_no_hello_end_in_order() {
    for seed in 0..2000 {
        let mut garbage = noise(seed, 1 + (seed as usize * 37) % 700);
        if seed % 2 == 0 {
            // As far as possible like a hello.
            garbage.splice(0..0, [22, 3, 1, 0, (seed % 251) as u8, 1, 0, 0]);
        }
        let mut server = replier(&plain_server());
        for part in garbage.chunks(1 + seed as usize % 90) {
            server.receive(part);
        }
        let is_answered = !server.take_all().is_empty();
        server.eof();
        // The beginning of what might have been a hello gets no error text.
        assert_eq!(server.then, if is_answered { Then::Close } else { Then::Reset }, "seed {seed}");
        assert_eq!((server.observer.opened, server.observer.messages.len()), (0, 0), "seed {seed}");
    }
}

#[test]
fn silence_in_the_handshake_has_its_time() {
    for (sent, why) in [(0, CloseReason::OpeningTimeout), (100, CloseReason::OpeningTimeout)] {
        let mut server = replier(&plain_server());
        let hello = end(Handshake::new().tls_client(client())).bench.take_all();
        server.receive(&hello[..sent]);
        assert_eq!(server.reach_deadline(), Duration::from_secs(10));
        assert_eq!((server.then, server.queue.len()), (Then::Reset, 0), "a reset without a text");
        server.conn.closed(server.now, &mut server.observer);
        assert_eq!(server.observer.unopened[0].reason, why);
    }
}

#[test]
fn handshakes_beyond_the_cap_wait_for_their_turn_and_the_silent_take_no_place() {
    let tls = plain_server().handshakes(1);
    let mut silent = replier(&tls);
    let mut clients: Vec<_> = (0..3).map(|_| end(Handshake::new().tls_client(client()))).collect();
    let mut servers: Vec<_> = (0..3).map(|_| replier(&tls)).collect();
    for (client, server) in clients.iter_mut().zip(&mut servers) {
        server.receive(&client.bench.take_all());
    }
    assert!(!servers[0].queue.is_empty() && servers[1].queue.is_empty() && servers[2].queue.is_empty());
    assert!(servers[0].conn.wants_read() && !servers[1].conn.wants_read());
    servers[1].reach_deadline();
    assert!(servers[1].queue.is_empty(), "the first has not ended yet");
    carry(&mut clients[0].bench, &mut servers[0], usize::MAX);
    for at in [1, 2] {
        servers[at].reach_deadline();
        carry(&mut clients[at].bench, &mut servers[at], usize::MAX);
        clients[at].send(b"hello\n");
        carry(&mut clients[at].bench, &mut servers[at], usize::MAX);
        assert_eq!(clients[at].received(), "Server received: hello\\n");
    }
    // A place comes back with a connection that ends in its handshake.
    silent.receive(&[22]);
    drop(silent);
    shake(client(), &tls);
}

#[test]
fn error_texts_are_encrypted() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let short = Reply::new(Vec::new(), resound::Framing::Line { max: 3 });
    let mut server = bench(Handshake::new().tls_server(&plain_server()), short, limits);
    let mut client = end(Handshake::new().tls_client(client()));
    carry(&mut client.bench, &mut server, usize::MAX);
    client.send(b"much too long\n");
    carry(&mut client.bench, &mut server, usize::MAX);
    assert_eq!(client.received(), "Error: line longer than 3 bytes\\n");
    assert!(client.talk.ended.get(), "with a close_notify behind it");
    server.eof();
    assert_eq!(server.close(), CloseReason::LineTooLong);
}

#[test]
fn idleness_and_a_drain_end_with_a_close_notify() {
    let limits = || Limits { idle_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let ends: [fn(&mut Bench); 2] = [Bench::drain, |bench| _ = bench.reach_deadline()];
    for end_it in ends {
        let mut server = bench(Handshake::new().tls_server(&plain_server()), Reply::default(), limits());
        let mut client = end(Handshake::new().tls_client(client()));
        carry(&mut client.bench, &mut server, usize::MAX);
        end_it(&mut server);
        carry(&mut client.bench, &mut server, usize::MAX);
        assert!(client.talk.ended.get());
    }
}

on_each_engine_plainly!(
    a_peer_that_ends_without_close_notify_is_cut_off,
    a_plain_peer_gets_an_error_and_is_counted,
    a_peer_that_begins_with_another_record_gets_an_alert,
    an_old_peer_is_served,
);

fn secure(engine: Engine, limits: Limits) -> Running {
    Running::start(server(engine).limits(limits).handshake(crate::tunnel::handshake()), |_| Reply::default())
}

fn a_peer_that_ends_without_close_notify_is_cut_off(engine: Engine) {
    let running = secure(engine, Limits::default());
    let session = rustls::ClientConnection::new(client().config().clone(), client().name().clone()).unwrap();
    let mut tls = rustls::StreamOwned::new(session, running.connect().0);
    tls.write_all(b"whole\ncut o").unwrap();
    tls.flush().unwrap();
    tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    // Ends with the server's close_notify, or this is an error.
    tls.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"Server received: whole\n");
    assert_eq!(running.closed(), CloseReason::Truncated);
}

fn a_plain_peer_gets_an_error_and_is_counted(engine: Engine) {
    let running = secure(engine, Limits { linger: Duration::ZERO, ..Limits::default() });
    let mut peer = running.connect();
    peer.send("hello\n");
    assert_eq!(peer.rest(), b"Error: this server speaks TLS (resound client --tls)\n");
    assert_eq!(running.unopened(), CloseReason::Tls(TlsFailure::NotTls));
    let totals = running.drain();
    assert_eq!((totals.opened, totals.unopened, totals.live()), (0, 1, 0));
}

fn a_peer_that_begins_with_another_record_gets_an_alert(engine: Engine) {
    let running = secure(engine, Limits { linger: Duration::ZERO, ..Limits::default() });
    for (bytes, alert, why) in NO_HELLO.into_iter().filter(|(_, alert, _)| alert.is_some()) {
        let mut peer = running.connect();
        peer.send(bytes);
        assert_eq!(peer.rest(), [21, 3, 3, 0, 2, 2, alert.unwrap_or_default()], "{}", bytes.escape_ascii());
        assert_eq!(running.unopened(), why);
    }
}

fn an_old_peer_is_served(engine: Engine) {
    let running = secure(engine, Limits::default());
    let old = of_tls12();
    let session = rustls::ClientConnection::new(old.config().clone(), old.name().clone()).unwrap();
    let mut tls = rustls::StreamOwned::new(session, running.connect().0);
    tls.write_all(b"a\nb").unwrap();
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    tls.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"Server received: a\nServer received: b");
    assert_eq!(running.closed(), CloseReason::Finished);
}
