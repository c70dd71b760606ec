//! A relay between two raw sockets: what each end sees of the other.

mod bulk;
pub(super) mod faults;
mod resets;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use resound::faults::FaultEvent;
use resound::faults::LiveFaults;
use resound::proxy::{Addresses, Header, Proxies, Version};
use resound::relay::{DirectionReport, Relay, RelayEnd, RelayEvent, RelayReport, RelayTarget};
use resound::{CloseReason, ConnId, ConnInfo, Endpoint, Engine, Error, Handle, Handshake, Limits, Server};
use socket2::SockRef;

use crate::harness::{
    Event, PATIENCE, Peer, Tap, connected, faults, noise, on_each_engine_with_workers, patient, uninterrupted,
};
use crate::not_tested::not_tested;

on_each_engine_with_workers!(
    each_direction_ends_by_itself,
    a_reset_comes_behind_the_bytes_before_it,
    a_client_that_resets_resets_the_target,
    bytes_before_a_reset_arrive_while_the_other_direction_is_busy,
    bytes_in_the_socket_of_a_reset_connection_arrive,
    wakes_from_outside_overtake_nothing,
    a_client_whose_target_refuses_is_reset,
    bytes_before_the_target_answers_are_kept,
    last_words_wait_for_a_target_that_answers_late,
    a_stream_of_tls_that_is_cut_off_ends_with_a_reset,
    an_end_that_takes_nothing_stops_the_other,
    both_directions_move_at_once_and_nothing_changes,
    a_stuck_direction_leaves_the_other_alone,
    an_urgent_byte_stays_in_the_stream,
    a_pair_without_a_byte_is_reset_after_the_idle_timeout,
    a_drain_lets_a_pair_finish,
    the_end_of_a_drain_resets_what_is_open,
    many_pairs_leave_nothing_behind,
);

/// What a relay reports of a pair.
#[derive(Debug)]
enum Seen {
    Opened(Endpoint),
    Failed(String),
    Closed(RelayReport),
}

/// A relay in front of a listener of this test.
struct Path {
    relay: Handle,
    target: TcpListener,
    seen: Receiver<Seen>,
    faults: LiveFaults,
    injected: Receiver<FaultEvent>,
}

fn settings(engine: Engine) -> Server {
    Server::new().engine(engine).inject_ring_faults(faults()).workers(NonZeroUsize::new(2).unwrap()).limits(patient())
}

fn target_at(address: SocketAddr) -> RelayTarget {
    RelayTarget::new(address.to_string().parse().unwrap()).unwrap().timeout(PATIENCE)
}

fn observed(relay: Relay) -> (Handle, Receiver<Seen>, Receiver<FaultEvent>) {
    let ((send, seen), (send_fault, injected)) = (mpsc::channel(), mpsc::channel());
    let relay = relay.observe(move |event| {
        let _ = send.send(match event {
            RelayEvent::Fault { event, .. } => return drop(send_fault.send((*event).clone())),
            RelayEvent::Opened { target, .. } => Seen::Opened((*target).clone()),
            RelayEvent::Failed { error, .. } => Seen::Failed(error.to_string()),
            RelayEvent::Closed { report, .. } => Seen::Closed((*report).clone()),
            _ => return,
        });
    });
    (relay.start().unwrap(), seen, injected)
}

fn address(relay: &Handle) -> SocketAddr {
    let Endpoint::Tcp(address) = relay.addresses()[0] else { panic!("TCP was asked for") };
    address
}

impl Path {
    fn of(settings: Server) -> Self {
        Self::with_faults(settings, "")
    }

    fn with_faults(settings: Server, spec: &str) -> Self {
        Self::towards(settings, spec, |target| target)
    }

    fn towards(settings: Server, spec: &str, change: impl FnOnce(RelayTarget) -> RelayTarget) -> Self {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = change(target_at(target.local_addr().unwrap()));
        let relay = Relay::new(settings).map("127.0.0.1:0", to).unwrap();
        let faults = relay.faults();
        if !spec.is_empty() {
            assert_eq!(faults.set(spec.parse().unwrap(), faults::SEED).unwrap(), 1);
        }
        let (relay, seen, injected) = observed(relay);
        Self { relay, target, seen, faults, injected }
    }

    fn new(engine: Engine) -> Self {
        Self::of(settings(engine))
    }

    fn client(&self) -> Peer {
        patiently(connected(address(&self.relay)))
    }

    /// A client, and the connection that reaches the target for it.
    fn pair(&self) -> (Peer, Peer) {
        let client = self.client();
        (client, patiently(self.target.accept().unwrap().0))
    }

    fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("an event")
    }

    /// The report of the next pair that ends.
    fn report(&self) -> RelayReport {
        loop {
            if let Seen::Closed(report) = self.seen() {
                return report;
            }
        }
    }
}

fn patiently(stream: TcpStream) -> Peer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Peer(stream)
}

pub(super) fn error_of_next_read(peer: &mut Peer) -> ErrorKind {
    match uninterrupted(|| peer.0.read(&mut [0])) {
        Ok(n) => panic!("{n} bytes, and no error"),
        Err(error) => error.kind(),
    }
}

fn direction(bytes: u64, fin: bool) -> DirectionReport {
    let mut report = DirectionReport::default();
    (report.bytes, report.fin) = (bytes, fin);
    report
}

fn each_direction_ends_by_itself(engine: Engine) {
    let path = Path::new(engine);
    for client_first in [true, false] {
        let (mut client, mut target) = path.pair();
        let (first, second) = if client_first { (&mut client, &mut target) } else { (&mut target, &mut client) };
        first.send("question");
        first.finish();
        assert_eq!(second.rest(), b"question");
        // What one end says after the FIN of the other still arrives.
        second.send(noise(1, 100_000));
        second.finish();
        assert_eq!(first.rest(), noise(1, 100_000));
        let report = path.report();
        let (up, down) = if client_first { (8, 100_000) } else { (100_000, 8) };
        assert_eq!((report.up, report.down, report.ended), (direction(up, true), direction(down, true), None));
    }
}

fn a_reset_comes_behind_the_bytes_before_it(engine: Engine) {
    let path = Path::new(engine);
    let bytes = noise(2, 300_000);
    let (mut client, mut target) = path.pair();
    // The target has sent all of it when it resets the connection; its system has passed on what
    // the relay has acknowledged.
    target.send(&bytes);
    target.until_acknowledged();
    client.expect(&bytes[..1000]);
    target.reset();
    client.expect(&bytes[1000..]);
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    let report = path.report();
    assert_eq!(report.ended, Some((RelayEnd::Target, CloseReason::Reset)));
    assert_eq!((report.down, report.up), (direction(300_000, false), direction(0, false)));
}

fn a_client_that_resets_resets_the_target(engine: Engine) {
    let path = Path::new(engine);
    // The relay may learn of all of it at once, before the target has answered.
    for _ in 0..20 {
        let mut client = path.client();
        client.send("last words");
        client.until_acknowledged();
        client.reset();
        let mut target = patiently(path.target.accept().unwrap().0);
        target.expect("last words");
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        let report = path.report();
        assert_eq!((report.ended, report.up), (Some((RelayEnd::Client, CloseReason::Reset)), direction(10, false)));
    }
}

fn bytes_before_a_reset_arrive_while_the_other_direction_is_busy(engine: Engine) {
    let path = Path::new(engine);
    for _ in 0..10 {
        let (mut client, mut target) = path.pair();
        // The relay has bytes for the client that it cannot get rid of.
        flood(&target);
        client.send("last words");
        client.until_acknowledged();
        client.reset();
        target.expect("last words");
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        assert_eq!(path.report().ended, Some((RelayEnd::Client, CloseReason::Reset)));
    }
}

fn bytes_in_the_socket_of_a_reset_connection_arrive(engine: Engine) {
    let path = Path::new(engine);
    let (client, mut target) = path.pair();
    let sent = flood(&client);
    let Some(waiting) = client.unacknowledged() else {
        return not_tested("a reset behind unread bytes", "this system does not show what a peer has taken");
    };
    client.reset();
    // The relay has paused, so a failed send is the first that it learns of the reset.
    target.send("x");
    let mut got = vec![0; sent - waiting];
    target.0.read_exact(&mut got).unwrap();
    let others: Vec<_> = got.iter().enumerate().filter(|(_, byte)| **byte != 7).collect();
    assert!(others.is_empty(), "{} bytes have changed: {:?}", others.len(), others.first());
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    let report = path.report();
    assert_eq!((report.ended, report.up.bytes), (Some((RelayEnd::Client, CloseReason::Reset)), got.len() as u64));
}

fn wakes_from_outside_overtake_nothing(engine: Engine) {
    let path = Path::new(engine);
    for round in 0..100 {
        let (mut client, mut target) = path.pair();
        // The answer and the FIN after it arrive together, and so do wakes.
        target.send(format!("answer {round}"));
        target.finish();
        (0..10).for_each(|_| path.relay.wake_all());
        assert_eq!(String::from_utf8_lossy(&client.rest()), format!("answer {round}"));
        client.finish();
        target.rest();
    }
}

fn a_client_whose_target_refuses_is_reset(engine: Engine) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = Relay::new(settings(engine)).map("127.0.0.1:0", target_at(closed)).unwrap();
    let (relay, seen, _injected) = observed(relay);
    let mut client = patiently(TcpStream::connect(address(&relay)).unwrap());
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    let Seen::Failed(error) = seen.recv_timeout(PATIENCE).unwrap() else { panic!("the target has refused") };
    assert_eq!(error, format!("cannot connect to {closed}: refused: Connection refused"));
    relay.drain(PATIENCE);
    relay.wait();
    assert!(seen.try_recv().is_err(), "nothing else happens");
}

fn bytes_before_the_target_answers_are_kept(engine: Engine) {
    let path = Path::new(engine);
    let mut client = path.client();
    client.send("early");
    client.finish();
    let mut target = patiently(path.target.accept().unwrap().0);
    assert_eq!(target.rest(), b"early");
    assert!(matches!(path.seen(), Seen::Opened(Endpoint::Tcp(at)) if at == path.target.local_addr().unwrap()));
}

fn last_words_wait_for_a_target_that_answers_late(engine: Engine) {
    let (send, events) = mpsc::channel();
    let settings = settings(engine).observe(move |_| Tap(send.clone()));
    // It has answered once it has sent a header.
    let answers = |_: &ConnInfo, conn: &ConnInfo| Handshake::new().expect_header(Proxies::local().header_reader(conn));
    let path = Path::towards(settings, "", |target| target.handshake(answers));
    for (number, words) in [(1, "last words"), (2, "")] {
        let mut client = path.client();
        let mut target = patiently(path.target.accept().unwrap().0);
        client.send(words);
        client.until_acknowledged();
        client.reset();
        let left = |event: Event| matches!(event, Event::Closed(id, CloseReason::Reset) if id == ConnId(number));
        while !left(events.recv_timeout(PATIENCE).expect("the client leaves")) {}
        target.send(Header::new(Version::V2, Addresses::Local).encode().unwrap());
        target.expect(words);
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        let (report, bytes) = (path.report(), words.len() as u64);
        assert_eq!((report.ended, report.up), (Some((RelayEnd::Client, CloseReason::Reset)), direction(bytes, false)));
        assert_eq!(report.target.is_some(), bytes > 0, "without words it has no pair");
    }
}

fn a_stream_of_tls_that_is_cut_off_ends_with_a_reset(engine: Engine) {
    let path = Path::of(settings(engine).handshake(crate::tunnel::handshake()));
    let trusted = crate::tunnel::client();
    let tls = rustls::ClientConnection::new(trusted.config().clone(), trusted.name().clone()).unwrap();
    let mut client = rustls::StreamOwned::new(tls, path.client().0);
    client.write_all(b"question").unwrap();
    let mut target = patiently(path.target.accept().unwrap().0);
    target.expect("question");
    // A FIN without a close_notify.
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    let report = path.report();
    assert_eq!((report.ended, report.up), (Some((RelayEnd::Client, CloseReason::Truncated)), direction(8, false)));
}

/// Writes until nothing is taken for a while; returns how many bytes were.
fn flood(peer: &Peer) -> usize {
    peer.0.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    let block = vec![7; 64 * 1024];
    while let Ok(n) = (&peer.0).write(&block) {
        sent += n;
        assert!(sent < 64 << 20, "nothing stops the sender");
    }
    peer.0.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

fn an_end_that_takes_nothing_stops_the_other(engine: Engine) {
    let path = Path::new(engine);
    let (client, mut target) = path.pair();
    for peer in [&client, &target] {
        SockRef::from(&peer.0).set_recv_buffer_size(16 * 1024).unwrap();
        SockRef::from(&peer.0).set_send_buffer_size(16 * 1024).unwrap();
    }
    let sent = flood(&client);
    // Then all of it arrives, and the client goes on.
    let mut got = vec![0; sent];
    target.0.read_exact(&mut got).unwrap();
    assert!(got.iter().all(|byte| *byte == 7));
    let mut client = client;
    client.send("more");
    target.expect("more");
}

fn both_directions_move_at_once_and_nothing_changes(engine: Engine) {
    const BYTES: usize = 8 << 20;
    let path = Path::new(engine);
    let (client, target) = path.pair();
    let end = |peer: Peer, own: u64, others: u64| {
        let mut writer = peer.0.try_clone().unwrap();
        let writes = thread::spawn(move || {
            writer.write_all(&noise(own, BYTES)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        thread::spawn(move || {
            let mut peer = peer;
            assert!(peer.rest() == noise(others, BYTES), "bytes have changed");
            writes.join().unwrap();
        })
    };
    let ends = [end(client, 3, 4), end(target, 4, 3)];
    ends.into_iter().for_each(|end| end.join().unwrap());
    let whole = direction(BYTES as u64, true);
    let report = path.report();
    assert_eq!((report.up, report.down, report.ended), (whole, whole, None));
}

fn a_stuck_direction_leaves_the_other_alone(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, mut target) = path.pair();
    // The client takes nothing of what the target sends, and the target reads what the client does.
    flood(&target);
    for n in 0..100 {
        client.send(format!("line {n}\n"));
        target.expect(format!("line {n}\n"));
    }
}

fn an_urgent_byte_stays_in_the_stream(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, mut target) = path.pair();
    client.send("ab");
    SockRef::from(&client.0).send_out_of_band(b"U").unwrap();
    client.send("cd");
    target.expect("abUcd");
    SockRef::from(&target.0).send_out_of_band(b"V").unwrap();
    target.send("x");
    client.expect("Vx");
}

fn a_pair_without_a_byte_is_reset_after_the_idle_timeout(engine: Engine) {
    let path =
        Path::of(settings(engine).limits(Limits { idle_timeout: Some(Duration::from_millis(200)), ..patient() }));
    let (mut client, mut target) = path.pair();
    client.send("x");
    target.expect("x");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    let ended = path.report().ended.map(|(_, why)| why);
    assert_eq!(ended, Some(CloseReason::IdleTimeout));
}

fn a_drain_lets_a_pair_finish(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, mut target) = path.pair();
    client.send("question");
    target.expect("question");
    path.relay.drain(PATIENCE);
    client.send(" and more");
    client.finish();
    assert_eq!(target.rest(), b" and more");
    target.send("answer");
    target.finish();
    assert_eq!(client.rest(), b"answer");
    drop((client, target));
    assert_eq!(path.report().ended, None);
    path.relay.wait();
}

fn the_end_of_a_drain_resets_what_is_open(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, mut target) = path.pair();
    client.send("x");
    target.expect("x");
    path.relay.drain(Duration::from_millis(50));
    // Nothing waits, and yet neither end may take this for the other's FIN.
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.relay.wait();
}

fn many_pairs_leave_nothing_behind(engine: Engine) {
    let path = Path::new(engine);
    for round in 0..3 {
        let pairs: Vec<_> = (0..20).map(|_| path.pair()).collect();
        // A target that resets before the relay has seen it answer has no pair.
        (0..20).for_each(|_| assert!(matches!(path.seen(), Seen::Opened(_))));
        for (n, (mut client, mut target)) in pairs.into_iter().enumerate() {
            client.send("x");
            match n % 4 {
                0 => drop(client),
                1 => client.reset(),
                2 => target.reset(),
                _ => {
                    target.expect("x");
                    drop(target);
                }
            }
        }
        (0..20).for_each(|_| drop(path.report()));
        crate::harness::eventually(&format!("round {round}"), || path.relay.connections().iter().sum::<usize>() == 0);
    }
}

#[test]
fn the_threads_engine_cannot_relay() {
    let relay = Relay::new(settings(Engine::Threads)).map("127.0.0.1:0", target_at(([127, 0, 0, 1], 1).into()));
    assert!(matches!(relay.unwrap().start(), Err(Error::NoRelay)));
}
