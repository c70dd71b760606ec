//! Faults of accepting.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::{Engine, Error};

use super::super::{Seen, address, error_of_next_read, patiently};
use super::{Path, is_silent, takes, tests_of_faults};
use crate::harness::{PATIENCE, noise};

tests_of_faults!(
    Refuse => refuse_refuses_each_client,
    NeverAccept => never_accept_lets_clients_time_out,
    AcceptThenClose => accept_then_close_is_a_fin,
    AcceptThenReset => accept_then_reset_is_a_rst,
    AcceptLate => accept_late_keeps_a_client_waiting,
    AcceptLiar => accept_liar_takes_everything_and_never_dials,
    Cap => cap_resets_clients_beyond_it,
    ConnectRate => connect_rate_lets_clients_wait_for_their_turn;
    a_late_client_is_reset_in_time,
    a_target_that_refuses_is_a_reset_as_ever,
);

/// Nothing has reached the target.
fn target_saw_nothing(path: &Path) {
    path.target.set_nonblocking(true).unwrap();
    assert_eq!(path.target.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    path.target.set_nonblocking(false).unwrap();
}

/// The end of the next pair is one for which no target was dialled.
fn was_not_dialled(path: &Path) {
    assert_eq!(path.report().target, None);
    target_saw_nothing(path);
    path.works_for_another();
}

fn refuse_refuses_each_client(engine: Engine) {
    let path = Path::faulted(engine, "refuse");
    for _ in 0..3 {
        assert_eq!(TcpStream::connect(address(&path.relay)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    target_saw_nothing(&path);
    path.injects(&[]);
    let refused = path.faults.set("delay=1ms".parse().unwrap(), 1);
    assert!(matches!(refused, Err(Error::ListenerFaults)), "{refused:?}");
    path.relay.drain(PATIENCE);
    path.relay.wait();
}

fn never_accept_lets_clients_time_out(engine: Engine) {
    let path = Path::faulted(engine, "never-accept");
    let at = address(&path.relay);
    for _ in 0..2 {
        let error = TcpStream::connect_timeout(&at, Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    target_saw_nothing(&path);
    path.injects(&[]);
    path.relay.drain(PATIENCE);
    path.relay.wait();
}

fn accept_then_close_is_a_fin(engine: Engine) {
    let path = Path::faulted(engine, "1: accept-then-close");
    let mut client = path.client();
    client.send("question");
    assert_eq!(client.rest(), b"");
    client.finish();
    path.injects(&[(1, None, 0, FaultKind::AcceptThenClose)]);
    was_not_dialled(&path);
}

fn accept_then_reset_is_a_rst(engine: Engine) {
    let path = Path::faulted(engine, "1: accept-then-reset");
    let mut client = path.client();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    path.injects(&[(1, None, 0, FaultKind::AcceptThenReset)]);
    was_not_dialled(&path);
}

fn accept_late_keeps_a_client_waiting(engine: Engine) {
    let path = Path::faulted(engine, "accept-late=300ms; up: corrupt @3B; idle-reset=40s");
    let since = Instant::now();
    let mut client = path.client();
    client.send("abc");
    let mut target = patiently(path.target.accept().unwrap().0);
    takes(Duration::from_millis(300), since);
    target.expect("abc");
    target.send("answer");
    client.expect("answer");
    client.finish();
    assert_eq!(target.rest(), b"");
    path.injects(&[(1, None, 0, FaultKind::AcceptLate)]);
}

fn a_late_client_is_reset_in_time(engine: Engine) {
    let path = Path::faulted(engine, "accept-late=1h; reset @100ms");
    let mut client = path.client();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    path.injects(&[(1, None, 0, FaultKind::AcceptLate), (1, None, 0, FaultKind::Reset)]);
    assert_eq!(path.report().target, None);
    target_saw_nothing(&path);
}

fn a_target_that_refuses_is_a_reset_as_ever(engine: Engine) {
    let Path { relay, target, seen, injected, .. } = Path::faulted(engine, "delay=10ms; eat-fin");
    drop(target);
    let mut client = patiently(TcpStream::connect(address(&relay)).unwrap());
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert!(matches!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Failed(error) if error.contains("refused")));
    assert_eq!(injected.recv_timeout(PATIENCE).unwrap().kind, FaultKind::Delay);
    relay.drain(PATIENCE);
    relay.wait();
    assert!(seen.try_recv().is_err(), "nothing else happens");
}

fn accept_liar_takes_everything_and_never_dials(engine: Engine) {
    let path = Path::faulted(engine, "1: accept-liar");
    let mut client = path.client();
    client.send(noise(1, 4_000_000));
    path.injects(&[(1, None, 0, FaultKind::AcceptLiar)]);
    target_saw_nothing(&path);
    path.works_for_another();
    is_silent(&mut client);
    client.finish();
    assert_eq!(client.rest(), b"");
}

fn cap_resets_clients_beyond_it(engine: Engine) {
    let path = Path::faulted(engine, "cap=2");
    let (mut first, mut first_target) = path.pair();
    let (mut second, mut second_target) = path.pair();
    let mut third = path.client();
    assert_eq!(error_of_next_read(&mut third), ErrorKind::ConnectionReset);
    path.injects(&[(3, None, 0, FaultKind::Cap)]);
    assert_eq!(path.report().target, None);
    first.finish();
    assert_eq!(first_target.rest(), b"");
    first_target.finish();
    assert_eq!(first.rest(), b"");
    assert_eq!(path.report().ended, None);
    path.works_for_another();
    second.send("still");
    second_target.expect("still");
}

fn connect_rate_lets_clients_wait_for_their_turn(engine: Engine) {
    let path = Path::faulted(engine, "connect-rate=10/s");
    let since = Instant::now();
    let mut clients: Vec<_> = (0..5).map(|_| path.client()).collect();
    clients.iter_mut().for_each(|client| client.send("x"));
    for _ in 0..5 {
        patiently(path.target.accept().unwrap().0).expect("x");
    }
    takes(Duration::from_millis(400), since);
    let mut late: Vec<_> = (0..4).map(|_| path.injected.recv_timeout(PATIENCE).unwrap()).collect();
    late.sort_by_key(|event| event.connection);
    assert!(late.iter().all(|event| event.kind == FaultKind::ConnectRate && event.direction.is_none()), "{late:?}");
    assert!(late.windows(2).all(|pair| pair[0].connection < pair[1].connection), "{late:?}");
    path.injects(&[]);
}
