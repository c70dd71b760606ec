//! Faults of idle connections, of buffers and of sockets.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use resound::Engine;
use resound::faults::FaultKind;
use resound::faults::StreamDirection::Up;

use super::super::{address, error_of_next_read, flood};
use super::{Path, is_silent, takes, tests_of_faults, until_failure};
use crate::harness::{Peer, eventually, noise};
use crate::not_tested::not_tested;

tests_of_faults!(
    IdleClose => idle_close_is_a_fin_for_both,
    IdleReset => idle_reset_is_a_rst_for_both,
    IdleSilent => idle_silent_forgets_a_connection,
    HalfClosedIdle => half_closed_idle_resets_a_half_closed_connection,
    NoBackpressure => no_backpressure_takes_what_the_target_does_not,
    Hold => hold_takes_more,
    Nagle => nagle_leaves_nodelay_off,
    NoKeepalive => no_keepalive_leaves_sockets_without_a_timer;
    no_backpressure_ends_at_its_limit,
    a_stuck_client_is_reset_too,
);

const TIME: Duration = Duration::from_millis(300);

fn idle_close_is_a_fin_for_both(engine: Engine) {
    let path = Path::faulted(engine, "idle-close=300ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send("x");
    target.expect("x");
    assert_eq!(client.rest(), b"");
    takes(TIME, since);
    assert_eq!(target.rest(), b"");
    path.injects(&[(1, None, 0, FaultKind::IdleClose)]);
}

fn idle_reset_is_a_rst_for_both(engine: Engine) {
    let path = Path::faulted(engine, "up: idle-reset=300ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.send("x");
    target.expect("x");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    takes(TIME, since);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.injects(&[(1, Some(Up), 1, FaultKind::IdleReset)]);
}

fn idle_silent_forgets_a_connection(engine: Engine) {
    let path = Path::faulted(engine, "1: idle-silent=300ms");
    let (mut client, mut target) = path.pair();
    client.send("x");
    target.expect("x");
    path.injects(&[(1, None, 0, FaultKind::IdleSilent)]);
    client.send("more");
    target.send("more");
    path.works_for_another();
    is_silent(&mut client);
    is_silent(&mut target);
    client.reset();
    path.works_for_another();
    is_silent(&mut target);
}

fn half_closed_idle_resets_a_half_closed_connection(engine: Engine) {
    let path = Path::faulted(engine, "half-closed-idle=300ms");
    let (mut client, mut target) = path.pair();
    let since = Instant::now();
    client.finish();
    assert_eq!(target.rest(), b"");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    takes(TIME, since);
    // After a FIN a read reports no RST, and a write does.
    eventually("the target is reset", || target.0.write_all(b"x").is_err());
    path.injects(&[(1, None, 0, FaultKind::HalfClosedIdle)]);
}

/// In MiB: more than the buffers of three sockets and a relay.
const MUCH: usize = 48;

/// The client gets rid of much that the target does not read, and of less without a fault.
fn takes_much(engine: Engine, spec: &str, kind: FaultKind) {
    let path = Path::faulted(engine, spec);
    let (mut client, mut target) = path.pair();
    let block = noise(1, 1 << 20);
    (0..MUCH).for_each(|_| client.send(&block));
    client.finish();
    (0..MUCH).for_each(|_| target.expect(&block));
    assert_eq!(target.rest(), b"");
    path.injects(&[(1, Some(Up), 0, kind)]);
    let (client, _target) = path.pair();
    let sent = flood(&client);
    assert!(sent < MUCH << 20, "{sent} without it");
    path.injects(&[]);
}

fn hold_takes_more(engine: Engine) {
    takes_much(engine, "1: up: hold=48MiB", FaultKind::Hold);
}

fn no_backpressure_takes_what_the_target_does_not(engine: Engine) {
    takes_much(engine, "1: up: no-backpressure", FaultKind::NoBackpressure);
}

fn no_backpressure_ends_at_its_limit(engine: Engine) {
    let path = Path::faulted(engine, "up: no-backpressure");
    let (mut client, mut target) = path.pair();
    let block = noise(1, 1 << 20);
    let sent = (1..).find(|_| client.0.write_all(&block).is_err()).unwrap();
    assert!(sent > 60, "{sent} MiB");
    let (bytes, error) = until_failure(&mut target);
    assert!(bytes < 64 << 20 && error == ErrorKind::ConnectionReset, "{bytes}, {error}");
    let events: Vec<_> = (0..2).map(|_| path.injected.recv().unwrap()).collect();
    assert!(events.iter().all(|event| event.kind == FaultKind::NoBackpressure && event.direction == Some(Up)));
    assert!(events[1].offset > 64 << 20 && events[1].detail.contains("64MiB"), "{events:?}");
}

fn a_stuck_client_is_reset_too(engine: Engine) {
    let path = Path::faulted(engine, "idle-reset=500ms");
    let (client, mut target) = path.pair();
    // Until it is reset: the client reads nothing.
    let block = vec![7; 64 * 1024];
    let error = loop {
        if let Err(error) = target.0.write_all(&block) {
            break error.kind();
        }
    };
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    eventually("the client is reset", || client.0.take_error().unwrap().is_some());
    path.injects(&[(1, None, 0, FaultKind::IdleReset)]);
}

/// The relay's connections to a client and to its target, as `local port, remote port`.
fn ports(path: &Path, client: &Peer, target: &Peer) -> [(u16, u16); 2] {
    [
        (address(&path.relay).port(), client.0.local_addr().unwrap().port()),
        (target.0.peer_addr().unwrap().port(), target.0.local_addr().unwrap().port()),
    ]
}

/// The timer of a socket, as /proc/net/tcp shows it: 00 is none, 02 that of the keepalive.
fn timer((local, remote): (u16, u16)) -> Option<String> {
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&local) && row[2].ends_with(&remote))?;
    Some(row[5][..2].to_owned())
}

/// Two pairs, of which each has passed on a byte in each direction.
fn two_that_have_talked(path: &Path) -> [(Peer, Peer); 2] {
    [path.pair(), path.pair()].map(|(mut client, mut target)| {
        client.send("x");
        target.expect("x");
        target.send("x");
        client.expect("x");
        (client, target)
    })
}

fn no_keepalive_leaves_sockets_without_a_timer(engine: Engine) {
    let path = Path::faulted(engine, "2: no-keepalive");
    let [first, second] = two_that_have_talked(&path);
    path.injects(&[(2, None, 0, FaultKind::NoKeepalive)]);
    if !cfg!(target_os = "linux") {
        return not_tested("no-keepalive", "no system but Linux shows the timers of sockets");
    }
    for ((client, target), want) in [(first, "02"), (second, "00")] {
        for socket in ports(&path, &client, &target) {
            // A timer of the last segment may run before.
            eventually(want, || timer(socket).as_deref() == Some(want));
        }
    }
}

#[cfg(target_os = "linux")]
fn has_nodelay((local, remote): (u16, u16)) -> Option<bool> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    let port = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket().map(|at| at.port());
    // The relay runs in this process.
    std::fs::read_dir("/proc/self/fd").ok()?.find_map(|file| {
        let number = file.ok()?.file_name().to_str()?.parse().ok()?;
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        let socket = socket2::SockRef::from(&copy);
        let is_it = port(socket.local_addr()) == Some(local) && port(socket.peer_addr()) == Some(remote);
        if is_it { socket.tcp_nodelay().ok() } else { None }
    })
}

#[cfg(not(target_os = "linux"))]
fn has_nodelay(_ports: (u16, u16)) -> Option<bool> {
    None
}

fn nagle_leaves_nodelay_off(engine: Engine) {
    let path = Path::faulted(engine, "2: nagle");
    let [first, second] = two_that_have_talked(&path);
    path.injects(&[(2, None, 0, FaultKind::Nagle)]);
    for ((client, target), want) in [(first, true), (second, false)] {
        for socket in ports(&path, &client, &target) {
            match has_nodelay(socket) {
                Some(nodelay) => assert_eq!(nodelay, want),
                None => not_tested("nagle", "the socket of the relay cannot be looked at"),
            }
        }
    }
}
