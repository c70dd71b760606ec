//! Rules that wait for a time.

use resound_faults::End;

use crate::bench::{Bench, Down, Up, millis};

#[test]
fn idle_timers_start_anew_with_each_byte() {
    for (text, end) in
        [("idle-close=60s", End::Close), ("idle-reset=60s", End::ResetNow), ("idle-silent=60s", End::Silent)]
    {
        let mut bench = Bench::new(text);
        bench.at(59_000);
        bench.send(Up, b"x");
        bench.at(118_000);
        bench.send(Down, b"y");
        bench.at(177_999);
        assert_eq!(bench.ends, [End::Open; 2], "{text}");
        assert_eq!(bench.faults.deadline(), Some(bench.opened + millis(178_000)));
        bench.at(178_000);
        assert_eq!(bench.ends, [end; 2], "{text}");
        assert_eq!((bench.words()[0].1, bench.times()), (None, vec![178_000]), "{text}");
        assert_eq!(bench.faults.deadline(), None, "{text}");
    }
}

#[test]
fn an_idle_timer_of_a_direction_counts_its_bytes_alone() {
    let mut bench = Bench::new("down: idle-reset=10s");
    bench.at(9_000);
    bench.send(Up, b"x");
    bench.at(10_000);
    assert_eq!(bench.ends, [End::ResetNow; 2]);
}

#[test]
fn half_closed_idle_begins_with_the_first_fin() {
    let mut bench = Bench::new("half-closed-idle=60s");
    bench.at(500_000);
    bench.send(Up, b"request");
    bench.fin(Up);
    bench.at(530_000);
    bench.send(Down, b"part");
    bench.at(589_999);
    bench.expect(Down, b"part", End::Open);
    bench.at(590_000);
    bench.expect(Down, b"", End::ResetNow);
    assert_eq!(bench.words(), [("half-closed-idle", None, 0)]);
    // A reply in time, and its FIN, end the connection as usual.
    let mut bench = Bench::new("half-closed-idle=60s");
    bench.fin(Up);
    bench.send(Down, b"reply");
    bench.fin(Down);
    bench.at(100_000);
    bench.expect(Down, b"reply", End::HalfClose);
    assert!(bench.faults.is_over() && bench.events.is_empty());
}

#[test]
fn a_trigger_may_be_an_idle_time() {
    let mut bench = Bench::new("up: stall=5s @idle=10s");
    bench.at(9_000);
    bench.send(Up, b"x");
    bench.expect(Up, b"x", End::Open);
    bench.at(19_000);
    bench.send(Up, b"y");
    bench.expect(Up, b"", End::Open);
    assert!(!bench.faults.wants_input(Up));
    bench.at(24_000);
    bench.expect(Up, b"y", End::Open);
    // Once.
    bench.at(99_000);
    bench.send(Up, b"z");
    bench.expect(Up, b"z", End::Open);
    assert_eq!((bench.words(), bench.times()), (vec![("stall", Some(Up), 1)], vec![19_000]));
}

#[test]
fn lasting_faults_begin_at_their_time() {
    let mut bench = Bench::new("up: delay=1s @5s; down: eat-fin @5s; rate=1000B/s @5s");
    bench.send(Up, b"now");
    bench.expect(Up, b"now", End::Open);
    bench.at(5000);
    bench.send(Up, b"later");
    bench.fin(Down);
    bench.expect(Up, b"", End::Open);
    bench.at(6100);
    bench.expect(Up, b"later", End::Open);
    bench.expect(Down, b"", End::Open);
    let want = [("delay", Some(Up), 3), ("rate", None, 0), ("eat-fin", Some(Down), 0)];
    assert_eq!(bench.words(), want);
}

#[test]
fn a_late_caller_finds_what_was_due_in_its_order() {
    let mut bench = Bench::new("up: stall=1s @1s; close @3s; reset @2s");
    bench.now = bench.opened + millis(60_000);
    bench.send(Up, b"x");
    assert_eq!(bench.ends, [End::ResetNow; 2]);
    assert_eq!((bench.words().len(), bench.times()), (2, vec![1000, 2000]));
}

#[test]
fn time_never_goes_back() {
    let mut bench = Bench::new("up: delay=1s");
    bench.at(5000);
    bench.send(Up, b"x");
    bench.now = bench.opened;
    bench.send(Up, b"y");
    bench.at(5999);
    bench.expect(Up, b"", End::Open);
    bench.at(6000);
    bench.expect(Up, b"xy", End::Open);
}
