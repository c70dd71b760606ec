//! Rules and limits that change while a server runs, on each engine.

use std::num::NonZeroU32;
use std::time::Duration;

use resound::server::{Access, ConnectRate, Refusal};
use resound::{CloseReason, Engine, Limits, Reply};

use crate::harness::{Running, eventually, on_each_engine_plainly, patient, server};

on_each_engine_plainly!(
    rules_hold_from_the_next_connection_on,
    a_limit_per_source_counts_from_the_first_one_on,
    a_rate_that_stays_keeps_its_tokens,
    waiting_connections_come_in_when_the_limit_rises,
    a_lower_limit_ends_no_connection,
    limits_hold_from_the_next_connection_on,
);

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn refused(running: &Running, refusal: Refusal) -> u64 {
    running.handle.totals().refused(refusal)
}

fn here() -> Access {
    Access::new().deny("127.0.0.0/8".parse().unwrap())
}

fn rules_hold_from_the_next_connection_on(engine: Engine) {
    let running = Running::start(server(engine), |_| Reply::default());
    let mut open = running.connect();
    open.ask("no rule");
    running.handle.set_access(here());
    assert!(running.connect().is_reset());
    assert_eq!(refused(&running, Refusal::Denied), 1);
    open.ask("still here");
    running.handle.set_access(Access::new());
    running.connect().ask("no rule again");
    assert_eq!(refused(&running, Refusal::Denied), 1, "counts stay");
}

fn a_limit_per_source_counts_from_the_first_one_on(engine: Engine) {
    let running = Running::start(server(engine), |_| Reply::default());
    let mut before = running.connect();
    before.ask("counted for none");
    running.handle.set_access(Access::new().max_per_ip(n(1)));
    let mut one = running.connect();
    one.ask("one");
    assert!(running.connect().is_reset());
    // Without the limit they are counted on.
    running.handle.set_access(Access::new());
    let mut two = running.connect();
    two.ask("two");
    running.handle.set_access(Access::new().max_per_ip(n(2)));
    assert!(running.connect().is_reset());
    assert_eq!(refused(&running, Refusal::MaxPerIp), 2);
    drop((before, one, two));
    eventually("all places are free", || running.handle.clients() == 0);
    let held = (running.connect(), running.connect());
    let mut held = [held.0, held.1];
    held.iter_mut().for_each(|peer| peer.ask("in its place"));
    assert!(running.connect().is_reset());
}

fn a_rate_that_stays_keeps_its_tokens(engine: Engine) {
    let rate = |most| Access::new().connect_rate(ConnectRate::per_hour(n(most)));
    let running = Running::start(server(engine).access(rate(1)), |_| Reply::default());
    running.connect().ask("the token");
    running.handle.set_access(rate(1).deny("192.0.2.0/24".parse().unwrap()));
    assert!(running.connect().is_reset());
    running.handle.set_access(rate(2));
    running.connect().ask("another rate begins anew");
    assert_eq!(refused(&running, Refusal::ConnectRate), 1);
}

fn waiting_connections_come_in_when_the_limit_rises(engine: Engine) {
    let running = Running::start(server(engine).max_connections(1), |_| Reply::default());
    let mut first = running.connect();
    first.ask("in");
    let mut second = running.connect();
    second.send("waits\n");
    running.handle.set_max_connections(2);
    second.expect("Server received: waits\n");
    assert_eq!(running.handle.clients(), 2);
    first.ask("still here");
}

fn a_lower_limit_ends_no_connection(engine: Engine) {
    let running = Running::start(server(engine), |_| Reply::default());
    let mut open = [running.connect(), running.connect()];
    open.iter_mut().for_each(|peer| peer.ask("in"));
    running.handle.set_max_connections(1);
    let mut third = running.connect();
    third.send("waits\n");
    open.iter_mut().for_each(|peer| peer.ask("still here"));
    let [one, two] = open;
    drop(one);
    running.closed();
    drop(two);
    third.expect("Server received: waits\n");
    assert_eq!(running.handle.clients(), 1);
}

fn limits_hold_from_the_next_connection_on(engine: Engine) {
    let running = Running::start(server(engine).limits(patient()), |_| Reply::default());
    let mut open = running.connect();
    open.ask("patient");
    let idle_timeout = Some(Duration::from_millis(100));
    running.handle.set_limits(Limits { idle_timeout, ..patient() });
    assert!(running.connect().rest().is_empty());
    assert_eq!(running.closed(), CloseReason::IdleTimeout);
    open.ask("with the limits that it began with");
}
