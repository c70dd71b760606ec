//! The load generator behind a PROXY header and TLS: what is timed, and how targets that fail the
//! handshake are reported.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use resound::proxy::{Addresses, Header, Version};
use resound::tls::{Fingerprint, TlsClient, Trust, rustls};
use resound::{Echo, Endpoint, Engine, Handshake};
use resound_load::{Load, LoadFailure, Mode, Record, Security, Settings};

use super::{connect, load, run, settings, without_an_end};
use crate::client::basics::foreign;
use crate::harness::{Event, Running, on_each_engine_plainly, server};
use crate::tunnel::{client, identity};

on_each_engine_plainly! {
    handshakes_are_timed_by_themselves,
    a_certificate_that_is_refused_ends_the_run,
    a_target_that_is_silent_in_the_handshake_times_out,
    a_target_that_leaves_in_the_handshake_is_reported,
    an_end_without_close_notify_is_a_failure,
    the_server_sees_the_client_that_the_header_names,
}

fn secure(engine: Engine, to: SocketAddr, settings: Settings, client: TlsClient) -> Load {
    let settings = Settings { tls: Some(Security::default()), ..settings };
    let handshake = move |_: &resound::ConnInfo| Handshake::new().tls_client(&client);
    Load { handshake: Some(Box::new(handshake)), ..load(engine, to, settings) }
}

/// An echo server with the certificate that all tests trust.
fn echoing(engine: Engine) -> Running {
    Running::start(server(engine).handshake(crate::tunnel::handshake()), |_| Echo)
}

/// The one thing that went wrong, on all of these connections.
fn each(record: &Record, wanted: &[u64]) -> (LoadFailure, String) {
    let [first, ..] = &record.failures[..] else { panic!("nothing failed: {:?}", record.total.counts) };
    for failure in &record.failures {
        assert_eq!((failure.class, &failure.what), (first.class, &first.what));
    }
    let mut connections: Vec<_> = record.failures.iter().map(|failure| failure.connection).collect();
    connections.sort_unstable();
    assert_eq!(connections, wanted);
    (first.class, first.what.clone())
}

/// A run is over once as many attempts have failed as it has connections. Each of them fails once
/// with [`first_four`].
const ONCE: [u64; 4] = [0, 1, 2, 3];

/// A server that waits for four connections before it does something to each of them. One that is
/// made again finds only silence, as long as the listener is there.
fn first_four(what: impl Fn(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<TcpListener>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let serving = move || {
        [(); 4].map(|()| listener.accept().unwrap().0).into_iter().for_each(what);
        listener
    };
    (to, std::thread::spawn(serving))
}

fn handshakes_are_timed_by_themselves(engine: Engine) {
    let server = echoing(engine);
    let pin = Trust::Pin(identity().fingerprint());
    let client = TlsClient::with_group("x25519", "localhost", pin, None, &[]).unwrap().without_resumption();
    let each = Settings { messages: Some(60), ..connect(2) };
    let record = run(secure(engine, server.address(), each, client));
    let total = &record.total;
    assert_eq!((total.counts.verified, total.counts.errors()), (60, 0), "{:?}", record.failures);
    assert_eq!(total.counts.opened, 4 * 8, "four times seven connections of two messages, and one of the last");
    assert_eq!((total.connect.count(), total.handshake.count()), (32, 32));
    let agreed = record.settings.tls.unwrap().agreed.unwrap();
    assert_eq!((&agreed.version[..], agreed.group.as_deref()), ("TLSv1.3", Some("x25519")));
    assert_eq!(server.drain().opened, 32);
}

fn a_certificate_that_is_refused_ends_the_run(engine: Engine) {
    let (to, serving) = first_four(|mut peer| {
        let mut session = session();
        // It ends with the client's alert.
        assert!(session.complete_io(&mut peer).is_err());
    });
    let pin = Trust::Pin(Fingerprint::of(b"another certificate"));
    let client = TlsClient::new("localhost", pin, None, &[]).unwrap();
    let record = run(secure(engine, to, without_an_end(settings(Mode::Echo)), client));
    let (class, what) = each(&record, &ONCE);
    drop(serving.join().unwrap());
    assert_eq!(class, LoadFailure::Tls);
    assert!(what.contains("not the pinned one"), "{what}");
    assert_eq!((record.total.counts.opened, record.total.handshake.count()), (0, 0));
    assert_eq!(record.settings.tls.unwrap().agreed, None);
}

fn a_target_that_is_silent_in_the_handshake_times_out(engine: Engine) {
    // Its backlog is never accepted from.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let connect_timeout = Duration::from_millis(200);
    let one = Settings { connections: 1, ..settings(Mode::Echo) };
    let load = Load { connect_timeout, ..secure(engine, to, one, client().clone()) };
    let record = run(load);
    // A busy machine has dialled again meanwhile.
    let (class, what) = each(&record, &vec![0; record.failures.len()]);
    assert_eq!((class, &what[..]), (LoadFailure::Timeout, "no TLS handshake for 200 ms"));
}

fn a_target_that_leaves_in_the_handshake_is_reported(engine: Engine) {
    let (to, leaving) = first_four(|mut peer| {
        // Reads all of it, in any number of parts, so that the end is no reset.
        let mut head = [0; 5];
        peer.read_exact(&mut head).unwrap();
        peer.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))]).unwrap();
    });
    let (class, what) = each(&run(secure(engine, to, settings(Mode::Echo), client().clone())), &ONCE);
    drop(leaving.join().unwrap());
    assert_eq!(class, LoadFailure::Eof, "{what}");
    assert!(what.contains("within the TLS handshake"), "{what}");
}

/// A server's end of TLS, made elsewhere.
fn session() -> rustls::ServerConnection {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    rustls::ServerConnection::new(Arc::new(config)).unwrap()
}

/// Echoes so many bytes, and then ends the connection without a word of TLS.
fn cut_off(listener: &TcpListener, bytes: usize) {
    use std::io::Write;
    let ((mut peer, _), mut session) = (listener.accept().unwrap(), session());
    let mut stream = rustls::Stream::new(&mut session, &mut peer);
    let mut message = vec![0; bytes];
    stream.read_exact(&mut message).unwrap();
    stream.write_all(&message).unwrap();
    // The next one is taken, and never answered.
    stream.read_exact(&mut message[..1]).unwrap();
}

fn an_end_without_close_notify_is_a_failure(engine: Engine) {
    let port = foreign(|listener| cut_off(&listener, 3 * 64));
    let to = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let one = Settings { connections: 1, depth: 4, messages: Some(4), ..settings(Mode::Echo) };
    let client = TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap();
    let record = run(secure(engine, to, one, client));
    let first = &record.failures[0];
    assert_eq!((first.class, first.connection, first.sequence), (LoadFailure::Tls, 0, Some(3)), "{first:?}");
    assert_eq!(first.what, "the peer ended without TLS's close_notify; one message was unanswered");
    assert_eq!(record.total.counts.verified, 3);
}

fn the_server_sees_the_client_that_the_header_names(engine: Engine) {
    for version in [Version::V1, Version::V2] {
        let proxies = resound::proxy::Proxies::local();
        let tls = crate::tunnel::handshake();
        let server = server(engine).handshake(move |conn| tls(conn).expect_header(proxies.header_reader(conn)));
        let server = Running::start(server, |_| Echo);
        let source: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let handshake = move |conn: &resound::ConnInfo| {
            let Endpoint::Tcp(peer) = conn.peer else { panic!("{:?}", conn.peer) };
            let header = Header::new(version, Addresses::ip(source, peer));
            Handshake::new().header(header.encode().unwrap()).tls_client(client())
        };
        let load = Load {
            handshake: Some(Box::new(handshake)),
            ..load(engine, server.address(), Settings { connections: 1, ..settings(Mode::Echo) })
        };
        assert_eq!(run(load).total.counts.verified, 400);
        let Event::Opened(_, peer) = server.event() else { panic!("the first event is another") };
        assert_eq!(peer, Endpoint::Tcp(source));
    }
}
