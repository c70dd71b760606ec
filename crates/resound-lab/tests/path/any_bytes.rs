//! Whatever the packets are, the router goes on, and what it makes of good ones is well-formed.

use proptest::prelude::*;
use resound_lab::{DefectKind, OffloadHeader, StreamDirection, segments};

use crate::bench::{Bench, DOWN, Segment, UP, data, is_right, millis, ping, udp};

/// All defects at once, without those that drop all.
const ALL: &str = "strip=sack+timestamps+wscale+ecn+all-unknown; one-sided-strip=sack; mss-clamp=500; dscp-bleach; \
                   corrupt-payload=50%; corrupt-checksum=5%; duplicate=20%; reorder=30% by=2; jitter=1ms; \
                   rate=10MiB/s; eat-fin odds=50%; rst-inject odds=5%; cap=50 reset; mtu=900 odds=50%; fragment=400; \
                   nat ports=changed idle-reset=50ms half-closed-idle=20ms; loss=1%/10%/50%/0%";

fn way(is_up: bool) -> StreamDirection {
    if is_up { UP } else { DOWN }
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let options = proptest::sample::select(vec![
        &[][..],
        &[2, 4, 5, 180],
        &[1, 3, 3, 7],
        &[2, 40, 0, 0],
        &[5, 2, 8, 0],
        &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]);
    let flags = proptest::sample::select(vec!["", "S", "F", "R", "SF", "SRFPEC", "P"]);
    let tcp = (any::<bool>(), any::<bool>(), options, flags, 0_usize..1500, any::<u32>(), 1_u16..4).prop_map(
        |(is_up, is_v6, options, flags, length, seq, near_port)| {
            let direction = way(is_up);
            let ack = (!flags.contains('S')).then_some(seq);
            let payload = vec![3; length];
            Segment { direction, is_v6, options, flags, seq, ack, near_port, payload, ..Segment::default() }.bytes()
        },
    );
    prop_oneof![
        8 => tcp,
        1 => (any::<bool>(), 0_usize..1500).prop_map(|(is_up, length)| udp(way(is_up), 9, &vec![1; length])),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(is_up, is_v6)| ping(way(is_up), is_v6, 5)),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ]
}

/// A packet with some bytes changed, and cut.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((0_usize..80, any::<u8>()), 0..6);
    (packet(), changes, 0_usize..1600).prop_map(|(mut packet, changes, length)| {
        for (at, byte) in changes {
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        packet.truncate(length);
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_packet_stops_the_router(packets in proptest::collection::vec((any::<bool>(), broken(), 0_u64..30), 1..60)) {
        let singles = DefectKind::all().map(DefectKind::example);
        let split = format!("split-tcp; {ALL}").replace("; cap=50 reset", "");
        for spec in [ALL.to_string(), split].into_iter().chain(singles) {
            let mut bench = Bench::new(&spec);
            for (is_up, packet, wait) in &packets {
                bench.pass(way(*is_up), packet);
                bench.wait(millis(*wait));
            }
            bench.wait(millis(10_000));
            let summary = bench.summary();
            prop_assert_eq!(summary.up.arrived + summary.down.arrived, packets.len() as u64);
            prop_assert_eq!(summary.up.left + summary.down.left, bench.seen.sent.len() as u64);
        }
    }

    #[test]
    fn good_packets_stay_good(packets in proptest::collection::vec((any::<bool>(), packet()), 1..40)) {
        let all = ALL.replace("corrupt-checksum=5%; ", "");
        for spec in [all.as_str(), "nat", "strip=ecn+sack", "mtu=300", "fragment=300", "corrupt-payload=100%"] {
            let mut bench = Bench::new(spec);
            for (is_up, packet) in &packets {
                if packet.len() >= 28 && is_good(packet) {
                    bench.pass(way(*is_up), packet);
                    bench.wait(millis(1));
                }
            }
            bench.wait(millis(10_000));
            for sent in &bench.seen.sent {
                prop_assert!(is_right(&sent.bytes), "{} {:?}", spec, sent);
            }
        }
    }

    #[test]
    fn no_offload_header_stops_the_split(
        packet in broken(),
        header in any::<[u8; 10]>(),
        segment_size in 0_u16..100,
        needs_checksum in any::<bool>(),
    ) {
        for header in [OffloadHeader::parse(header), OffloadHeader { segment_size, needs_checksum }] {
            let mut bytes = 0;
            segments(header, &mut packet.clone(), |segment| bytes += segment.len());
            prop_assert!(bytes >= packet.len().min(1) && bytes <= 100 * packet.len().max(1));
        }
    }
}

/// Is it one of those that were made, and not of random bytes?
fn is_good(packet: &[u8]) -> bool {
    let of = |bytes: &[u8]| bytes[12..15] == [10, 77, 0] || bytes[8..10] == [0xfd, 0x77];
    [0x45, 0x60].contains(&packet[0]) && of(packet)
}

#[test]
fn padding_behind_a_packet_is_left_out() {
    let packet = data(1, 2);
    let padded = [packet.as_slice(), &[0; 6]].concat();
    assert_eq!(Bench::new("").up(&padded), [packet]);
}
