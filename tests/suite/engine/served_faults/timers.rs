//! Faults of idle connections and of sockets.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::{CloseReason, Engine, Limits, Reply};

use super::{Faulted, error_of_next_read, is_silent, takes, tests_of_served_faults};
use crate::harness::{patient, server};

tests_of_served_faults!(
    IdleClose => idle_close_is_a_fin,
    IdleReset => idle_reset_is_a_rst,
    IdleSilent => idle_silent_forgets_a_connection,
    HalfClosedIdle => half_closed_idle_resets_a_half_closed_connection;
    the_servers_own_idle_timeout_still_ends_in_order,
    a_late_answer_is_no_idle_time,
);

const TIME: Duration = Duration::from_millis(300);

fn idle_close_is_a_fin(engine: Engine) {
    let faulted = Faulted::replying(engine, "idle-close=300ms");
    let since = Instant::now();
    let mut client = faulted.connect();
    client.ask("one");
    assert_eq!(client.rest(), b"");
    takes(TIME, since);
    faulted.injects(&[(1, None, 0, FaultKind::IdleClose)]);
}

fn idle_reset_is_a_rst(engine: Engine) {
    let faulted = Faulted::replying(engine, "idle-reset=300ms");
    let since = Instant::now();
    let mut client = faulted.connect();
    client.ask("one");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    takes(TIME, since);
    faulted.injects(&[(1, None, 0, FaultKind::IdleReset)]);
}

fn idle_silent_forgets_a_connection(engine: Engine) {
    let faulted = Faulted::replying(engine, "1: idle-silent=300ms");
    let mut client = faulted.connect();
    client.ask("one");
    faulted.injects(&[(1, None, 0, FaultKind::IdleSilent)]);
    client.send("two\n");
    faulted.works_for_another();
    is_silent(&mut client);
    client.reset();
}

fn half_closed_idle_resets_a_half_closed_connection(engine: Engine) {
    // The answer comes so late that the connection stays half-closed.
    let faulted = Faulted::replying(engine, "half-closed-idle=300ms; late-answer=1h");
    let since = Instant::now();
    let mut client = faulted.connect();
    client.send("one\n");
    client.finish();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    takes(TIME, since);
}

fn the_servers_own_idle_timeout_still_ends_in_order(engine: Engine) {
    let limits = Limits { idle_timeout: Some(TIME), ..patient() };
    let faulted = Faulted::serving(server(engine).limits(limits), "delay=1ms", |_| Reply::default());
    let mut client = faulted.connect();
    client.ask("one");
    let since = Instant::now();
    assert_eq!(client.rest(), b"");
    takes(TIME, since);
    client.finish();
    assert_eq!(faulted.running.closed(), CloseReason::IdleTimeout);
}

fn a_late_answer_is_no_idle_time(engine: Engine) {
    let limits = Limits { idle_timeout: Some(TIME), ..patient() };
    let faulted = Faulted::serving(server(engine).limits(limits), "late-answer=900ms", |_| Reply::default());
    let mut client = faulted.connect();
    client.ask("one");
}
