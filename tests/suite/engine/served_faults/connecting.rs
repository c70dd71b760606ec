//! Faults of accepting.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::{CloseReason, Engine, Error};

use super::{Faulted, error_of_next_read, takes, tests_of_served_faults};
use crate::harness::PATIENCE;

tests_of_served_faults!(
    Refuse => refuse_refuses_each_client,
    NeverAccept => never_accept_lets_clients_time_out,
    AcceptThenClose => accept_then_close_is_a_fin,
    AcceptThenReset => accept_then_reset_is_a_rst,
    AcceptLate => accept_late_keeps_a_client_waiting,
    Cap => cap_resets_clients_beyond_it,
    ConnectRate => connect_rate_lets_clients_wait_for_their_turn;
    nothing_else_happens_to_a_client_beyond_the_cap,
);

/// The server ends all the same.
fn ends(faulted: &Faulted) {
    faulted.injects(&[]);
    assert_eq!(faulted.running.drain().opened, 0);
}

fn refuse_refuses_each_client(engine: Engine) {
    let faulted = Faulted::replying(engine, "refuse");
    for _ in 0..3 {
        let error = TcpStream::connect(faulted.running.address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let refused = faulted.faults.set("delay=1ms".parse().unwrap(), 1);
    assert!(matches!(refused, Err(Error::ListenerFaults)), "{refused:?}");
    ends(&faulted);
}

fn never_accept_lets_clients_time_out(engine: Engine) {
    let faulted = Faulted::replying(engine, "never-accept");
    for _ in 0..2 {
        let error = TcpStream::connect_timeout(&faulted.running.address(), Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    ends(&faulted);
}

fn accept_then_close_is_a_fin(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: accept-then-close");
    let mut client = faulted.connect();
    assert_eq!(client.rest(), b"");
    client.finish();
    faulted.injects(&[(1, None, 0, FaultKind::AcceptThenClose)]);
    assert_eq!(faulted.running.closed(), CloseReason::ServiceClosed);
    faulted.works_for_another();
}

fn accept_then_reset_is_a_rst(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: accept-then-reset");
    let mut client = faulted.connect();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    faulted.injects(&[(1, None, 0, FaultKind::AcceptThenReset)]);
    faulted.works_for_another();
}

fn accept_late_keeps_a_client_waiting(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: accept-late=300ms");
    let since = Instant::now();
    let mut client = faulted.connect();
    client.ask("one");
    takes(Duration::from_millis(300), since);
    faulted.injects(&[(1, None, 0, FaultKind::AcceptLate)]);
    faulted.works_for_another();
}

fn cap_resets_clients_beyond_it(engine: Engine) {
    let faulted = Faulted::replying(engine, "cap=2");
    let (mut first, mut second) = (faulted.connect(), faulted.connect());
    first.ask("one");
    second.ask("two");
    assert_eq!(error_of_next_read(&mut faulted.connect()), ErrorKind::ConnectionReset);
    faulted.injects(&[(3, None, 0, FaultKind::Cap)]);
    assert_eq!(faulted.running.closed(), CloseReason::Aborted);
    first.finish();
    assert_eq!(first.rest(), b"");
    assert_eq!(faulted.running.closed(), CloseReason::Finished);
    faulted.works_for_another();
    second.ask("still");
}

fn nothing_else_happens_to_a_client_beyond_the_cap(engine: Engine) {
    let faulted = Faulted::replying(engine, "2: accept-then-close; cap=1");
    let mut first = faulted.connect();
    first.ask("one");
    assert_eq!(error_of_next_read(&mut faulted.connect()), ErrorKind::ConnectionReset);
    assert_eq!(faulted.running.closed(), CloseReason::Aborted);
    faulted.injects(&[(2, None, 0, FaultKind::Cap)]);
}

fn connect_rate_lets_clients_wait_for_their_turn(engine: Engine) {
    let faulted = Faulted::replying(engine, "connect-rate=10/s");
    let since = Instant::now();
    let mut clients: Vec<_> = (0..5).map(|_| faulted.connect()).collect();
    clients.iter_mut().for_each(|client| client.ask("x"));
    takes(Duration::from_millis(400), since);
    for _ in 0..4 {
        let event = faulted.injected.recv_timeout(PATIENCE).unwrap();
        assert!(event.kind == FaultKind::ConnectRate && event.direction.is_none(), "{event:?}");
    }
    faulted.injects(&[]);
}
