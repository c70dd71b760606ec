//! Faults that are set while a server runs, and what holds for sockets.

use resound::faults::{FaultKind, LiveFaults};
use resound::{Cx, Engine, Error, Service};

use super::{Faulted, tests_of_served_faults};
use crate::harness::{Running, eventually, server};

tests_of_served_faults!(
    Nagle => nagle_is_an_event_and_bytes_pass,
    NoKeepalive => no_keepalive_leaves_the_socket_without_a_timer;
    faults_change_while_the_server_runs,
    a_server_refuses_the_faults_of_a_relay,
    a_service_is_woken_from_outside_and_by_its_own_clock,
    a_panic_of_the_observer_stays_its_own,
    the_same_faults_hold_for_one_server_after_the_other,
);

fn nagle_is_an_event_and_bytes_pass(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: nagle");
    faulted.works_for_another();
    faulted.injects(&[(1, None, 0, FaultKind::Nagle)]);
}

/// The timer that `/proc/net/tcp` shows for the server's socket of this client.
fn timer(server: u16, client: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (near, far) = (format!(":{server:04X}"), format!(":{client:04X}"));
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_ours = fields.len() > 5 && fields[1].ends_with(&near) && fields[2].ends_with(&far);
        is_ours.then(|| fields[5].split(':').next().unwrap().to_string())
    })
}

fn no_keepalive_leaves_the_socket_without_a_timer(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: no-keepalive");
    // One after the other: their numbers count.
    let clients = [(); 2].map(|()| {
        let mut client = faulted.connect();
        client.ask("one");
        client
    });
    faulted.injects(&[(1, None, 0, FaultKind::NoKeepalive)]);
    if !cfg!(target_os = "linux") {
        return crate::not_tested::not_tested("keepalive", "this system does not show the timers of sockets");
    }
    for (client, want) in clients.iter().zip(["00", "02"]) {
        let (server, client) = (faulted.running.address().port(), client.0.local_addr().unwrap().port());
        // Until the last acknowledgement another timer may run.
        eventually("the timer", || timer(server, client).is_some_and(|timer| timer == want));
    }
}

fn faults_change_while_the_server_runs(engine: Engine) {
    let faulted = Faulted::replying(engine, "");
    faulted.works_for_another();
    let from = faulted.faults.set("duplicate-last-line".parse().unwrap(), 3).unwrap();
    assert_eq!(from, 2);
    let mut client = faulted.connect();
    client.send("one\n");
    client.expect("Server received: one\nServer received: one\n");
    assert_eq!(faulted.faults.set("".parse().unwrap(), 3).unwrap(), 3);
    faulted.works_for_another();
    client.ask("two");
}

fn a_server_refuses_the_faults_of_a_relay(engine: Engine) {
    let faults = LiveFaults::of_server();
    let refused = faults.set("1: up: eat-fin".parse().unwrap(), 1);
    assert!(
        matches!(&refused, Err(Error::Faults(error)) if error.to_string().contains("a relay alone")),
        "{refused:?}"
    );
    // Neither does it start with those that were meant for one.
    let of_relay = LiveFaults::of_relay();
    of_relay.set("up: eat-fin".parse().unwrap(), 1).unwrap();
    let started = server(engine).faults(&of_relay, |_, _| {}).listen("127.0.0.1:0").unwrap().serve(|_| Woken);
    assert!(matches!(started, Err(Error::Faults(_))));
}

fn the_same_faults_hold_for_one_server_after_the_other(engine: Engine) {
    let faults = LiveFaults::of_server();
    for _ in 0..2 {
        let running = Running::start(server(engine).faults(&faults, |_, _| {}), |_| resound::Reply::default());
        for number in 2..=3 {
            running.connect().ask("one");
            assert_eq!(faults.set("delay=1ms".parse().unwrap(), 1).unwrap(), number);
        }
        let refused = faults.set("refuse".parse().unwrap(), 1);
        assert!(matches!(refused, Err(Error::ListenerFaults)), "{refused:?}");
        running.drain();
    }
}

/// Says what wakes it.
struct Woken;

impl Service for Woken {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.wake_at(cx.now());
    }

    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.send(b"woken\n");
    }
}

fn a_service_is_woken_from_outside_and_by_its_own_clock(engine: Engine) {
    let faulted = Faulted::serving(server(engine), "1: delay=1ms", |_| Woken);
    let mut client = faulted.connect();
    let id = faulted.running.opened();
    client.expect("woken\n");
    for _ in 0..3 {
        faulted.running.handle.wake(id);
        client.expect("woken\n");
    }
    client.finish();
    assert_eq!(client.rest(), b"", "and for nothing else");
}

fn a_panic_of_the_observer_stays_its_own(engine: Engine) {
    let faults = LiveFaults::of_server();
    faults.set("delay=1ms; duplicate-last-line".parse().unwrap(), 1).unwrap();
    let server = server(engine).faults(&faults, |_, _| panic!("an observer panics on purpose"));
    let running = Running::start(server, |_| resound::Reply::default());
    let mut client = running.connect();
    client.send("one\n");
    client.expect("Server received: one\nServer received: one\n");
}
