//! Boxes that know connections: caps, firewalls, forged resets, black holes.

use crate::bench::{Bench, DOWN, Segment, UP, data, data_down, handshake, is_right, millis, tcp, udp};

#[test]
fn a_forged_rst_reaches_both_ends_once() {
    let mut bench = Bench::new("up: rst-inject @10B");
    handshake(&mut bench, 40_000);
    assert_eq!(bench.down(&data_down(5000, 20)).len(), 1);
    let first = Segment { payload: vec![1; 10], ack: Some(5020), ..Segment::default() };
    assert_eq!(bench.up(&first.bytes()).len(), 1);
    // The eleventh byte: the segment passes, and the RSTs come after it.
    let left = bench.up(&Segment { seq: 1010, ..first.clone() }.bytes());
    assert_eq!(left.len(), 3);
    let sent = &bench.seen.sent[bench.seen.sent.len() - 2..];
    let (far, near) = (tcp(&sent[0].bytes), tcp(&sent[1].bytes));
    assert_eq!((sent[0].direction, sent[1].direction), (UP, DOWN));
    assert!(far.rst && near.rst && is_right(&sent[0].bytes) && is_right(&sent[1].bytes));
    // Exactly where each end expects it (RFC 5961).
    assert_eq!((far.source_port, far.destination_port, far.sequence_number), (40_000, 80, 1020));
    assert_eq!((near.source_port, near.destination_port, near.sequence_number), (80, 40_000, 5020));
    assert_eq!(bench.up(&Segment { seq: 1020, ..first }.bytes()).len(), 1);
    assert_eq!((bench.summary().up.made, bench.summary().down.made), (1, 1));
}

#[test]
fn a_forged_rst_may_reach_one_end() {
    for (to, direction) in [("near", DOWN), ("far", UP)] {
        let mut bench = Bench::new(&format!("rst-inject to={to} flags=psh"));
        handshake(&mut bench, 40_000);
        let left = bench.up(&Segment { flags: "P", payload: vec![1], ..Segment::default() }.bytes());
        let sent = bench.seen.sent.last().unwrap();
        assert_eq!((left.len(), sent.direction, tcp(&sent.bytes).rst), (2, direction, true));
    }
}

#[test]
fn a_rst_for_a_syn_is_one_that_its_sender_takes() {
    let mut bench = Bench::new("rst-inject to=near");
    bench.up(&Segment { seq: 999, ack: None, flags: "S", ..Segment::default() }.bytes());
    let reset = tcp(&bench.seen.sent.last().unwrap().bytes);
    assert!(reset.rst && reset.ack && reset.acknowledgment_number == 1000 && reset.sequence_number == 0);
}

/// The RST leaves behind the packets that were on their way.
#[test]
fn a_rst_does_not_overtake_what_is_late() {
    let mut bench = Bench::new("delay=30ms; up: rst-inject @packet=3");
    handshake(&mut bench, 40_000);
    bench.wait(millis(10));
    bench.up(&data(1000, 5));
    bench.wait(millis(100));
    let up: Vec<_> = bench.seen.sent.iter().filter(|sent| sent.direction == UP).collect();
    let last = up.last().unwrap();
    assert!(tcp(&last.bytes).rst && last.at == millis(40) && tcp(&last.bytes).sequence_number == 1005);
    assert_eq!(tcp(&up[up.len() - 2].bytes).sequence_number, 1000);
}

#[test]
fn a_cap_counts_open_connections() {
    let mut bench = Bench::new("cap=2");
    let opened = |bench: &mut Bench, port| handshake(bench, port).map(|left| left.len());
    assert_eq!((opened(&mut bench, 1), opened(&mut bench, 2)), ([1, 1, 1], [1, 1, 1]));
    assert_eq!(opened(&mut bench, 3)[0], 0);
    assert_eq!(bench.note(), "tcp 3, up 2: cap: dropped");
    assert_eq!(bench.up(&udp(UP, 5, b"x")).len(), 1);
    // One that is closed makes room, and is let through to its end.
    let fin = |direction| Segment { direction, near_port: 1, flags: "F", ..Segment::default() }.bytes();
    assert_eq!((bench.up(&fin(UP)).len(), bench.down(&fin(DOWN)).len()), (1, 1));
    assert_eq!(bench.up(&Segment { near_port: 1, ..Segment::default() }.bytes()).len(), 1);
    assert_eq!(opened(&mut bench, 4), [1, 1, 1]);
    assert_eq!(opened(&mut bench, 5)[0], 0);
    let rst = Segment { near_port: 4, flags: "R", ..Segment::default() }.bytes();
    bench.up(&rst);
    assert_eq!(opened(&mut bench, 6), [1, 1, 1]);
}

#[test]
fn a_cap_may_reset() {
    let mut bench = Bench::new("cap=1 reset");
    handshake(&mut bench, 1);
    let left = bench.up(&Segment { near_port: 2, seq: 999, ack: None, flags: "S", ..Segment::default() }.bytes());
    let reset = tcp(&left[0]);
    assert!(left.len() == 1 && reset.rst && reset.acknowledgment_number == 1000 && is_right(&left[0]));
    assert_eq!((reset.destination_port, bench.seen.sent.last().unwrap().direction), (2, DOWN));
}

#[test]
fn a_firewall_that_sees_one_direction_drops_all_but_syns() {
    // The SYN and its answer pass; the client is connected, and nothing that it sends arrives.
    let mut bench = Bench::new("asymmetric-conntrack");
    assert_eq!(handshake(&mut bench, 1).map(|left| left.len()), [1, 1, 0]);
    assert_eq!((bench.up(&data(1000, 5)).len(), bench.down(&data_down(1, 1)).len()), (0, 1));
    assert_eq!(bench.up(&udp(UP, 5, b"x")).len(), 1);
    // It sees an answer to a SYN that it has not seen.
    let mut bench = Bench::new("down: asymmetric-conntrack");
    assert_eq!(handshake(&mut bench, 1).map(|left| left.len()), [1, 0, 1]);
}

#[test]
fn a_black_hole_opens_after_bytes_packets_or_time() {
    let mut bench = Bench::new("blackhole @64KiB");
    let passed = (0..100_u32).take_while(|n| !bench.up(&data(n * 1000, 1000)).is_empty()).count();
    // The 66th segment has the byte; then both directions are dead, and other connections live.
    assert_eq!((passed, bench.down(&data_down(1, 1)).len()), (65, 0));
    assert_eq!(handshake(&mut bench, 9).map(|left| left.len()), [1, 1, 1]);

    let mut bench = Bench::new("down: blackhole @packet=2");
    assert_eq!([1, 2].map(|n| bench.down(&data_down(n, 1)).len()), [1, 0]);
    assert_eq!(bench.up(&data(1, 1)).len(), 1);

    let mut bench = Bench::new("blackhole @5s");
    assert_eq!(bench.up(&data(1, 1)).len(), 1);
    bench.wait(millis(5000));
    assert_eq!(bench.down(&data_down(1, 1)).len(), 0);
    assert!(Bench::new("blackhole").up(&data(1, 1)).is_empty());
}

/// The ports of a connection that is over are those of a new one.
#[test]
fn ports_that_are_used_again_are_another_flow() {
    let mut bench = Bench::new("2: blackhole");
    handshake(&mut bench, 1);
    let rst = Segment { near_port: 1, flags: "R", ..Segment::default() }.bytes();
    assert_eq!(bench.up(&rst).len(), 1);
    let again = Segment { near_port: 1, seq: 777_777, ack: None, flags: "S", ..Segment::default() };
    assert_eq!((bench.up(&again.bytes()).len(), bench.note()), (0, "tcp 2, up 1: blackhole: dropped"));
}

/// A flood of connections ends no older one that goes on, and takes bounded memory.
#[test]
fn a_flood_of_flows_forgets_the_silent_ones() {
    let mut bench = Bench::new("1: mss-clamp=100; cap=100000");
    handshake(&mut bench, 40_000);
    let syn =
        |near_port, far_port| Segment { near_port, far_port, flags: "S", ack: None, ..Segment::default() }.bytes();
    for n in 0..70_000_u32 {
        bench.up(&syn((n % 30_000) as u16, 1000 + (n / 30_000) as u16));
        bench.seen.sent.clear();
        bench.seen.notes.clear();
        if n % 1000 == 0 {
            assert_eq!(bench.up(&data(n, 1)).len(), 1);
        }
    }
    bench.up(&Segment { payload: vec![1], ..Segment::default() }.bytes());
    assert_eq!(bench.summary().flows, 70_001);
}
