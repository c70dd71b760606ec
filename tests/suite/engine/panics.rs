//! Services that panic, and connections that are cut or never served, on each engine, in plain and
//! through TLS: output from before arrives, and what follows does not look like an orderly end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use resound::tls::rustls;
use resound::{Bytes, CloseReason, Cx, Discard, Echo, Engine, Framing, Limits, Reply, Server, Service};

use crate::harness::{PATIENCE, Peer, Running, noise, on_each_engine_plainly, patient, server, shown};
use crate::proto::ending::{Fragile, Where};
use crate::tunnel;

on_each_engine_plainly!(
    output_before_a_panic_arrives_and_then_a_reset,
    much_output_before_a_panic_arrives,
    a_panic_overrides_a_requested_end,
    a_peer_that_reads_nothing_after_a_panic_is_reset,
    a_service_that_cannot_be_made_is_a_reset_and_counted,
    a_service_that_panics_at_its_very_end_harms_no_other,
    a_worker_that_panics_ends_the_server,
    a_cut_is_no_orderly_end,
    a_cut_while_input_is_held_is_no_orderly_end,
    a_connection_that_was_never_served_is_reset,
);

impl Peer {
    /// Is it reset, without a byte before?
    pub(crate) fn is_reset(&mut self) -> bool {
        self.rest_to_reset().is_empty()
    }

    /// Everything up to the server's reset, which must come.
    pub(crate) fn rest_to_reset(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let end = self.0.read_to_end(&mut bytes).expect_err("an end in order, and no reset");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{end}, after {}", shown(&bytes));
        bytes
    }
}

/// A peer that sees resets, which a tunnel would hide.
enum Talk {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Talk {
    fn with(running: &Running, is_secure: bool) -> Self {
        let Peer(stream) = Peer::connect(running.address());
        if !is_secure {
            return Self::Plain(stream);
        }
        let (config, name) = (tunnel::client().config().clone(), tunnel::client().name().clone());
        let session = rustls::ClientConnection::new(config, name).unwrap();
        let mut tls = rustls::StreamOwned::new(session, stream);
        tls.flush().expect("a handshake");
        Self::Tls(Box::new(tls))
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).unwrap(),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()).unwrap(),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush().unwrap();
                tls.sock.shutdown(Shutdown::Write).unwrap();
            }
        }
    }

    fn expect(&mut self, want: &[u8]) {
        let mut got = vec![0; want.len()];
        match self {
            Self::Plain(stream) => stream.read_exact(&mut got),
            Self::Tls(tls) => tls.read_exact(&mut got),
        }
        .unwrap();
        assert_eq!(shown(&got), shown(want));
    }

    /// Everything that comes, and how that ended.
    fn rest(&mut self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut bytes = Vec::new();
        let end = match self {
            Self::Plain(stream) => stream.read_to_end(&mut bytes),
            Self::Tls(tls) => tls.read_to_end(&mut bytes),
        };
        (bytes, end.err().map(|error| error.kind()))
    }
}

/// In plain, and then through TLS.
fn both(engine: Engine, test: impl Fn(&dyn Fn() -> Server, bool)) {
    test(&|| server(engine), false);
    test(&|| server(engine).handshake(tunnel::handshake()), true);
}

fn output_before_a_panic_arrives_and_then_a_reset(engine: Engine) {
    both(engine, |server, is_secure| {
        for place in Where::ALL {
            let running = Running::start(server(), move |_| Fragile(place));
            let mut peer = Talk::with(&running, is_secure);
            let output = match place {
                Where::Open | Where::Drained => "hello\n",
                Where::Data => {
                    peer.send(b"one\npanic\ntwo\nthr");
                    "hello\none\npanic\n"
                }
                Where::Wake => {
                    running.handle.wake(running.opened());
                    "hello\nwoken\n"
                }
                Where::Eof => {
                    peer.send(b"one\n");
                    peer.finish();
                    "hello\none\neof\n"
                }
                Where::Drain => {
                    peer.expect(b"hello\n");
                    running.handle.drain(PATIENCE);
                    "drain\n"
                }
                Where::Closed => {
                    peer.finish();
                    "hello\neof\n"
                }
            };
            let (got, end) = peer.rest();
            assert_eq!(got.escape_ascii().to_string(), output.escape_default().to_string(), "{place:?}");
            let (why, how) = match place {
                Where::Closed => (CloseReason::Finished, None),
                _ => (CloseReason::Panicked, Some(ErrorKind::ConnectionReset)),
            };
            assert_eq!((running.closed(), end), (why, how), "{place:?}, TLS: {is_secure}");
        }
    });
}

/// Finishes, and panics in the same call.
struct Hasty;

impl Service for Hasty {
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.send(b"hello\n");
        cx.close();
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
}

fn a_panic_overrides_a_requested_end(engine: Engine) {
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |_| Hasty);
        let mut peer = Talk::with(&running, is_secure);
        peer.send(b"go");
        // Through TLS a close_notify would be an end in order.
        let (got, end) = peer.rest();
        assert_eq!((&got[..], end), (&b"hello\n"[..], Some(ErrorKind::ConnectionReset)), "TLS: {is_secure}");
        assert_eq!(running.closed(), CloseReason::Panicked);
    });
}

/// Answers the first bytes at length, and panics.
struct Talkative;

impl Service for Talkative {
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        // Some of it is sent from where it stands, where the engine can.
        cx.send(&much()[..MUCH / 2]);
        cx.send_shared(Bytes::from_static(&much()[MUCH / 2..]));
        std::panic::resume_unwind(Box::new("as the test wants it"));
    }
}

/// More than a socket takes.
const MUCH: usize = 8 << 20;

fn much() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| noise(9, MUCH))
}

fn much_output_before_a_panic_arrives(engine: Engine) {
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |_| Talkative);
        let mut peer = Talk::with(&running, is_secure);
        peer.send(b"go");
        let (got, end) = peer.rest();
        assert!(got == much(), "{} bytes came", got.len());
        assert_eq!((running.closed(), end), (CloseReason::Panicked, Some(ErrorKind::ConnectionReset)));
    });
}

fn a_peer_that_reads_nothing_after_a_panic_is_reset(engine: Engine) {
    let limits = Limits { write_timeout: Some(Duration::from_millis(200)), ..patient() };
    both(engine, |server, is_secure| {
        let running = Running::start(server().limits(limits), |_| Talkative);
        let mut peer = Talk::with(&running, is_secure);
        peer.send(b"go");
        assert_eq!(running.closed(), CloseReason::Panicked);
        let (got, end) = peer.rest();
        assert!(much().starts_with(&got) && got.len() < MUCH, "{} bytes came", got.len());
        assert_eq!(end, Some(ErrorKind::ConnectionReset));
        assert_eq!(running.handle.totals().live(), 0);
    });
}

fn a_service_that_cannot_be_made_is_a_reset_and_counted(engine: Engine) {
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |conn| -> Reply {
            if conn.id.0 <= 3 {
                std::panic::resume_unwind(Box::new("as the test wants it"));
            }
            Reply::default()
        });
        for _ in 0..3 {
            let Peer(stream) = Peer::connect(running.address());
            let mut peer = match is_secure {
                false => Talk::Plain(stream),
                true => {
                    let (config, name) = (tunnel::client().config().clone(), tunnel::client().name().clone());
                    let session = rustls::ClientConnection::new(config, name).unwrap();
                    Talk::Tls(Box::new(rustls::StreamOwned::new(session, stream)))
                }
            };
            assert_eq!(peer.rest(), (Vec::new(), Some(ErrorKind::ConnectionReset)));
            assert_eq!(running.unopened(), CloseReason::Panicked);
        }
        let mut peer = Talk::with(&running, is_secure);
        peer.send(b"hello\n");
        peer.expect(b"Server received: hello\n");
        drop(peer);
        let totals = running.drain();
        let panicked = totals.closed(CloseReason::Panicked);
        assert_eq!((totals.opened, totals.unopened, panicked, totals.live()), (1, 3, 3, 0));
    });
}

fn a_service_that_panics_at_its_very_end_harms_no_other(engine: Engine) {
    struct Last(Echo);
    impl Service for Last {
        fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
            self.0.data(bytes, cx);
        }
    }
    impl Drop for Last {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as the test wants it"));
        }
    }
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |_| Last(Echo));
        for _ in 0..8 {
            let mut peer = Talk::with(&running, is_secure);
            peer.send(b"hello");
            peer.finish();
            assert_eq!(peer.rest(), (b"hello".to_vec(), None));
            assert_eq!(running.closed(), CloseReason::Finished);
        }
        assert!(!running.handle.is_finished());
        assert_eq!(running.drain().live(), 0);
    });
}

fn a_worker_that_panics_ends_the_server(engine: Engine) {
    let server = server(engine).listen("127.0.0.1:0").unwrap();
    let server = server.observe(|worker| assert!(worker == 0, "no observer for this worker"));
    match (engine, server.serve(|_| Reply::default())) {
        // It has no second worker.
        (Engine::Threads, handle) => handle.unwrap().stop(),
        (_, Ok(_)) => panic!("a server without one of its workers"),
        (_, Err(error)) => assert_eq!(error.to_string(), "cannot start a worker: a worker has panicked"),
    }
}

fn a_cut_is_no_orderly_end(engine: Engine) {
    /// Sends more than fits, and does not read.
    struct Lecture;
    impl Service for Lecture {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.send(much());
        }
        fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
            Discard.data(bytes, cx);
        }
    }
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |_| Lecture);
        let mut peer = Talk::with(&running, is_secure);
        running.opened();
        running.handle.stop();
        assert_eq!(running.closed(), CloseReason::Cut);
        let (got, end) = peer.rest();
        assert!(got.len() < MUCH && end == Some(ErrorKind::ConnectionReset), "{} bytes, {end:?}", got.len());
    });
}

fn a_cut_while_input_is_held_is_no_orderly_end(engine: Engine) {
    both(engine, |server, is_secure| {
        let running = Running::start(server(), |_| Reply::new(Reply::PREFIX.as_bytes(), Framing::line()));
        let mut peer = Talk::with(&running, is_secure);
        // Read at once: after the answer to the first the beginning of the second is held.
        peer.send(b"one\ntw");
        peer.expect(b"Server received: one\n");
        running.handle.stop();
        assert_eq!(running.closed(), CloseReason::Cut);
        assert_eq!(peer.rest(), (Vec::new(), Some(ErrorKind::ConnectionReset)), "TLS: {is_secure}");
    });
    // Where nothing is held an end in order is true.
    let running = Running::start(server(engine), |_| Reply::new(Reply::PREFIX.as_bytes(), Framing::line()));
    let mut peer = Talk::with(&running, false);
    peer.send(b"one\n");
    peer.expect(b"Server received: one\n");
    running.handle.stop();
    assert_eq!(running.closed(), CloseReason::Cut);
    assert_eq!(peer.rest(), (Vec::new(), None));
}

fn a_connection_that_was_never_served_is_reset(engine: Engine) {
    /// Stays through a drain.
    struct Stubborn;
    impl Service for Stubborn {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.send(b"served");
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
        fn drain(&mut self, _: &mut Cx<'_>) {}
    }
    let running = Running::start(server(engine).max_connections(1), |_| Stubborn);
    let mut first = Talk::with(&running, false);
    first.expect(b"served");
    // They send nothing, and wait for the one place.
    let mut waiting = [(); 3].map(|()| running.connect());
    running.handle.drain(Duration::from_millis(50));
    running.wait();
    assert!(waiting.iter_mut().all(Peer::is_reset));
}
