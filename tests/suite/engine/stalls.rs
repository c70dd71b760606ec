//! Peers that stop reading while all that waits for them lies in the system's own buffer, on each
//! engine. When exactly they are given up is tested on a virtual clock (`ending.rs`).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use resound::{CloseReason, Echo, Engine, Limits, Reply};

use tempfile::TempDir;

use crate::harness::{PATIENCE, Running, noise, on_each_engine_plainly, patient, server};
use crate::tunnel;

on_each_engine_plainly!(
    a_peer_that_stops_reading_is_reset_even_with_little_unsent,
    a_peer_of_a_unix_socket_that_stops_reading_is_let_go,
    a_peer_that_has_everything_may_be_silent,
);

fn impatient() -> Limits {
    Limits { write_timeout: Some(Duration::from_millis(100)), ..patient() }
}

/// A connection with room for very little.
fn narrow(running: &Running) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&running.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn a_peer_that_stops_reading_is_reset_even_with_little_unsent(engine: Engine) {
    // The server's socket takes all of it at once.
    let sent = noise(2, 20_000);
    let running = Running::start(server(engine).limits(impatient()), |_| Echo);
    let mut peer = narrow(&running);
    peer.write_all(&sent).unwrap();
    assert_eq!(running.closed(), CloseReason::WriteTimeout);
    let mut got = Vec::new();
    assert_eq!(peer.read_to_end(&mut got).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(sent.starts_with(&got), "{} bytes", got.len());

    // The same through TLS.
    let running = Running::start(server(engine).limits(impatient()).handshake(tunnel::handshake()), |_| Echo);
    let (config, name) = (tunnel::client().config().clone(), tunnel::client().name().clone());
    let session = resound::tls::rustls::ClientConnection::new(config, name).unwrap();
    let mut tls = resound::tls::rustls::StreamOwned::new(session, narrow(&running));
    tls.write_all(&sent).and_then(|()| tls.flush()).unwrap();
    assert_eq!(running.closed(), CloseReason::WriteTimeout);
    let totals = running.drain();
    assert_eq!((totals.closed(CloseReason::WriteTimeout), totals.live()), (1, 0));
}

fn a_peer_of_a_unix_socket_that_stops_reading_is_let_go(engine: Engine) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    let running = Running::start_on(server(engine).limits(impatient()).listen(&address).unwrap(), |_| Echo);
    let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
    peer.write_all(&noise(2, 20_000)).unwrap();
    assert_eq!(running.closed(), CloseReason::WriteTimeout);
    drop(peer);
}

fn a_peer_that_has_everything_may_be_silent(engine: Engine) {
    let running = Running::start(server(engine).limits(impatient()), |_| Reply::default());
    let mut silent = running.connect();
    silent.ask("one");
    // The time is over when another has been given up that came later.
    let mut stuck = narrow(&running);
    stuck.write_all(&[b'\n'; 20_000]).unwrap();
    assert_eq!(running.closed(), CloseReason::WriteTimeout);
    silent.ask("two");
    drop(stuck);
}
