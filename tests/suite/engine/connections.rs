//! What an engine must do, over real sockets. Every test runs on every engine.

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use resound::{Chargen, CloseReason, Cx, Echo, Endpoint, Engine, Limits, Reply, Service};

use crate::harness::{
    Event, PATIENCE, Peer, Running, eventually, longer, noise, on_each_engine, patient, replying, server, shown,
    uninterrupted,
};
use crate::not_tested::not_tested;

on_each_engine!(
    lines_are_bytes,
    a_half_closed_peer_gets_every_reply,
    bulk_comes_back_exactly,
    a_slow_reader_is_bounded_and_harms_no_other,
    a_line_without_end_is_refused_and_harms_no_other,
    a_flooder_starves_no_other,
    a_generator_starves_no_other,
    a_reset_in_the_middle_harms_no_other,
    a_peer_that_is_gone_before_accept_harms_no_other,
    a_thousand_connections_are_balanced,
    connections_beyond_the_cap_wait,
    a_peer_that_stops_reading_is_reset,
    an_idle_peer_is_closed_and_dripping_does_not_help,
    a_close_with_unread_input_loses_nothing,
    a_second_listener_waits_for_room_too,
    a_flood_of_small_lines_starves_no_other,
    early_clients_are_served_too,
    a_peer_that_talks_and_stops_reading_is_reset,
);

// What TLS would hide, or the way through it delay.
mod plainly {
    crate::harness::on_each_engine_plainly!(
        both_families_on_one_listener,
        a_unix_socket,
        counters_agree_with_the_peers,
        a_reader_that_is_slow_is_not_stalled,
    );
    use super::{
        a_reader_that_is_slow_is_not_stalled, a_unix_socket, both_families_on_one_listener,
        counters_agree_with_the_peers,
    };
}

fn lines_are_bytes(engine: Engine) {
    let server = replying(engine);
    let mut peer = server.connect();
    peer.send(b"Hello, server!\r\n\n\0\xff\xfe\n");
    peer.expect(b"Server received: Hello, server!\r\nServer received: \nServer received: \0\xff\xfe\n");
}

fn a_half_closed_peer_gets_every_reply(engine: Engine) {
    let server = replying(engine);
    let mut peer = server.connect();
    let lines: Vec<String> = (0..5000).map(|n| format!("line {n}\n")).collect();
    let mut writer = peer.0.try_clone().unwrap();
    let sent = lines.concat() + "the last, without newline";
    let sending = thread::spawn(move || {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let got = peer.rest();
    sending.join().unwrap();
    let want: String = lines.iter().map(|line| format!("Server received: {line}")).collect();
    assert!(got == (want + "Server received: the last, without newline").as_bytes(), "{}", shown(&got));
    assert_eq!(server.closed(), CloseReason::Finished);
}

fn bulk_comes_back_exactly(engine: Engine) {
    let server = Running::start(server(engine), |_| Echo);
    let mut peer = server.connect();
    let sent = noise(1, 16 << 20);
    let (mut writer, copy) = (peer.0.try_clone().unwrap(), sent.clone());
    let sending = thread::spawn(move || {
        // Odd sizes, so that reads and writes never line up.
        for piece in copy.chunks(65_521) {
            writer.write_all(piece).unwrap();
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let got = peer.rest();
    sending.join().unwrap();
    assert!(got == sent, "{} bytes came back of {}", got.len(), sent.len());
}

/// Sends until the server takes no more; the number of bytes it took.
fn fill(peer: &mut Peer, piece: &[u8]) -> usize {
    peer.0.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    loop {
        match uninterrupted(|| peer.0.write(&piece[sent % piece.len()..])) {
            Ok(n) => sent += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 256 << 20, "the server reads on and on");
    }
    peer.0.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

fn a_slow_reader_is_bounded_and_harms_no_other(engine: Engine) {
    let limits = Limits { high_water: 64 * 1024, ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Reply::default());
    let mut slow = server.connect();
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let reply = (17 + line.len()) as u64;
    let sent = fill(&mut slow, &line.repeat(40));
    let totals = server.handle.totals();
    let unsent = (totals.messages * reply).saturating_sub(totals.bytes_out);
    assert!(unsent <= 2 * (64 * 1024 + reply), "{unsent} bytes of answers wait in the server");
    // Meanwhile, all other peers are served.
    for _ in 0..20 {
        server.connect().ask("hello");
    }
    let (mut writer, last) = (slow.0.try_clone().unwrap(), line[sent % line.len()..].to_vec());
    let finishing = thread::spawn(move || {
        writer.write_all(&last).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let got = slow.rest();
    finishing.join().unwrap();
    assert_eq!(got.len(), (sent / line.len() + 1) * reply as usize);
    let answer = [b"Server received: ", line.as_slice()].concat();
    assert!(got.chunks(answer.len()).all(|got| got == answer));
}

fn a_line_without_end_is_refused_and_harms_no_other(engine: Engine) {
    let server = replying(engine);
    let mut other = server.connect();
    other.ask("before");
    let mut bomb = server.connect();
    let mut writer = bomb.0.try_clone().unwrap();
    // It may be cut off in the middle of it; only the error text counts.
    let sending = thread::spawn(move || drop(writer.write_all(&vec![b'x'; 4 << 20])));
    bomb.expect("Error: line longer than 65536 bytes\n");
    sending.join().unwrap();
    drop(bomb);
    assert_eq!(server.closed(), CloseReason::LineTooLong);
    other.ask("after");
}

fn a_flooder_starves_no_other(engine: Engine) {
    let server = Running::start(server(engine).workers(NonZeroUsize::MIN), |conn| -> Box<dyn Service> {
        if conn.id.0 == 1 { Box::new(Echo) } else { Box::new(Reply::default()) }
    });
    let flooder = server.connect();
    eventually("the flooder is the first", || server.handle.totals().opened == 1);
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (mut writer, mut reader) = (flooder.0.try_clone().unwrap(), flooder.0.try_clone().unwrap());
    let stopped = std::sync::Arc::clone(&stop);
    let writing = thread::spawn(move || {
        let piece = vec![b'f'; 256 * 1024];
        while !stopped.load(SeqCst) && writer.write_all(&piece).is_ok() {}
    });
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    let mut clients: Vec<Peer> = (0..100).map(|_| server.connect()).collect();
    for round in 0..10 {
        for client in &mut clients {
            client.ask(&format!("round {round}"));
        }
    }
    stop.store(true, SeqCst);
    flooder.reset();
    writing.join().unwrap();
    drop(server);
    reading.join().unwrap();
}

fn a_generator_starves_no_other(engine: Engine) {
    let server = Running::start(server(engine).workers(NonZeroUsize::MIN), |conn| -> Box<dyn Service> {
        if conn.id.0 == 1 { Box::new(Chargen) } else { Box::new(Reply::default()) }
    });
    let greedy = server.connect();
    eventually("the greedy one is the first", || server.handle.totals().opened == 1);
    let mut reader = greedy.0.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    let mut client = server.connect();
    for round in 0..50 {
        client.ask(&format!("round {round}"));
    }
    server.handle.stop();
    reading.join().unwrap();
}

fn a_reset_in_the_middle_harms_no_other(engine: Engine) {
    let server = Running::start(server(engine), |conn| -> Box<dyn Service> {
        if conn.id.0 == 1 { Box::new(Chargen) } else { Box::new(Reply::default()) }
    });
    let mut peer = server.connect();
    peer.read(100_000);
    peer.reset();
    // A reset that a send has reported already is an end without close_notify to the receive after
    // it.
    let reason = server.closed();
    assert!(reason == CloseReason::Reset || server.secure && reason == CloseReason::Truncated, "{reason}");
    server.connect().ask("still there");
}

fn a_peer_that_is_gone_before_accept_harms_no_other(engine: Engine) {
    let server = Running::start(server(engine).max_connections(1), |_| Reply::default());
    let mut first = server.connect();
    first.ask("first");
    // These wait in the backlog, and are gone when their turn comes.
    for _ in 0..10 {
        server.connect().reset();
    }
    let mut last = server.connect();
    drop(first);
    last.ask("last");
}

fn a_thousand_connections_are_balanced(engine: Engine) {
    // One test at a time, or there are more connections than descriptors.
    static MANY: Mutex<()> = Mutex::new(());
    let _alone = MANY.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = 4;
    let server = Running::start(server(engine).workers(NonZeroUsize::new(workers).unwrap()), |_| Reply::default());
    let mut peers: Vec<Peer> = Vec::new();
    // A hundred at a time, or the last handshake would wait for all the others.
    for hundred in 0..10 {
        peers.extend((0..100).map(|_| server.connect()));
        let theirs = || (hundred * 100..).take(100);
        for (n, peer) in theirs().zip(&mut peers[hundred * 100..]) {
            peer.send(format!("{n}\n"));
        }
        for (n, peer) in theirs().zip(&mut peers[hundred * 100..]) {
            peer.expect(format!("Server received: {n}\n"));
        }
    }
    let shares = server.handle.connections();
    assert_eq!(shares.iter().sum::<usize>(), 1000);
    let mean = 1000.0 / shares.len() as f64;
    assert!(shares.iter().all(|&share| share as f64 <= 1.2 * mean), "{shares:?}");
    if engine != Engine::Threads {
        assert_eq!(shares.len(), workers);
    }
    drop(peers);
    let totals = server.drain();
    assert_eq!((totals.opened, totals.messages, totals.closed_in_all()), (1000, 1000, 1000));
}

fn connections_beyond_the_cap_wait(engine: Engine) {
    let server = Running::start(server(engine).max_connections(2), |_| Reply::default());
    let (mut one, mut two) = (server.connect(), server.connect());
    one.ask("one");
    two.ask("two");
    let mut three = server.connect();
    three.send("three\n");
    one.ask("one again");
    assert_eq!(server.handle.totals().opened, 2);
    drop(one);
    three.expect("Server received: three\n");
    two.ask("two again");
}

fn a_peer_that_stops_reading_is_reset(engine: Engine) {
    let limits = Limits { write_timeout: Some(Duration::from_millis(200)), ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Chargen);
    let peer = server.connect();
    assert_eq!(server.closed(), CloseReason::WriteTimeout);
    drop(peer);
}

fn a_peer_that_talks_and_stops_reading_is_reset(engine: Engine) {
    let limits = Limits { write_timeout: Some(Duration::from_millis(200)), ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Chargen);
    let peer = server.connect();
    let mut writer = peer.0.try_clone().unwrap();
    let talking = thread::spawn(move || while writer.write_all(b"still here\n").is_ok() {});
    assert_eq!(server.closed(), CloseReason::WriteTimeout);
    drop(peer);
    talking.join().unwrap();
}

fn a_reader_that_is_slow_is_not_stalled(engine: Engine) {
    // The system has room for more only long after the peer has made some: until then nothing but
    // the peer's own progress shows that it reads. With a small buffer it can be seen soon.
    longer(Duration::from_secs(1), |limit| reads_slowly(engine, limit));
}

/// Unless this machine kept the reader from reading for about that time.
fn reads_slowly(engine: Engine, limit: Duration) -> Option<()> {
    let limits = Limits { write_timeout: Some(limit), ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Chargen);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut peer = std::net::TcpStream::from(socket);
    // Its clock is a read that nothing answers.
    let clock = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    clock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (start, mut last, mut pause) = (Instant::now(), Instant::now(), Duration::ZERO);
    while start.elapsed() < 4 * limit {
        assert!(clock.recv(&mut [0]).is_err());
        let read = peer.read_exact(&mut [0; 8 * 1024]);
        pause = pause.max(last.elapsed());
        last = Instant::now();
        // The peer's system tells of room by several reads at a time.
        if pause > limit / 8 && read.is_err() {
            return None;
        }
        read.expect("it is slow, and not stalled");
    }
    let reading = thread::spawn(move || while peer.read(&mut [0; 65_536]).is_ok_and(|n| n > 0) {});
    server.handle.stop();
    assert_eq!(server.closed(), CloseReason::Cut);
    reading.join().unwrap();
    Some(())
}

fn an_idle_peer_is_closed_and_dripping_does_not_help(engine: Engine) {
    let limits = Limits { idle_timeout: Some(Duration::from_millis(300)), ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Reply::default());
    let mut idle = server.connect();
    assert!(idle.rest().is_empty());
    assert_eq!(server.closed(), CloseReason::IdleTimeout);

    let mut dripping = server.connect();
    dripping.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        // Once the server has closed, this or the read fails.
        let _ = dripping.0.write(b"x");
        match dripping.0.read(&mut [0; 64]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        assert!(Instant::now() < until, "dripping kept the connection");
    }
    assert_eq!(server.closed(), CloseReason::IdleTimeout);
}

fn a_close_with_unread_input_loses_nothing(engine: Engine) {
    /// Answers the first bytes at length, and closes.
    struct Curt;
    impl Service for Curt {
        fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
            cx.send(&noise(7, 1 << 20));
            cx.close();
        }
    }
    for _ in 0..10 {
        let server = Running::start(server(engine), |_| Curt);
        let mut peer = server.connect();
        let mut writer = peer.0.try_clone().unwrap();
        // The peer goes on sending, and the server does not read: were the descriptor closed now, a
        // reset would overtake the answer.
        let talking = thread::spawn(move || drop(writer.write_all(&vec![b'x'; 200_000])));
        let got = peer.rest();
        assert!(got == noise(7, 1 << 20), "{} bytes", got.len());
        talking.join().unwrap();
        drop(peer);
        assert_eq!(server.closed(), CloseReason::ServiceClosed);
    }
}

fn a_second_listener_waits_for_room_too(engine: Engine) {
    let server = server(engine).max_connections(1).listen("127.0.0.1:0").unwrap().listen("127.0.0.1:0").unwrap();
    let server = Running::start_on(server, |_| Reply::default());
    let addresses: Vec<_> =
        server.handle.addresses().iter().map(|address| address.to_string().parse().unwrap()).collect();
    for round in 0..10 {
        let mut first = Peer::connect(addresses[round % 2]);
        first.ask("first");
        let mut second = Peer::connect(addresses[(round + 1) % 2]);
        second.send("second\n");
        first.ask("still alone");
        drop(first);
        second.expect("Server received: second\n");
    }
}

fn a_flood_of_small_lines_starves_no_other(engine: Engine) {
    let server = Running::start(server(engine).workers(NonZeroUsize::MIN), |_| Reply::default());
    let flooder = server.connect();
    let (mut writer, mut reader) = (flooder.0.try_clone().unwrap(), flooder.0.try_clone().unwrap());
    let writing = thread::spawn(move || while writer.write_all(&[b'\n'; 65_536]).is_ok() {});
    let reading = thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|n| n > 0) {});
    let mut client = server.connect();
    let start = Instant::now();
    for _ in 0..20 {
        client.ask("hello");
    }
    assert!(start.elapsed() < PATIENCE, "20 round trips took {:?}", start.elapsed());
    flooder.0.shutdown(std::net::Shutdown::Both).unwrap();
    writing.join().unwrap();
    reading.join().unwrap();
}

fn early_clients_are_served_too(engine: Engine) {
    let server = server(engine).listen("127.0.0.1:0").unwrap();
    // No worker serves yet: this one waits in the backlog.
    let listener =
        resound::server::Listener::bind(&"127.0.0.1:0".parse().unwrap(), resound::Family::Any).unwrap().remove(0);
    let Endpoint::Tcp(address) = *listener.address() else { panic!("TCP was asked for") };
    let mut early = Peer::connect(address);
    early.send("early\n");
    let server = Running::start_on(server.listener(listener), |_| Reply::default());
    early.expect("Server received: early\n");
    drop(server);
}

fn both_families_on_one_listener(engine: Engine) {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return not_tested("both families on one listener", "no IPv6");
    }
    let server = Running::start_on(server(engine).listen("[::]:0").unwrap(), |_| Reply::default());
    let port = server.address().port();
    for (host, shown) in [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")] {
        let mut peer = Peer::connect((host.parse::<std::net::IpAddr>().unwrap(), port).into());
        peer.ask("hello");
        let local = peer.0.local_addr().unwrap();
        loop {
            if let Event::Opened(_, endpoint) = server.event() {
                assert_eq!(endpoint, Endpoint::Tcp(local));
                assert!(endpoint.to_string().starts_with(shown), "{endpoint}");
                break;
            }
        }
    }
}

fn a_unix_socket(engine: Engine) {
    #[cfg(not(unix))]
    not_tested(&format!("unix sockets, {engine:?}"), "this system has none");
    #[cfg(unix)]
    {
        use std::os::unix::net::UnixStream;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let address = format!("unix:{}", path.display());
        for _ in 0..2 {
            let server = Running::start_on(server(engine).listen(&address).unwrap(), |_| Reply::default());
            let mut peer = UnixStream::connect(&path).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(b"a\nb").unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let mut got = String::new();
            peer.read_to_string(&mut got).unwrap();
            assert_eq!(got, "Server received: a\nServer received: b");
            assert_eq!(server.closed(), CloseReason::Finished);
            server.drain();
            assert!(!path.exists(), "the file goes with its server");
        }
    }
}

fn counters_agree_with_the_peers(engine: Engine) {
    let server = replying(engine);
    for n in 0..10 {
        let mut peer = server.connect();
        for _ in 0..n {
            peer.ask("12345");
        }
        peer.finish();
        assert!(peer.rest().is_empty());
    }
    let totals = server.drain();
    assert_eq!((totals.opened, totals.messages, totals.bytes_in, totals.bytes_out), (10, 45, 45 * 6, 45 * 23));
    assert_eq!(totals.closed(CloseReason::Finished), 10);
    assert_eq!(totals.live(), 0);
}
