//! Packets that leave in fragments, whatever their senders want.

use std::collections::BTreeSet;

use etherparse::defrag::IpDefragPool;
use etherparse::{PacketHeaders, SlicedPacket};

use crate::bench::{Bench, DOWN, Segment, UP, data, is_right, pattern, udp, v4};

/// What the fragments are together, as something else sees it.
fn together(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut pool = IpDefragPool::<(), ()>::new();
    let mut whole = None;
    for part in parts {
        let sliced = SlicedPacket::from_ip(part).unwrap();
        whole = pool.process_sliced_packet(&sliced, (), ()).unwrap().or(whole);
    }
    whole.expect("not all fragments").payload
}

/// The bytes after the IP header.
fn transport(packet: &[u8]) -> Vec<u8> {
    packet[if packet[0] >> 4 == 4 { 20 } else { 40 }..].to_vec()
}

#[test]
fn fragments_are_the_packet_together() {
    for packet in [
        data(5, 1400),
        udp(UP, 9, &pattern(1371)),
        Segment { is_v6: true, payload: pattern(1333), ..Segment::default() }.bytes(),
    ] {
        for most in [68, 300, 576, 1000] {
            let mut bench = Bench::new(&format!("fragment={most}"));
            let parts = bench.up(&packet);
            assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= most), "{most}");
            assert!(parts.iter().all(|part| is_right(part)));
            assert_eq!(together(&parts), transport(&packet), "{most}");
            assert!(bench.note().ends_with(&format!("fragment: in fragments of at most {most} bytes")));
        }
    }
    assert_eq!(Bench::new("fragment=500").up(&data(1, 460)).len(), 1);
}

#[test]
fn fragments_of_different_packets_have_different_numbers() {
    let mut bench = Bench::new("fragment=576");
    let numbers: BTreeSet<u16> = (0..10).map(|n| v4(&bench.up(&data(n, 1000))[0]).identification).collect();
    assert_eq!(numbers.len(), 10);
    // A packet's own is kept.
    assert!(bench.up(&udp(UP, 9, &[5; 1500])).iter().all(|part| v4(part).identification == 77));
}

#[test]
fn fragments_are_fragmented_again() {
    let parts = Bench::new("fragment=1000").up(&udp(UP, 9, &pattern(2000)));
    let mut bench = Bench::new("fragment=300");
    let smaller: Vec<_> = parts.iter().flat_map(|part| bench.up(part)).collect();
    assert!(smaller.len() > 6);
    assert_eq!(together(&smaller), transport(&udp(UP, 9, &pattern(2000))));
}

/// A fragment that is not the first has no ports; it passes, and its checksum is left alone.
#[test]
fn other_defects_let_fragments_be() {
    let parts = Bench::new("fragment=600").down(&udp(DOWN, 9, &pattern(1500)));
    let mut bench = Bench::new("corrupt-payload=100%; mss-clamp=100; strip=sack+all-unknown; dscp-bleach");
    let passed: Vec<_> = parts.iter().map(|part| bench.down(part).remove(0)).collect();
    assert_eq!(passed[1..], parts[1..]);
    assert!(PacketHeaders::from_ip_slice(&passed[0]).is_ok() && passed[0] != parts[0]);
}
