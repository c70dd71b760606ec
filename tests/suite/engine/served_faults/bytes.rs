//! Faults of the bytes on their way, and of how fast they are.

use std::time::{Duration, Instant};

use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};
use resound::{Echo, Engine};

use super::{Faulted, takes, tests_of_served_faults};
use crate::harness::{Peer, noise, server};

tests_of_served_faults!(
    Delay => delay_makes_answers_late,
    Rate => rate_limits_an_answer,
    Drip => drip_lets_some_bytes_through_each_time,
    Stall => stall_keeps_an_answer,
    StallThenBurst => stall_then_burst_lets_everything_go_at_once,
    Slice => slice_cuts_segments,
    Coalesce => coalesce_gathers_answers,
    Corrupt => corrupt_inverts_a_bit,
    Truncate => truncate_loses_the_end,
    Duplicate => duplicate_sends_bytes_twice,
    Swap => swap_exchanges_blocks;
    a_megabyte_each_way_is_whole_behind_faults_of_pace,
);

fn echoing(engine: Engine, spec: &str) -> Faulted {
    Faulted::serving(server(engine), spec, |_| Echo)
}

/// Bytes come back, and not before a time.
fn comes_back_after(engine: Engine, spec: &str, bytes: usize, time: u64, kind: FaultKind) {
    let faulted = echoing(engine, spec);
    let mut client = faulted.connect();
    let bytes = noise(1, bytes);
    let since = Instant::now();
    client.send(&bytes);
    client.finish();
    assert!(client.rest() == bytes);
    takes(Duration::from_millis(time), since);
    let event = faulted.injected.recv().unwrap();
    assert_eq!((event.connection, event.kind), (1, kind));
}

fn delay_makes_answers_late(engine: Engine) {
    comes_back_after(engine, "delay=150ms", 10_000, 300, FaultKind::Delay);
}

fn rate_limits_an_answer(engine: Engine) {
    comes_back_after(engine, "down: rate=100KiB/s", 60_000, 400, FaultKind::Rate);
}

fn drip_lets_some_bytes_through_each_time(engine: Engine) {
    comes_back_after(engine, "down: drip=10B/50ms", 100, 400, FaultKind::Drip);
}

fn stall_keeps_an_answer(engine: Engine) {
    comes_back_after(engine, "down: stall=300ms @5B", 10, 300, FaultKind::Stall);
}

fn stall_then_burst_lets_everything_go_at_once(engine: Engine) {
    comes_back_after(engine, "up: stall-then-burst=300ms @5B", 10, 300, FaultKind::StallThenBurst);
}

fn coalesce_gathers_answers(engine: Engine) {
    comes_back_after(engine, "down: coalesce=300ms", 10, 300, FaultKind::Coalesce);
}

fn slice_cuts_segments(engine: Engine) {
    let faulted = echoing(engine, "slice=1..7");
    let mut client = faulted.connect();
    let bytes = noise(1, 3000);
    client.send(&bytes);
    client.expect(&bytes);
    faulted.injects(&[(1, None, 0, FaultKind::Slice)]);
}

/// What comes back of these bytes, up to the FIN.
fn echo_of(client: &mut Peer, bytes: &str) -> String {
    client.send(bytes);
    client.finish();
    String::from_utf8_lossy(&client.rest()).into_owned()
}

fn corrupt_inverts_a_bit(engine: Engine) {
    let faulted = echoing(engine, "1: up: corrupt @3B; 2: down: corrupt @3B");
    for (number, direction) in [(1, Up), (2, Down)] {
        let mut client = faulted.connect();
        client.send("abcdef");
        let got = client.read(6);
        assert_eq!((&got[..3], &got[4..]), (&b"abc"[..], &b"ef"[..]));
        assert_eq!((got[3] ^ b'd').count_ones(), 1);
        faulted.injects(&[(number, Some(direction), 3, FaultKind::Corrupt)]);
    }
}

fn truncate_loses_the_end(engine: Engine) {
    let faulted = echoing(engine, "down: truncate @3B");
    assert_eq!(echo_of(&mut faulted.connect(), "abcdef"), "abc");
    faulted.injects(&[(1, Some(Down), 3, FaultKind::Truncate)]);
}

fn duplicate_sends_bytes_twice(engine: Engine) {
    let faulted = echoing(engine, "down: duplicate=2B @1B");
    assert_eq!(echo_of(&mut faulted.connect(), "abcdef"), "abcbcdef");
    faulted.injects(&[(1, Some(Down), 1, FaultKind::Duplicate)]);
}

fn swap_exchanges_blocks(engine: Engine) {
    let faulted = echoing(engine, "up: swap=2B @1B");
    assert_eq!(echo_of(&mut faulted.connect(), "abcdef"), "adebcf");
    faulted.injects(&[(1, Some(Up), 1, FaultKind::Swap)]);
}

fn a_megabyte_each_way_is_whole_behind_faults_of_pace(engine: Engine) {
    let faulted = echoing(engine, "delay=2ms+-1ms; slice=1000..9000; down: stall=50ms @300KiB");
    let client = faulted.connect();
    let bytes = noise(2, 1 << 20);
    let mut reader = Peer(client.0.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = client;
            client.send(&bytes);
            client.finish();
        });
        assert!(reader.rest() == bytes);
    });
}
