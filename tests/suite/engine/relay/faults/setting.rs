//! Which connections have which faults.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};
use resound::{Engine, Error};

use super::super::{Path, address, error_of_next_read, settings};
use super::{is_silent, tests_of_faults};
use crate::harness::{PATIENCE, Peer};

tests_of_faults!(
    ;
    the_first_two_fail_and_all_is_well,
    set_holds_from_the_next_connection_on,
    listener_faults_are_refused_at_run_time,
    faults_of_a_server_are_refused,
    a_network_chooses_its_clients,
    a_chance_of_all_is_certain,
    faults_come_behind_tls,
    a_drain_ends_silent_pairs,
    a_drain_ends_pairs_of_which_one_end_never_learns_of_the_other,
);

fn the_first_two_fail_and_all_is_well(engine: Engine) {
    let path = Path::faulted(engine, "1-2: reset @0B");
    for number in 1..=2 {
        let (mut client, mut target) = path.pair();
        client.send("question");
        assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        path.injects(&[(number, Some(Up), 0, FaultKind::Reset)]);
        assert_eq!(path.report().up.bytes, 0);
    }
    for _ in 0..3 {
        path.works_for_another();
        assert_eq!(path.report().ended, None);
    }
    path.injects(&[]);
}

fn set_holds_from_the_next_connection_on(engine: Engine) {
    let path = Path::faulted(engine, "");
    let (mut plain, mut plain_target) = path.pair();
    assert_eq!(path.faults.set("up: duplicate=1B @1B".parse().unwrap(), 9).unwrap(), 2);
    let resound::faults::FaultSetting { spec, seed, .. } = path.faults.get();
    assert_eq!((spec.to_string().as_str(), seed), ("up: duplicate=1B @1B", 9));
    let (mut faulted, mut faulted_target) = path.pair();
    assert_eq!(path.faults.set(Default::default(), 9).unwrap(), 3);
    path.works_for_another();
    plain.send("abc");
    plain_target.expect("abc");
    faulted.send("abc");
    faulted_target.expect("abbc");
    path.injects(&[(2, Some(Up), 1, FaultKind::Duplicate)]);
    assert_eq!(path.faults.set("4: down: truncate; 5: down: duplicate=1B".parse().unwrap(), 9).unwrap(), 4);
    let (mut client, mut target) = path.pair();
    target.send("answer");
    target.finish();
    assert_eq!(client.rest(), b"");
    let (mut client, mut target) = path.pair();
    target.send("answer");
    client.expect("aanswer");
    path.injects(&[(4, Some(Down), 0, FaultKind::Truncate), (5, Some(Down), 0, FaultKind::Duplicate)]);
}

fn listener_faults_are_refused_at_run_time(engine: Engine) {
    let path = Path::faulted(engine, "up: duplicate=1B");
    for spec in ["refuse", "never-accept"] {
        let refused = path.faults.set(spec.parse().unwrap(), 1);
        assert!(matches!(refused, Err(Error::ListenerFaults)), "{refused:?}");
    }
    // What held before still does.
    let (mut client, mut target) = path.pair();
    client.send("abc");
    target.expect("aabc");
    assert_eq!(path.faults.set("cap=10; connect-rate=1000/s".parse().unwrap(), 1).unwrap(), 2);
    path.works_for_another();
}

fn faults_of_a_server_are_refused(engine: Engine) {
    let path = Path::faulted(engine, "");
    let refused = path.faults.set("delay=1ms; garbage".parse().unwrap(), 1);
    assert!(matches!(&refused, Err(Error::Faults(error)) if error.to_string().contains("garbage")), "{refused:?}");
    path.works_for_another();
}

fn a_network_chooses_its_clients(engine: Engine) {
    let path = Path::faulted(engine, "from=10.0.0.0/8: reset @connect; from=127.0.0.0/8: up: duplicate=1B");
    let (mut client, mut target) = path.pair();
    client.send("abc");
    target.expect("aabc");
    path.injects(&[(1, Some(Up), 0, FaultKind::Duplicate)]);
}

fn a_chance_of_all_is_certain(engine: Engine) {
    let path = Path::faulted(engine, "every 2nd: up: duplicate=1B 100%; up: truncate @0B 0.0001%");
    let both: [&str; 2] = ["abc", "aabc"];
    for (index, want) in both.into_iter().enumerate() {
        let (mut client, mut target) = path.pair();
        client.send("abc");
        client.finish();
        assert_eq!(target.rest(), want.as_bytes(), "connection {}", index + 1);
    }
    path.injects(&[(2, Some(Up), 0, FaultKind::Duplicate)]);
}

fn faults_come_behind_tls(engine: Engine) {
    let path = Path::with_faults(
        settings(engine).handshake(crate::tunnel::handshake()),
        "1: up: duplicate=3B @3B; 1: down: reset @5B; 2: accept-then-close",
    );
    let connect = || Peer(crate::tunnel::through(TcpStream::connect(address(&path.relay)).unwrap()));
    let mut client = connect();
    client.send("abcdef");
    let mut target = super::super::patiently(path.target.accept().unwrap().0);
    target.expect("abcdefdef");
    target.send("helloworld");
    client.expect("hello");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.injects(&[(1, Some(Up), 3, FaultKind::Duplicate), (1, Some(Down), 5, FaultKind::Reset)]);
    // In order, with a close_notify.
    assert_eq!(connect().rest(), b"");
    path.injects(&[(2, None, 0, FaultKind::AcceptThenClose)]);
}

fn a_drain_ends_silent_pairs(engine: Engine) {
    let path = Path::faulted(engine, "1: silent @connect; 2: accept-liar; 3: accept-late=1h");
    let (mut client, mut target) = path.pair();
    path.injects(&[(1, None, 0, FaultKind::Silent)]);
    client.send("question");
    let mut other = path.client();
    path.injects(&[(2, None, 0, FaultKind::AcceptLiar)]);
    let mut late = path.client();
    path.injects(&[(3, None, 0, FaultKind::AcceptLate)]);
    is_silent(&mut target);
    path.relay.drain(Duration::from_millis(50));
    assert_eq!(error_of_next_read(&mut late), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut other), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.relay.wait();
}

fn a_drain_ends_pairs_of_which_one_end_never_learns_of_the_other(engine: Engine) {
    let path = Path::faulted(engine, "1: up: one-way; 2: down: one-way");
    let (mut client, mut target) = path.pair();
    client.send("question");
    client.finish();
    path.injects(&[(1, Some(Up), 0, FaultKind::OneWay)]);
    let (mut other, mut its_target) = path.pair();
    its_target.send("answer");
    its_target.finish();
    path.injects(&[(2, Some(Down), 0, FaultKind::OneWay)]);
    is_silent(&mut target);
    is_silent(&mut other);
    // Long before the drain is over.
    path.relay.drain(PATIENCE * 10);
    for end in [&mut client, &mut target, &mut other, &mut its_target] {
        assert_eq!(error_of_next_read(end), ErrorKind::ConnectionReset);
    }
    path.relay.wait();
}
