//! TCP's urgent data (tcp(7)): the byte stays out of the stream, and all that lies around it is
//! read.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
#[cfg(target_os = "linux")]
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use resound::client::{DialPlan, DialRequest, DialTiming, NextDial};
use resound::server::Listener;
use resound::{Address, CloseReason, ConnInfo, Cx, DialOptions, Echo, Endpoint, Engine, Family, Reply, Service};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt};

#[cfg(target_os = "linux")]
use tempfile::TempDir;

use crate::harness::{PATIENCE, Peer, dialer, noise, on_each_engine_plainly, server, uninterrupted};

on_each_engine_plainly!(
    bytes_behind_an_urgent_byte_are_read,
    urgent_bytes_in_a_flood_lose_nothing_of_it,
    a_drain_answers_bytes_behind_an_urgent_byte,
    a_dialled_connection_reads_behind_an_urgent_byte,
);

#[cfg(target_os = "linux")]
mod over_a_unix_socket {
    use super::bytes_behind_an_urgent_byte_of_a_unix_socket_are_read;
    crate::harness::on_each_engine_plainly!(bytes_behind_an_urgent_byte_of_a_unix_socket_are_read);
}

const TEXT: &[u8] = b"abcdefg\n";

/// The bytes, with an urgent one before that at `at`. The peer's system has all of them when this
/// returns.
fn send(to: &SockRef<'_>, bytes: &[u8], at: usize) {
    let whole = |n: usize, part: &[u8]| assert_eq!(n, part.len(), "the other end's system has room");
    let (before, behind) = bytes.split_at(at);
    if !before.is_empty() {
        whole(to.send(before).unwrap(), before);
    }
    whole(to.send_out_of_band(b"U").unwrap(), b"U");
    if !behind.is_empty() {
        whole(to.send(behind).unwrap(), behind);
    }
}

/// A listener that nothing is served on yet.
fn listen() -> (Listener, SocketAddr) {
    let listener = Listener::bind(&Address::tcp("127.0.0.1", "0").unwrap(), Family::Any).unwrap().remove(0);
    let Endpoint::Tcp(address) = *listener.address() else { panic!("TCP was asked for") };
    (listener, address)
}

/// A peer for each place that an urgent byte can have in the text, all of which has come before
/// anything serves it.
fn peers_of(address: SocketAddr) -> Vec<Peer> {
    let peer = |at| {
        let peer = Peer(TcpStream::connect(address).unwrap());
        peer.0.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&SockRef::from(&peer.0), TEXT, at);
        peer
    };
    (0..=TEXT.len()).map(peer).collect()
}

fn bytes_behind_an_urgent_byte_are_read(engine: Engine) {
    let (listener, address) = listen();
    let mut peers = peers_of(address);
    let server = server(engine).listener(listener).serve(|_| Echo).unwrap();
    for (at, peer) in peers.iter_mut().enumerate() {
        peer.expect(TEXT);
        // And again, while the connection is served.
        for n in 0..4 {
            send(&SockRef::from(&peer.0), TEXT, (at + n) % (TEXT.len() + 1));
            peer.expect(TEXT);
        }
        // Without any it is as ever.
        peer.send("plain");
        peer.expect("plain");
    }
    server.stop();
}

fn urgent_bytes_in_a_flood_lose_nothing_of_it(engine: Engine) {
    let (listener, address) = listen();
    let server = server(engine).listener(listener).serve(|_| Echo).unwrap();
    let peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut writer, mut reader) = (peer.try_clone().unwrap(), peer);
    // One urgent byte takes the mark of another that was not read yet, and that one then is a byte
    // of the stream: so the next is sent only when what lies before it is back.
    let bytes = noise(4, 1 << 20);
    let mut left = &bytes[..];
    for (round, length) in [65_535, 65_536, 65_537, 16_384, 8_192, 1, 100_000, 300_000].into_iter().enumerate() {
        let (part, rest) = left.split_at(length);
        left = rest;
        let at = length * round / 8;
        let (sent, mut back) = (part.to_vec(), vec![0; length]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&sent[..at]).unwrap();
                SockRef::from(&writer).send_out_of_band(b"U").unwrap();
                writer.write_all(&sent[at..]).unwrap();
            });
            reader.read_exact(&mut back).unwrap();
        });
        assert!(back == part, "{length} bytes, urgent at {at}");
    }
    server.stop();
}

fn a_drain_answers_bytes_behind_an_urgent_byte(engine: Engine) {
    let (listener, address) = listen();
    let mut peers = peers_of(address);
    let server = server(engine).listener(listener).serve(|_| Reply::default()).unwrap();
    server.drain(PATIENCE);
    for peer in &mut peers {
        assert_eq!(peer.rest(), [b"Server received: ", TEXT].concat());
    }
    let totals = server.wait();
    assert_eq!(totals.closed(CloseReason::Cut), 0, "{totals:?}");
}

/// Calls one after the other.
struct Calls {
    left: usize,
    open: Rc<Cell<bool>>,
    call: DialRequest,
    come: Arc<Mutex<Receiver<()>>>,
}

/// Reads the text, all of which has come before it is opened.
struct Reader {
    open: Rc<Cell<bool>>,
    come: Arc<Mutex<Receiver<()>>>,
    got: Vec<u8>,
}

impl DialPlan for Calls {
    fn next(&mut self, _now: Instant) -> NextDial {
        if self.left == 0 {
            return NextDial::Done;
        }
        if self.open.replace(true) {
            return NextDial::Wait;
        }
        self.left -= 1;
        NextDial::Dial(self.call.clone())
    }

    fn answered(&mut self, _request: &DialRequest, _took: DialTiming, _conn: &ConnInfo) -> Box<dyn Service> {
        Box::new(Reader { open: Rc::clone(&self.open), come: Arc::clone(&self.come), got: Vec::new() })
    }

    fn failed(&mut self, call: &DialRequest, error: &std::io::Error, _now: Instant) {
        panic!("{}: {error}", call.target);
    }
}

impl Service for Reader {
    fn open(&mut self, _cx: &mut Cx<'_>) {
        self.come.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.got.extend_from_slice(bytes);
        if self.got == TEXT {
            cx.close();
        }
    }

    fn closed(&mut self, _why: &CloseReason) {
        self.open.set(false);
    }
}

fn a_dialled_connection_reads_behind_an_urgent_byte(engine: Engine) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().into();
    let (announce, come) = mpsc::channel();
    let come = Arc::new(Mutex::new(come));
    let call = DialRequest { number: 0, target, source: None, timeout: PATIENCE };
    let left = TEXT.len() + 1;
    let dialer = dialer(engine)
        .workers(NonZeroUsize::MIN)
        .start(move |_| Calls { left, open: Rc::default(), call: call.clone(), come: Arc::clone(&come) })
        .unwrap();
    for at in 0..left {
        let (mut peer, _) = uninterrupted(|| listener.accept()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&SockRef::from(&peer), TEXT, at);
        announce.send(()).unwrap();
        // It closes when it has read all of it.
        assert_eq!(uninterrupted(|| peer.read(&mut [0])).unwrap(), 0);
    }
    assert_eq!(dialer.wait().closed(CloseReason::ServiceClosed), left as u64);
}

/// Unix sockets have it since Linux 5.15.
#[cfg(target_os = "linux")]
fn bytes_behind_an_urgent_byte_of_a_unix_socket_are_read(engine: Engine) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    for drains in [false, true] {
        let listener = Listener::bind_unix(&path, None).unwrap();
        let mut peers = Vec::new();
        for at in 0..=TEXT.len() {
            let peer = UnixStream::connect(&path).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            send(&SockRef::from(&peer), TEXT, at);
            peers.push(peer);
        }
        let server = server(engine).listener(listener).serve(|_| Echo).unwrap();
        if drains {
            server.drain(PATIENCE);
        }
        for peer in &mut peers {
            let mut got = vec![0; TEXT.len()];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(got, TEXT);
            if drains {
                assert_eq!(uninterrupted(|| peer.read(&mut got)).unwrap(), 0);
            }
        }
        if !drains {
            server.stop();
        }
        assert_eq!(server.wait().closed(CloseReason::Cut), if drains { 0 } else { peers.len() as u64 });
    }
}

#[test]
fn a_clients_stream_reads_behind_an_urgent_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        for at in 0..=TEXT.len() {
            let mut stream = resound::dial(&address, DialOptions::default()).await.unwrap();
            let (peer, _) = listener.accept().unwrap();
            // Read either way, as a whole and by one of two tasks.
            send(&SockRef::from(&peer), TEXT, at);
            reads(&mut stream).await;
            send(&SockRef::from(&peer), TEXT, at);
            reads(&mut &stream).await;
        }
    });
}

async fn reads(stream: &mut (impl AsyncRead + Unpin)) {
    let mut got = vec![0; TEXT.len()];
    let reading = async {
        let mut n = 0;
        while n < got.len() {
            // With room to spare: so a read that brings less than all of it is a short one.
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            got[n..n + read].copy_from_slice(&buffer[..read]);
            n += read;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("all of it is there");
    assert_eq!(got, TEXT);
}
