//! How a server ends, on every engine.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use resound::{Chargen, CloseReason, Cx, Engine, Framing, Limits, Reply, Service};

use crate::harness::{Event, PATIENCE, Peer, Running, block_on, eventually, on_each_engine, patient, replying, server};

on_each_engine!(
    a_drain_under_load_loses_no_answer,
    a_drain_closes_idle_connections_at_once,
    a_drain_cuts_what_is_left_at_its_deadline,
    a_stop_cuts_connections_that_would_go_on,
    dropping_the_handle_stops_the_server,
    a_restart_on_the_same_port_succeeds,
    a_stop_ends_a_drain,
    a_server_whose_supervisor_leaves_stops,
    a_server_that_is_stopped_before_it_listens_ends,
    a_supervisors_panic_is_the_callers,
);

// What TLS would hide, or the way through it delay.
mod plainly {
    crate::harness::on_each_engine_plainly!(
        a_server_runs_on_the_callers_thread,
        a_drain_answers_what_had_to_wait,
        a_drain_serves_the_backlog,
        a_drain_serves_what_waits_for_a_place,
        a_drain_cuts_and_counts_what_has_found_no_place,
        loops_turn_while_clients_wait_in_a_drain,
        a_drain_answers_a_last_line_whose_end_had_come,
        what_a_stop_leaves_without_an_answer_is_counted,
    );
    use super::{
        a_drain_answers_a_last_line_whose_end_had_come, a_drain_answers_what_had_to_wait,
        a_drain_cuts_and_counts_what_has_found_no_place, a_drain_serves_the_backlog,
        a_drain_serves_what_waits_for_a_place, a_server_runs_on_the_callers_thread,
        loops_turn_while_clients_wait_in_a_drain, what_a_stop_leaves_without_an_answer_is_counted,
    };
}

/// Echoes, and takes no notice of a drain.
struct Stubborn;

impl Service for Stubborn {
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
    }
    fn drain(&mut self, _: &mut Cx<'_>) {}
}

fn a_drain_under_load_loses_no_answer(engine: Engine) {
    let server = replying(engine);
    let (warm, warmed) = mpsc::channel();
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let (mut peer, warm) = (server.connect(), warm.clone());
            thread::spawn(move || {
                let mut answers = 0_u64;
                loop {
                    let line = format!("client {n} line {answers}\n");
                    if peer.0.write_all(line.as_bytes()).is_err() {
                        return answers;
                    }
                    let mut answer = vec![0; 17 + line.len()];
                    let mut got = 0;
                    while got < answer.len() {
                        match peer.0.read(&mut answer[got..]) {
                            Ok(n) if n > 0 => got += n,
                            // The server's end comes between answers, never within one.
                            _ => {
                                assert_eq!(got, 0, "half an answer");
                                return answers;
                            }
                        }
                    }
                    assert_eq!(answer, format!("Server received: {line}").as_bytes());
                    answers += 1;
                    if answers == 50 {
                        warm.send(()).unwrap();
                    }
                }
            })
        })
        .collect();
    for _ in 0..clients.len() {
        warmed.recv_timeout(PATIENCE).unwrap();
    }
    let totals = server.drain();
    let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(totals.messages, answers, "every message that was received was answered, and the answer arrived");
    assert_eq!(totals.closed(CloseReason::Cut), 0);
}

fn a_drain_closes_idle_connections_at_once(engine: Engine) {
    let limits = Limits { linger: Duration::ZERO, ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Reply::default());
    let mut idle: Vec<Peer> = (0..10).map(|_| server.connect()).collect();
    idle.iter_mut().for_each(|peer| peer.ask("once"));
    let start = Instant::now();
    let totals = server.drain();
    assert!(start.elapsed() < PATIENCE / 2, "it did not wait for the deadline");
    assert_eq!(totals.closed(CloseReason::Drained), 10);
    assert!(idle.iter_mut().all(|peer| peer.rest().is_empty()), "each got its FIN");
}

fn a_drain_answers_what_had_to_wait(engine: Engine) {
    // One answer at a time may be on its way, so nearly all lines wait when the drain comes.
    let limits = Limits { high_water: 1, ..patient() };
    let server = Running::start(server(engine).limits(limits), |_| Reply::default());
    let mut peer = server.connect();
    let lines = 10_000;
    peer.send("line\n".repeat(lines));
    assert!(matches!(server.event(), Event::Opened(..)));
    // What is still on its way when the drain comes was not received.
    peer.until_acknowledged();
    server.handle.drain(PATIENCE);
    let got = peer.rest();
    assert_eq!(got.len(), lines * "Server received: line\n".len());
    assert!(got.chunks(22).all(|line| line == b"Server received: line\n"));
    drop(peer);
    assert_eq!(server.wait().messages, lines as u64);
}

fn a_drain_serves_the_backlog(engine: Engine) {
    // Some of these are accepted when the drain comes, and the others are not yet; which ones is
    // unknown.
    for _ in 0..5 {
        let server = replying(engine);
        let mut peers: Vec<Peer> = (0..50).map(|_| server.connect()).collect();
        for peer in &mut peers {
            peer.send("line\n");
        }
        server.handle.drain(PATIENCE);
        for peer in &mut peers {
            assert_eq!(peer.rest(), b"Server received: line\n");
        }
        drop(peers);
        assert_eq!(server.wait().messages, 50);
    }
}

fn a_drain_serves_what_waits_for_a_place(engine: Engine) {
    let limits = Limits { linger: Duration::ZERO, ..patient() };
    let server = Running::start(server(engine).limits(limits).max_connections(1), |_| Reply::default());
    let mut first = server.connect();
    first.ask("has the place");
    let mut waiting: Vec<Peer> = (0..20).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|peer| peer.send("waits\n"));
    server.handle.drain(PATIENCE);
    assert!(first.rest().is_empty());
    for peer in &mut waiting {
        assert_eq!(peer.rest(), b"Server received: waits\n");
    }
    let totals = server.wait();
    assert_eq!((totals.opened, totals.messages, totals.closed(CloseReason::Drained)), (21, 21, 21));
}

fn a_drain_cuts_and_counts_what_has_found_no_place(engine: Engine) {
    let server = Running::start(server(engine).max_connections(1), |_| Stubborn);
    let mut first = server.connect();
    first.send("x");
    first.expect("x");
    let mut waiting: Vec<Peer> = (0..5).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|peer| peer.send("x"));
    server.handle.drain(Duration::from_millis(50));
    let totals = server.wait();
    assert_eq!((totals.opened, totals.unopened, totals.closed(CloseReason::Cut)), (1, 5, 6));
    for peer in &mut waiting {
        assert!(peer.0.read_to_end(&mut Vec::new()).is_err(), "it is reset, and sees no FIN");
    }
}

fn loops_turn_while_clients_wait_in_a_drain(engine: Engine) {
    let server = Running::start(server(engine).max_connections(1), |_| Stubborn);
    let mut first = server.connect();
    first.send("x");
    first.expect("x");
    let _waiting = server.connect();
    server.handle.drain(PATIENCE);
    for _ in 0..3 {
        block_on(server.handle.heartbeat());
    }
    server.handle.stop();
    assert_eq!(server.wait().closed(CloseReason::Cut), 2);
}

fn a_drain_cuts_what_is_left_at_its_deadline(engine: Engine) {
    let server = Running::start(server(engine), |_| Stubborn);
    let mut peer = server.connect();
    peer.send("x");
    peer.expect("x");
    server.handle.drain(Duration::from_millis(50));
    let totals = server.wait();
    assert_eq!(totals.closed(CloseReason::Cut), 1);
    assert_eq!(server.closed(), CloseReason::Cut);
    let mut rest = Vec::new();
    assert!(peer.0.read_to_end(&mut rest).is_err() || rest.is_empty());
}

/// Answers each line with more than its connection can hold at once.
struct Generous;

/// Its answers are of one size, so that their number follows from their bytes.
const GENEROUS: usize = 256 * 1024;

impl Service for Generous {
    fn framing(&self) -> Framing {
        Framing::line()
    }
    fn data(&mut self, _: &[u8], cx: &mut Cx<'_>) {
        cx.send(&[b'x'; GENEROUS]);
    }
}

fn what_a_stop_leaves_without_an_answer_is_counted(engine: Engine) {
    let server = Running::start(server(engine), |_| Generous);
    // A peer that has soon taken all that it has room for.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut peer = Peer(socket.into());
    let lines = 200;
    peer.send("line\n".repeat(lines));
    peer.until_acknowledged();
    eventually("more is sent than it takes", || server.handle.totals().bytes_out > 16 * 1024);
    server.handle.stop();
    let totals = server.wait();
    let mut answers = Vec::new();
    let _ = peer.0.read_to_end(&mut answers);
    let answered = (answers.len() / GENEROUS) as u64;
    assert_eq!(totals.unanswered + answered, lines as u64, "{totals:?}");
    assert_eq!(totals.closed(CloseReason::Cut), 1);
}

fn a_stop_cuts_connections_that_would_go_on(engine: Engine) {
    let server = Running::start(server(engine), |_| Chargen);
    let peers: Vec<Peer> = (0..5).map(|_| server.connect()).collect();
    for _ in 0..5 {
        server.opened();
    }
    server.handle.stop();
    assert_eq!(server.wait().closed(CloseReason::Cut), 5);
    drop(peers);
}

fn dropping_the_handle_stops_the_server(engine: Engine) {
    let server = replying(engine);
    let mut peer = server.connect();
    peer.ask("hello");
    let events = {
        let Running { handle, events, .. } = server;
        drop(handle);
        events
    };
    loop {
        match events.recv_timeout(PATIENCE).expect("it ends") {
            Event::Closed(_, reason) => break assert_eq!(reason, CloseReason::Cut),
            _ => continue,
        }
    }
}

fn a_restart_on_the_same_port_succeeds(engine: Engine) {
    let mut address = "127.0.0.1:0".to_string();
    for _ in 0..5 {
        let limits = Limits { linger: Duration::from_millis(10), ..patient() };
        let server = server(engine).limits(limits).listen(&address).unwrap();
        let server = Running::start_on(server, |_| Reply::default());
        address = server.address().to_string();
        // The server closes first, so its end of these stays in TIME_WAIT.
        let mut peers: Vec<Peer> = (0..5).map(|_| server.connect()).collect();
        peers.iter_mut().for_each(|peer| peer.ask("hello"));
        server.drain();
    }
}

fn a_drain_answers_a_last_line_whose_end_had_come(engine: Engine) {
    for _ in 0..5 {
        let server = Running::start(server(engine).workers(NonZeroUsize::MIN), |_| Reply::default());
        let mut peers: Vec<Peer> = (0..20).map(|_| server.connect()).collect();
        for peer in &mut peers {
            peer.send("no newline");
            peer.finish();
        }
        server.handle.drain(PATIENCE);
        for peer in &mut peers {
            assert_eq!(peer.rest(), b"Server received: no newline");
        }
        server.wait();
    }
}

fn a_stop_ends_a_drain(engine: Engine) {
    let server = Running::start(server(engine), |_| Stubborn);
    // One on each worker; the first worker is soon without any.
    let (mut first, mut second) = (server.connect(), server.connect());
    for peer in [&mut first, &mut second] {
        peer.send("x");
        peer.expect("x");
    }
    server.handle.drain(PATIENCE * 10);
    drop(first);
    assert!(server.closed().is_orderly());
    server.handle.stop();
    assert_eq!(server.wait().closed(CloseReason::Cut), 1);
}

fn a_server_runs_on_the_callers_thread(engine: Engine) {
    for workers in [1, 3] {
        let (announce, announced) = mpsc::channel();
        let server = server(engine).workers(NonZeroUsize::new(workers).unwrap()).listen("127.0.0.1:0").unwrap();
        let serving = thread::spawn(move || {
            let supervise = async move |handle: resound::Handle| {
                let (drain, drained) = tokio::sync::oneshot::channel::<()>();
                announce.send((handle.addresses()[0].to_string(), drain)).unwrap();
                drained.await.unwrap();
                handle.drain(PATIENCE);
                // It stays for a second word.
                std::future::pending::<()>().await;
            };
            server.run(|_| Reply::default(), supervise).unwrap()
        });
        let (address, drain) = announced.recv_timeout(PATIENCE).unwrap();
        let mut peers: Vec<Peer> = (0..6).map(|_| Peer::connect(address.parse().unwrap())).collect();
        for peer in &mut peers {
            peer.ask("hello");
            peer.send("and one more\n");
        }
        drain.send(()).unwrap();
        for peer in &mut peers {
            assert_eq!(peer.rest(), b"Server received: and one more\n");
        }
        drop(peers);
        let totals = serving.join().unwrap();
        assert_eq!((totals.opened, totals.messages, totals.closed_in_all()), (6, 12, 6));
    }
}

fn a_server_whose_supervisor_leaves_stops(engine: Engine) {
    let server = server(engine).listen("127.0.0.1:0").unwrap();
    let totals = server.run(|_| Reply::default(), |handle| async move { drop(handle) }).unwrap();
    assert_eq!(totals.opened, 0);
}

fn a_server_that_is_stopped_before_it_listens_ends(engine: Engine) {
    for _ in 0..20 {
        let server = server(engine).listen("127.0.0.1:0").unwrap();
        // The handle is gone before the server has begun.
        let totals = server.run(|_| Reply::default(), |_handle| async {}).unwrap();
        assert_eq!(totals.opened, 0);
    }
}

fn a_supervisors_panic_is_the_callers(engine: Engine) {
    let server = server(engine).listen("127.0.0.1:0").unwrap();
    let run = || server.run(|_| Reply::default(), |_handle| async { panic!("as the test wants it") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
}

/// A part of a server that serves, and a part that does not, would be worse than none.
#[cfg(target_os = "linux")]
#[test]
fn a_server_ends_when_one_of_its_rings_fails() {
    crate::harness::on_uring(
        resound::RingFaultConfig { calls: Some(30), ..resound::RingFaultConfig::NONE },
        |engine| {
            let server = replying(engine);
            // Each connection costs its worker a few calls.
            let busy = || {
                let mut peer = Peer(std::net::TcpStream::connect(server.address()).ok()?);
                peer.0.write_all(b"hello\n").ok()?;
                peer.0.read(&mut [0; 64]).ok()
            };
            let limit = Instant::now() + PATIENCE;
            while !server.handle.is_finished() {
                assert!(Instant::now() < limit, "it goes on");
                busy();
            }
            server.wait();
        },
    );
}
