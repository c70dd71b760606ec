//! Faults of the bytes.

use resound_faults::End;

use crate::bench::{Bench, Down, Up};

#[test]
fn without_a_rule_for_a_direction_it_is_unchanged() {
    let mut bench = Bench::new("down: delay=1s");
    bench.send(Up, b"abc");
    bench.expect(Up, b"abc", End::Open);
    bench.fin(Up);
    bench.expect(Up, b"", End::HalfClose);
    assert!(!bench.faults.is_over());
    bench.rst(Down);
    bench.at(1000);
    bench.expect(Down, b"", End::Reset);
    bench.expect(Up, b"", End::ResetNow);
    assert!(bench.faults.is_over());
}

#[test]
fn corrupt_inverts_one_bit_of_the_byte_at_its_trigger() {
    let mut bench = Bench::new("up: corrupt @3B");
    bench.send(Up, b"ab");
    bench.send(Up, b"cdef");
    let got = bench.take(Up);
    assert_eq!((&got[..3], &got[4..]), (&b"abc"[..], &b"ef"[..]));
    assert_eq!((got[3] ^ b'd').count_ones(), 1);
    assert_eq!(bench.words(), [("corrupt", Some(Up), 3)]);
    // Its end is not touched, and neither is the other direction.
    bench.fin(Up);
    bench.send(Down, b"0123");
    bench.expect(Up, b"", End::HalfClose);
    bench.expect(Down, b"0123", End::Open);
}

#[test]
fn corrupt_with_a_chance_alone_draws_for_each_block() {
    let mut bench = Bench::new("up: corrupt 25%");
    bench.send(Up, &vec![0; 400 * 1024]);
    let got = bench.take(Up);
    let changed: Vec<_> = got.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at as u64).collect();
    assert!((60..140).contains(&changed.len()), "{}", changed.len());
    assert!(got.iter().all(|byte| byte.count_ones() <= 1));
    assert_eq!(bench.words().iter().map(|event| event.2).collect::<Vec<_>>(), changed);
    assert!(changed.windows(2).all(|pair| pair[0] / 1024 < pair[1] / 1024), "one of each block");
    // Another seed changes others.
    let mut other = Bench::with_seed("up: corrupt 25%", 2);
    other.send(Up, &vec![0; 400 * 1024]);
    assert_ne!(other.take(Up), got);
}

#[test]
fn truncate_drops_the_tail_and_passes_the_fin() {
    let mut bench = Bench::new("down: truncate @4B");
    bench.send(Down, b"abcdef");
    bench.send(Down, b"ghi");
    bench.expect(Down, b"abcd", End::Open);
    assert!(bench.faults.wants_input(Down), "the tail is taken");
    bench.fin(Down);
    bench.expect(Down, b"", End::HalfClose);
    assert_eq!(bench.words(), [("truncate", Some(Down), 4)]);
    // Nothing is cut from a stream that ends there.
    let mut bench = Bench::new("down: truncate @4B");
    bench.send(Down, b"abcd");
    bench.fin(Down);
    bench.expect(Down, b"abcd", End::HalfClose);
    assert_eq!(bench.words(), []);
}

#[test]
fn duplicate_sends_the_bytes_behind_its_trigger_twice() {
    let mut bench = Bench::new("up: duplicate=3B @2B");
    bench.send(Up, b"abcd");
    bench.expect(Up, b"abcd", End::Open);
    bench.send(Up, b"efg");
    bench.expect(Up, b"ecdefg", End::Open);
    assert_eq!(bench.words(), [("duplicate", Some(Up), 2)]);
    // Of a stream that ends before, as many as there were.
    let mut bench = Bench::new("up: duplicate");
    bench.send(Up, b"abc");
    bench.fin(Up);
    bench.expect(Up, b"abcabc", End::HalfClose);
}

#[test]
fn swap_exchanges_two_blocks() {
    let mut bench = Bench::new("up: swap=2B @1B");
    bench.send(Up, b"abc");
    bench.expect(Up, b"a", End::Open);
    bench.send(Up, b"defg");
    bench.expect(Up, b"debcfg", End::Open);
    assert_eq!(bench.words(), [("swap", Some(Up), 1)]);
    // A stream that ends within the blocks is as it was.
    let mut bench = Bench::new("up: swap=2B @1B");
    bench.send(Up, b"abcd");
    bench.fin(Up);
    bench.expect(Up, b"abcd", End::HalfClose);
    assert_eq!(bench.words(), []);
}

#[test]
fn faults_of_the_same_bytes_keep_their_order() {
    let mut bench = Bench::new("up: swap=2B; up: corrupt @1B; up: duplicate=2B @4B; up: truncate @7B");
    bench.send(Up, b"aaaaefghi");
    bench.fin(Up);
    let got = bench.take(Up);
    assert_eq!((got[3] ^ b'a').count_ones(), 1, "{got:?}");
    assert_eq!(&got[4..], b"efefg");
    let want = [("swap", Some(Up), 0), ("corrupt", Some(Up), 1), ("duplicate", Some(Up), 4), ("truncate", Some(Up), 7)];
    assert_eq!(bench.words(), want);
}

#[test]
fn an_ending_within_swapped_blocks_lets_them_go_as_they_are() {
    let mut bench = Bench::new("up: swap=4B; up: half-close @6B");
    bench.send(Up, b"abcdefgh");
    bench.expect(Up, b"abcdef", End::HalfClose);
    assert_eq!(bench.words(), [("half-close", Some(Up), 6)]);
    for fault in ["one-way", "truncate"] {
        let mut bench = Bench::new(&format!("up: swap=4B; up: {fault} @6B"));
        bench.send(Up, b"abcdefgh");
        bench.expect(Up, b"abcdef", End::Open);
    }
}

#[test]
fn a_message_begins_behind_a_newline() {
    let mut bench = Bench::new("up: corrupt @message=3");
    bench.send(Up, b"one\ntw");
    bench.send(Up, b"o\n");
    bench.send(Up, b"three\n");
    let got = bench.take(Up);
    assert_eq!((&got[..8], &got[9..]), (&b"one\ntwo\n"[..], &b"hree\n"[..]));
    assert_eq!(bench.words(), [("corrupt", Some(Up), 8)]);
    // A third line that never comes is not hit, though the stream ends there.
    let mut bench = Bench::new("up: reset @message=3");
    bench.send(Up, b"one\ntwo\n");
    bench.fin(Up);
    bench.expect(Up, b"one\ntwo\n", End::HalfClose);
}

#[test]
fn a_time_arms_a_fault_of_bytes_for_the_next_byte() {
    let mut bench = Bench::new("up: corrupt @2s");
    bench.send(Up, b"aaa");
    bench.at(2000);
    bench.expect(Up, b"aaa", End::Open);
    bench.at(9000);
    bench.send(Up, b"bb");
    let got = bench.take(Up);
    assert_eq!(((got[0] ^ b'b').count_ones(), got[1]), (1, b'b'));
    assert_eq!((bench.words(), bench.times()), (vec![("corrupt", Some(Up), 3)], vec![9000]));
}
