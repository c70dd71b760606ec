//! How connections end.

use resound_faults::{End, FaultSpec};

use crate::bench::{Bench, Down, Up};

/// A TLS record that begins a ClientHello of a length.
fn hello(length: u16) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend((length - 5).to_be_bytes());
    record.push(1);
    record.resize(usize::from(length), 7);
    record
}

#[test]
fn reset_reaches_both_ends_behind_the_bytes_before_it() {
    let mut bench = Bench::new("down: reset @3B");
    bench.send(Up, b"question");
    bench.expect(Up, b"question", End::Open);
    bench.send(Down, b"ab");
    bench.expect(Down, b"ab", End::Open);
    bench.send(Down, b"cdef");
    bench.expect(Down, b"c", End::Reset);
    bench.expect(Up, b"", End::ResetNow);
    assert!(bench.faults.is_over());
    assert_eq!(bench.words(), [("reset", Some(Down), 3)]);
}

#[test]
fn a_fault_waits_for_its_first_byte_and_connect_does_not() {
    let mut bench = Bench::new("reset");
    bench.poll();
    bench.expect(Up, b"", End::Open);
    bench.send(Down, b"banner");
    bench.expect(Down, b"", End::Reset);
    bench.expect(Up, b"", End::ResetNow);
    let mut bench = Bench::new("reset @connect");
    bench.poll();
    bench.expect(Up, b"", End::ResetNow);
    bench.expect(Down, b"", End::ResetNow);
    assert_eq!(bench.words(), [("reset", None, 0)]);
}

#[test]
fn a_fin_in_the_place_of_the_byte_counts() {
    let mut bench = Bench::new("up: reset @3B");
    bench.send(Up, b"abc");
    bench.expect(Up, b"abc", End::Open);
    bench.fin(Up);
    bench.expect(Up, b"", End::Reset);
    let mut bench = Bench::new("up: reset @4B");
    bench.send(Up, b"abc");
    bench.fin(Up);
    bench.expect(Up, b"abc", End::HalfClose);
}

#[test]
fn reset_one_side_closes_the_other_in_order() {
    let mut bench = Bench::new("up: reset-one-side @2B; down: delay=1s");
    bench.send(Down, b"answer");
    bench.send(Up, b"abcd");
    bench.expect(Up, b"ab", End::Reset);
    // What is on its way to the sender is delivered.
    bench.expect(Down, b"", End::Open);
    bench.send(Down, b"late");
    bench.at(1000);
    bench.expect(Down, b"answer", End::Close);
    assert!(bench.faults.is_over());
}

#[test]
fn close_closes_both_ends_whatever_waits() {
    let mut bench = Bench::new("up: close @1B; down: delay=1s");
    bench.send(Down, b"answer");
    bench.send(Up, b"ab");
    bench.expect(Up, b"a", End::Close);
    bench.at(2000);
    bench.expect(Down, b"", End::Close);
}

#[test]
fn half_close_ends_one_direction_early() {
    let mut bench = Bench::new("down: half-close @2B");
    bench.send(Down, b"abcd");
    bench.expect(Down, b"ab", End::HalfClose);
    bench.send(Down, b"more");
    assert!(bench.faults.wants_input(Down), "what the sender sends is taken");
    bench.send(Up, b"still");
    bench.expect(Up, b"still", End::Open);
    bench.fin(Down);
    bench.expect(Down, b"", End::HalfClose);
    assert_eq!(bench.words(), [("half-close", Some(Down), 2)]);
    // A RST passes nevertheless.
    bench.rst(Down);
    bench.expect(Down, b"", End::Reset);
    bench.expect(Up, b"", End::ResetNow);
}

#[test]
fn a_direction_holds_what_is_delayed() {
    let mut bench = Bench::new("up: delay=1s");
    assert!(!bench.faults.holds(Up));
    bench.send(Up, b"abc");
    bench.rst(Up);
    assert!(bench.faults.holds(Up) && !bench.faults.needs_poll(Up));
    bench.at(1000);
    bench.expect(Up, b"abc", End::Reset);
    assert!(!bench.faults.holds(Up));
}

#[test]
fn half_close_in_the_place_of_the_fin_changes_nothing() {
    let mut bench = Bench::new("down: half-close @2B");
    bench.send(Down, b"ab");
    bench.fin(Down);
    bench.expect(Down, b"ab", End::HalfClose);
    assert_eq!(bench.words(), []);
}

#[test]
fn eat_fin_keeps_the_receiver_waiting() {
    let mut bench = Bench::new("up: eat-fin");
    bench.send(Up, b"abc");
    bench.fin(Up);
    bench.expect(Up, b"abc", End::Open);
    assert_eq!(bench.words(), [("eat-fin", Some(Up), 3)]);
    bench.send(Down, b"reply");
    bench.fin(Down);
    bench.expect(Down, b"reply", End::HalfClose);
    assert!(!bench.faults.is_over(), "the target still waits for the FIN");
    bench.rst(Down);
    bench.rst(Up);
    assert!(bench.faults.is_over());
}

#[test]
fn close_on_eof_loses_the_reply() {
    let mut bench = Bench::new("up: close-on-eof; down: delay=1s");
    bench.send(Up, b"request");
    bench.send(Down, b"reply");
    bench.fin(Up);
    bench.expect(Up, b"request", End::Close);
    bench.at(1000);
    bench.expect(Down, b"", End::Close);
    assert!(bench.faults.is_over());
}

#[test]
fn fin_and_rst_change_into_each_other() {
    let mut bench = Bench::new("up: fin-to-rst");
    bench.send(Up, b"abc");
    bench.send(Down, b"reply");
    bench.fin(Up);
    bench.expect(Up, b"abc", End::Reset);
    bench.expect(Down, b"reply", End::Close);
    assert_eq!(bench.words(), [("fin-to-rst", Some(Up), 3)]);
    let mut bench = Bench::new("down: rst-to-fin");
    bench.send(Down, b"abc");
    bench.rst(Down);
    bench.expect(Down, b"abc", End::Close);
    bench.expect(Up, b"", End::ResetNow);
    assert_eq!(bench.words(), [("rst-to-fin", Some(Down), 3)]);
    // Each leaves the other as it is.
    let mut bench = Bench::new("fin-to-rst; down: delay=1s");
    bench.rst(Up);
    bench.expect(Up, b"", End::Reset);
    let mut bench = Bench::new("rst-to-fin");
    bench.fin(Up);
    bench.expect(Up, b"", End::HalfClose);
}

#[test]
fn rst_eats_tail_overtakes_the_bytes_before_it() {
    for (text, want) in [("down: delay=1s; down: rst-eats-tail", &b""[..]), ("down: delay=1s", b"tail")] {
        let mut bench = Bench::new(text);
        bench.send(Down, b"tail");
        bench.rst(Down);
        bench.at(2000);
        let end = if want.is_empty() { End::ResetNow } else { End::Reset };
        bench.expect(Down, want, end);
    }
}

#[test]
fn silent_says_nothing_to_either_end() {
    let mut bench = Bench::new("up: silent @2B");
    bench.send(Up, b"abcd");
    bench.expect(Up, b"ab", End::Silent);
    bench.expect(Down, b"", End::Silent);
    assert!(bench.faults.wants_input(Up) && bench.faults.wants_input(Down), "what arrives is taken");
    bench.send(Down, b"reply");
    bench.fin(Down);
    bench.rst(Up);
    bench.expect(Up, b"", End::Silent);
    bench.expect(Down, b"", End::Silent);
    assert!(!bench.faults.is_over());
    bench.rst(Down);
    assert!(bench.faults.is_over(), "both senders are gone");
    assert_eq!(bench.words(), [("silent", Some(Up), 2)]);
}

#[test]
fn one_way_discards_one_direction() {
    let mut bench = Bench::new("up: one-way @2B");
    bench.send(Up, b"abcd");
    bench.expect(Up, b"ab", End::Open);
    for _ in 0..100 {
        assert!(bench.faults.wants_input(Up));
        bench.send(Up, &[0; 4096]);
    }
    bench.fin(Up);
    bench.expect(Up, b"", End::Open);
    bench.send(Down, b"reply");
    bench.fin(Down);
    bench.expect(Down, b"reply", End::HalfClose);
    assert_eq!(bench.words(), [("one-way", Some(Up), 2)]);
}

#[test]
fn one_way_at_a_time_swallows_a_reset_too() {
    let mut bench = Bench::new("up: one-way @1s");
    bench.send(Up, b"abc");
    bench.at(1000);
    bench.rst(Up);
    bench.expect(Up, b"abc", End::Open);
    assert_eq!((bench.words(), bench.times()), (vec![("one-way", Some(Up), 3)], vec![1000]));
}

#[test]
fn split_hello_drop_is_for_a_hello_longer_than_a_segment() {
    let mut bench = Bench::new("split-hello-drop");
    for part in hello(1700).chunks(3) {
        bench.send(Up, part);
    }
    assert_eq!(bench.take(Up), hello(1700)[..1400]);
    assert_eq!(bench.ends, [End::Silent; 2]);
    assert_eq!(bench.words(), [("split-hello-drop", Some(Up), 1400)]);
    let mut other = hello(1700);
    other[5] = 2;
    for bytes in [[hello(1400), vec![0; 9]].concat(), other, vec![b'x'; 2000], hello(1700)[..6].to_vec()] {
        let mut bench = Bench::new("split-hello-drop");
        bench.send(Up, &bytes);
        assert_eq!((bench.take(Up), bench.ends[0]), (bytes, End::Open));
    }
}

#[test]
fn endings_hit_at_a_time_what_has_not_left() {
    for (text, ends) in [
        ("reset @2s", [End::ResetNow; 2]),
        ("close @2s", [End::Close; 2]),
        ("silent @2s", [End::Silent; 2]),
        ("down: reset-one-side @2s", [End::Close, End::ResetNow]),
    ] {
        let mut bench = Bench::new(&format!("{text}; down: delay=5s"));
        bench.send(Down, b"waits");
        bench.at(1999);
        assert_eq!(bench.ends, [End::Open; 2], "{text}");
        bench.at(9000);
        assert_eq!((bench.ends, &bench.got[1][..]), (ends, &b""[..]), "{text}");
        assert_eq!(bench.times(), [0, 2000], "{text}");
    }
    // A half-close waits for them.
    let mut bench = Bench::new("down: half-close @2s; down: delay=5s");
    bench.send(Down, b"waits");
    bench.at(4999);
    bench.expect(Down, b"", End::Open);
    bench.at(5000);
    bench.expect(Down, b"waits", End::HalfClose);
}

#[test]
fn what_comes_behind_the_end_of_both_directions_is_taken_and_discarded() {
    let now = std::time::Instant::now();
    let spec: FaultSpec = "half-close @0B".parse().unwrap();
    let mut faults = spec.connection(1, 1, None, now).unwrap();
    let mut out = Vec::new();
    for direction in [Up, Down] {
        faults.received(now, direction, b"first");
        assert_eq!(faults.poll(now, direction, 100, &mut out).end, End::HalfClose);
    }
    assert!(faults.is_over() && out.is_empty());
    for direction in [Up, Down] {
        // Otherwise a relay would never read the FIN after it.
        assert!(faults.wants_input(direction));
        faults.received(now, direction, &[b'x'; 100_000]);
        assert!(faults.wants_input(direction) && !faults.needs_poll(direction));
        faults.received_fin(now, direction);
        faults.poll(now, direction, 100, &mut out);
    }
    assert!(out.is_empty());
}
