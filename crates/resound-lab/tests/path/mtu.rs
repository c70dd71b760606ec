//! An MTU in the middle of the path.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketHeaders, TransportHeader};
use resound_lab::{ROUTER_V4, ROUTER_V6};

use crate::bench::{Bench, DOWN, Segment, UP, data, data_down, is_right, payload, tcp, udp, v4, v6};

fn long(is_v6: bool) -> Segment {
    Segment { is_v6, payload: vec![7; 1400], ..Segment::default() }
}

#[test]
fn a_longer_packet_is_dropped_and_icmp_says_the_mtu() {
    let mut bench = Bench::new("mtu=1400");
    let packet = long(false).bytes();
    let left = bench.up(&packet);
    let sent = bench.seen.sent.last().unwrap();
    assert_eq!((left.len(), sent.direction), (1, DOWN));
    assert!(is_right(&sent.bytes) && sent.bytes.len() <= 576);
    assert_eq!((v4(&left[0]).source, v4(&left[0]).destination), (ROUTER_V4.octets(), [10, 77, 0, 1]));
    let TransportHeader::Icmpv4(icmp) = PacketHeaders::from_ip_slice(&left[0]).unwrap().transport.unwrap() else {
        panic!("no ICMP")
    };
    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    assert_eq!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(needed));
    // It quotes the packet, so that the sender finds the connection.
    assert!(packet.starts_with(&payload(&left[0])) && payload(&left[0]).len() >= 28);
    assert_eq!(bench.seen.notes[0], "tcp 1, up 1: mtu: dropped");
    assert_eq!(bench.seen.notes[1], "tcp 1, the router's own: mtu: ICMP: the MTU is 1400");
    let summary = bench.summary();
    assert_eq!((summary.up.dropped, summary.down.made, summary.down.left), (1, 1, 1));
    // A packet of exactly the MTU passes.
    assert_eq!(bench.up(&data(1, 1360)).len(), 1);
    assert_eq!(bench.note(), "");
    assert_eq!(v4(&bench.up(&data(1, 1361))[0]).destination, [10, 77, 0, 1]);
}

#[test]
fn ipv6_says_packet_too_big() {
    let mut bench = Bench::new("mtu=1300");
    let packet = Segment { direction: DOWN, ..long(true) }.bytes();
    let left = bench.down(&packet);
    assert!(is_right(&left[0]) && left[0].len() <= 1280 && bench.seen.sent[0].direction == UP);
    assert_eq!(v6(&left[0]).source, ROUTER_V6.octets());
    let TransportHeader::Icmpv6(icmp) = PacketHeaders::from_ip_slice(&left[0]).unwrap().transport.unwrap() else {
        panic!("no ICMP")
    };
    assert_eq!(icmp.icmp_type, Icmpv6Type::PacketTooBig { mtu: 1300 });
    assert!(packet.starts_with(&payload(&left[0])));
}

#[test]
fn a_black_hole_is_silent() {
    let mut bench = Bench::new("down: mtu=1400 silent");
    assert!(bench.down(&Segment { direction: DOWN, ..long(false) }.bytes()).is_empty());
    assert!(bench.down(&Segment { direction: DOWN, ..long(true) }.bytes()).is_empty());
    assert_eq!(bench.seen.notes.len(), 2);
    assert_eq!((bench.up(&long(false).bytes()).len(), bench.down(&data_down(1, 1000)).len()), (1, 1));
}

#[test]
fn a_packet_that_may_be_fragmented_is() {
    let mut bench = Bench::new("mtu=600");
    let left = bench.up(&udp(UP, 9, &[5; 1500]));
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|part| part.len() <= 600 && is_right(part)));
}

#[test]
fn icmp_errors_are_answered_with_none() {
    let mut bench = Bench::new("mtu=68");
    let error = bench.up(&data(1, 500)).remove(0);
    assert!(bench.down(&error).is_empty());
    let mut bench = Bench::new("mtu=200");
    let unspecified = {
        let mut packet = Segment { is_v6: true, payload: vec![0; 300], ..Segment::default() }.bytes();
        packet[8..24].fill(0);
        packet
    };
    assert!(bench.up(&unspecified).is_empty());
}

#[test]
fn filters_make_a_hole_for_one_port() {
    let mut bench = Bench::new("mtu=1000 silent port=443");
    assert_eq!(bench.up(&long(false).bytes()).len(), 1);
    assert!(bench.up(&Segment { far_port: 443, ..long(false) }.bytes()).is_empty());
    assert_eq!(tcp(&bench.up(&Segment { far_port: 443, ..Segment::default() }.bytes())[0]).destination_port, 443);
}
