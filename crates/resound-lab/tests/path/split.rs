//! A proxying box, segment by segment.

use crate::bench::{Bench, DOWN, Segment, UP, handshake, is_right, millis, payload, tcp};

/// Opens a connection through the box; the sequence numbers that it uses to the near end and to the
/// far end.
fn open(bench: &mut Bench) -> (u32, u32) {
    let syn = Segment { seq: 999, ack: None, flags: "S", options: &[2, 4, 5, 180], ..Segment::default() };
    let left = bench.up(&syn.bytes());
    let (answer, opening) = (tcp(&left[0]), tcp(&left[1]));
    assert!(answer.syn && answer.ack && answer.acknowledgment_number == 1000);
    assert!(opening.syn && !opening.ack && opening.source_port == 40_000 && left.iter().all(|each| is_right(each)));
    assert_eq!((bench.seen.sent[0].direction, bench.seen.sent[1].direction), (DOWN, UP));
    let numbers = (answer.sequence_number.wrapping_add(1), opening.sequence_number.wrapping_add(1));
    bench.up(&Segment { ack: Some(numbers.0), ..Segment::default() }.bytes());
    let back = Segment { direction: DOWN, seq: 4999, ack: Some(numbers.1), flags: "S", ..Segment::default() };
    let left = bench.down(&Segment { options: &[2, 4, 5, 180], ..back }.bytes());
    assert_eq!((tcp(&left[0]).acknowledgment_number, tcp(&left[0]).syn), (5000, false));
    numbers
}

#[test]
fn the_box_acknowledges_itself_and_uses_its_own_numbers() {
    let mut bench = Bench::new("split-tcp");
    let (near, far) = open(&mut bench);
    let question = Segment { ack: Some(near), payload: b"question".to_vec(), ..Segment::default() };
    let left = bench.up(&question.bytes());
    assert_eq!((tcp(&left[0]).acknowledgment_number, payload(&left[0]).len()), (1008, 0));
    assert_eq!((tcp(&left[1]).sequence_number, payload(&left[1])), (far, b"question".to_vec()));
    // The far end is silent: only the box repeats itself.
    let before = bench.seen.sent.len();
    bench.wait(millis(3000));
    let again = &bench.seen.sent[before..];
    assert!(again.len() >= 2 && again.iter().all(|sent| sent.direction == UP && payload(&sent.bytes) == b"question"));
}

#[test]
fn the_box_asks_whether_a_closed_window_has_opened() {
    let mut bench = Bench::new("split-tcp");
    let (near, far) = open(&mut bench);
    let mut closed = Segment { direction: DOWN, seq: 5000, ack: Some(far), ..Segment::default() }.bytes();
    let (right, window) = (u16::from_be_bytes([closed[36], closed[37]]), 60_000_u32);
    closed[34..36].fill(0);
    // One word less in the sum: its complement more.
    let sum = u32::from(right) + window;
    closed[36..38].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    assert!(is_right(&closed));
    bench.down(&closed);
    bench.up(&Segment { ack: Some(near), payload: vec![7; 3000], ..Segment::default() }.bytes());
    let before = bench.seen.sent.len();
    for _ in 0..30 {
        bench.wait(millis(30_000));
        bench.down(&closed);
    }
    let asked: Vec<_> = bench.seen.sent[before..].iter().filter(|sent| sent.direction == UP).collect();
    assert!(asked.len() >= 20 && asked.iter().all(|sent| payload(&sent.bytes).len() == 1), "{}", asked.len());
    // It never gives up while the far end answers.
    assert!(!bench.seen.sent.iter().any(|sent| tcp(&sent.bytes).rst));
}

#[test]
fn a_reset_of_one_end_reaches_the_other() {
    for direction in [UP, DOWN] {
        let mut bench = Bench::new("split-tcp");
        let (near, far) = open(&mut bench);
        let reset = match direction {
            UP => Segment { seq: 1000, ack: Some(near), flags: "R", ..Segment::default() },
            DOWN => Segment { direction, seq: 5000, ack: Some(far), flags: "R", ..Segment::default() },
        };
        let left = bench.pass(direction, &reset.bytes());
        let expected = if direction == UP { far } else { near };
        assert_eq!((left.len(), tcp(&left[0]).rst, tcp(&left[0]).sequence_number), (1, true, expected));
        // The ports are free again.
        open_again(&mut bench);
    }
}

fn open_again(bench: &mut Bench) {
    assert_eq!(handshake(bench, 40_000)[0].len(), 2);
}

#[test]
fn the_box_has_a_limit() {
    let mut bench = Bench::new("split-tcp");
    let syn = |near_port| Segment { near_port, seq: 9, ack: None, flags: "S", ..Segment::default() }.bytes();
    let taken = (1..=1100).filter(|port| !bench.up(&syn(*port)).is_empty()).count();
    assert_eq!((taken, bench.summary().up.dropped), (1024, 76));
}

#[test]
fn three_acks_of_the_same_byte_are_a_loss() {
    let mut bench = Bench::new("split-tcp");
    let (near, far) = open(&mut bench);
    for n in 0..5 {
        let seq = 1000 + n * 100;
        bench.up(&Segment { seq, ack: Some(near), payload: vec![n as u8; 100], ..Segment::default() }.bytes());
    }
    let same = Segment { direction: DOWN, seq: 5000, ack: Some(far), ..Segment::default() }.bytes();
    assert_eq!((bench.down(&same).len(), bench.down(&same).len()), (0, 0));
    let left = bench.down(&same);
    assert_eq!((tcp(&left[0]).sequence_number, payload(&left[0])[0]), (far, 0));
}
