//! Packets that arrive with wrong bytes.

use crate::bench::{Bench, DOWN, Segment, UP, data, is_right, payload, ping, tcp, udp};

#[test]
fn a_corrupt_checksum_is_wrong_and_nothing_else_is() {
    for packet in [
        data(1, 33),
        Segment { is_v6: true, payload: vec![9; 8], ..Segment::default() }.bytes(),
        udp(UP, 5, b"abc"),
        ping(UP, false, 1),
        ping(UP, true, 1),
    ] {
        let mut bench = Bench::new("corrupt-checksum=100%");
        let left = bench.up(&packet);
        assert!(is_right(&packet) && !is_right(&left[0]), "{packet:?}");
        let differing = packet.iter().zip(&left[0]).filter(|(one, other)| one != other).count();
        assert_eq!((differing, left[0].len()), (1, packet.len()));
        assert!(bench.note().contains("corrupt-checksum: checksum 0x"), "{}", bench.note());
    }
}

#[test]
fn a_corrupt_payload_has_a_right_checksum() {
    for packet in [
        data(1, 33),
        Segment { is_v6: true, payload: vec![9; 8], ..Segment::default() }.bytes(),
        udp(UP, 5, b"abc"),
        ping(UP, false, 1),
        ping(UP, true, 1),
    ] {
        let mut bench = Bench::new("corrupt-payload=100%");
        let left = bench.up(&packet);
        assert!(is_right(&left[0]), "{packet:?}");
        let (before, after) = (payload(&packet), payload(&left[0]));
        let bits: u32 = before.iter().zip(&after).map(|(one, other)| (one ^ other).count_ones()).sum();
        assert_eq!((bits, before.len()), (1, after.len()));
    }
    // A segment without payload has nothing that could be corrupted.
    let mut bench = Bench::new("corrupt-payload=100%");
    let ack = Segment::default().bytes();
    assert_eq!((bench.up(&ack), bench.note()), (vec![ack.clone()], ""));
}

/// A later change mends by the difference, so that what was wrong stays wrong.
#[test]
fn a_change_does_not_mend_what_was_wrong() {
    let syn = Segment { flags: "S", ack: None, options: &[2, 4, 5, 180], traffic_class: 0x48, ..Segment::default() };
    let left = Bench::new("corrupt-checksum=100%; mss-clamp=1000; dscp-bleach").up(&syn.bytes());
    assert!(!is_right(&left[0]));
    let left = Bench::new("mss-clamp=1000; dscp-bleach").up(&syn.bytes());
    assert!(is_right(&left[0]) && tcp(&left[0]).syn);
}

#[test]
fn udp_without_a_checksum_keeps_none() {
    let mut packet = udp(DOWN, 5, b"abc");
    packet[26..28].fill(0);
    let left = Bench::new("corrupt-payload=100%; corrupt-checksum=100%").down(&packet);
    assert_eq!(left[0][26..28], [0, 0]);
    assert_ne!(left[0], packet);
}
