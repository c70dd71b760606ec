//! Packets that are lost, doubled and overtaken.

use std::time::Duration;

use crate::bench::{Bench, DOWN, Segment, data, data_down, handshake, millis, ping, tcp, udp};

/// Which of so many data segments left, by sequence number.
fn left(spec: &str, count: u32) -> Vec<u32> {
    let mut bench = Bench::new(spec);
    (0..count).filter(|n| !bench.up(&data(n * 100, 100)).is_empty()).collect()
}

#[test]
fn a_clean_path_passes_packets_as_they_are() {
    let mut bench = Bench::new("");
    for packet in [data(1, 100), udp(DOWN, 9, b"x"), ping(DOWN, true, 3)] {
        assert_eq!(bench.down(&packet), std::slice::from_ref(&packet));
        assert_eq!(bench.note(), "");
    }
    assert_eq!(bench.next_due(), None);
}

#[test]
fn loss_drops_its_share_of_one_direction() {
    let mut bench = Bench::new("up: loss=10%");
    let up = (0..5000_u32).filter(|n| bench.up(&data(n * 9, 9)).is_empty()).count();
    let down = (0..500_u32).filter(|n| bench.down(&data_down(n * 9, 9)).is_empty()).count();
    assert!((430..570).contains(&up) && down == 0, "{up} {down}");
    let summary = bench.summary();
    assert_eq!((summary.up.dropped, summary.up.left, summary.down.dropped), (up as u64, 5000 - up as u64, 0));
    assert_eq!((summary.defects[0].defect, summary.defects[0].up), ("loss", up as u64));
}

#[test]
fn bursts_lose_neighbours() {
    let runs = |spec: &str| {
        let left = left(spec, 8000);
        let gaps: Vec<u32> = left.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
        (gaps.iter().sum::<u32>(), gaps.len())
    };
    let (even, even_runs) = runs("loss=5%");
    let (burst, burst_runs) = runs("loss=5% burst=8");
    assert!((320..480).contains(&even) && (250..550).contains(&burst), "{even} {burst}");
    assert!(even_runs * 10 > even as usize * 8 && burst_runs * 5 < burst as usize, "{even_runs} {burst_runs}");
    let (elliott, elliott_runs) = runs("loss=0.5%/10%/100%/0%");
    assert!(elliott > 200 && elliott_runs * 5 < elliott as usize, "{elliott} {elliott_runs}");
}

#[test]
fn filters_and_moments_choose_packets() {
    let mut bench =
        Bench::new("loss=100% port=81; loss=100% length=1000..; loss=100% flags=fin+!syn; up: loss=100% protocol=udp");
    let port = |far_port| Segment { far_port, payload: vec![1; 10], ..Segment::default() }.bytes();
    assert_eq!((bench.up(&port(80)).len(), bench.up(&port(81)).len()), (1, 0));
    let back = Segment { direction: DOWN, far_port: 81, ..Segment::default() }.bytes();
    assert_eq!(bench.down(&back).len(), 0);
    assert_eq!((bench.up(&data(1, 900)).len(), bench.up(&data(1, 960)).len()), (1, 0));
    let fin = Segment { flags: "F", ..Segment::default() }.bytes();
    assert_eq!((bench.up(&fin).len(), bench.note()), (0, "tcp 1, up 4: loss: dropped"));
    assert_eq!((bench.up(&udp(crate::bench::UP, 7, b"x")).len(), bench.down(&udp(DOWN, 7, b"x")).len()), (0, 1));

    assert_eq!(left("loss=100% @packet=3", 5), [0, 1]);
    // The byte at offset 250 is in the third segment.
    assert_eq!(left("loss=100% @250B", 5), [0, 1]);
    let mut bench = Bench::new("loss=100% @2s");
    assert_eq!(bench.up(&data(1, 1)).len(), 1);
    bench.wait(millis(1999));
    assert_eq!(bench.up(&data(2, 1)).len(), 1);
    bench.wait(millis(1));
    assert_eq!(bench.up(&data(3, 1)).len(), 0);
    let mut bench = Bench::new("loss=100% @idle=30s");
    for (wait, want) in [(0, 1), (29_999, 1), (30_000, 0), (0, 0)] {
        bench.wait(millis(wait));
        assert_eq!(bench.up(&data(1, 1)).len(), want);
    }
}

#[test]
fn rules_choose_connections() {
    let mut bench = Bench::new("2: loss=100%");
    let from = |near_port| Segment { near_port, payload: vec![1], ..Segment::default() }.bytes();
    // An echo is not a connection of TCP.
    bench.up(&ping(crate::bench::UP, false, 1));
    assert_eq!([1, 2, 3, 2].map(|port| bench.up(&from(port)).len()), [1, 0, 1, 0]);
    let mut bench = Bench::new("loss=100% 50%");
    let lost: Vec<bool> = (1..=200).map(|port| bench.up(&from(port)).is_empty()).collect();
    let count = lost.iter().filter(|lost| **lost).count();
    assert!((70..130).contains(&count), "{count}");
    // Chance chose connections, and not packets.
    let again: Vec<bool> = (1..=200).map(|port| bench.up(&from(port)).is_empty()).collect();
    assert_eq!(lost, again);
}

#[test]
fn syn_loss_spares_all_but_syns() {
    let mut bench = Bench::new("up: syn-loss=100%");
    assert_eq!(handshake(&mut bench, 1).map(|left| left.len()), [0, 1, 1]);
    let mut bench = Bench::new("down: syn-loss=100%");
    assert_eq!(handshake(&mut bench, 1).map(|left| left.len()), [1, 0, 1]);
}

#[test]
fn duplicates_are_the_same_packet() {
    let mut bench = Bench::new("duplicate=100%");
    let packet = data(7, 50);
    assert_eq!(bench.up(&packet), [packet.clone(), packet]);
    assert_eq!((bench.note(), bench.summary().up.left), ("tcp 1, up 1: duplicate: and 1 more of it", 2));
}

#[test]
fn a_reordered_packet_leaves_behind_the_next_ones() {
    let order = |spec: &str, count: u32| {
        let mut bench = Bench::new(spec);
        for n in 1..=count {
            // Another flow overtakes nothing.
            bench.up(&Segment { near_port: 9, payload: vec![0], ..Segment::default() }.bytes());
            bench.up(&data(n, 1));
        }
        let own =
            |bytes: &[u8]| Some(tcp(bytes)).filter(|tcp| tcp.source_port == 40_000).map(|tcp| tcp.sequence_number);
        bench.seen.sent.iter().filter_map(|sent| own(&sent.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(order("reorder=0.0001%/100%/100%/0%", 4), [1, 2, 3, 4]);
    let mut seen_swapped = false;
    for share in ["20%", "50%"] {
        let order = order(&format!("reorder={share} by=2"), 40);
        for (at, seq) in order.iter().enumerate() {
            // Each moves back by two, and the others forward by as many as were held.
            let moved = at as i64 + 1 - i64::from(*seq);
            assert!((-20..=20).contains(&moved), "{order:?}");
            seen_swapped |= moved == 2;
        }
    }
    assert!(seen_swapped);
}

/// What is late as well is not early because others have overtaken it.
#[test]
fn a_reordered_packet_is_as_late_as_the_others() {
    let mut bench = Bench::new("delay=10ms; reorder=100% length=41");
    bench.up(&data(1, 1));
    bench.wait(millis(4));
    bench.up(&data(2, 2));
    bench.wait(millis(1000));
    let left: Vec<_> = bench.seen.sent.iter().map(|sent| (tcp(&sent.bytes).sequence_number, sent.at)).collect();
    assert_eq!(left, [(2, millis(14)), (1, millis(14))]);
}

#[test]
fn a_packet_that_nothing_overtakes_is_not_held_for_ever() {
    let mut bench = Bench::new("1: reorder=100% by=3 length=41");
    assert!(bench.up(&data(1, 1)).is_empty());
    assert_eq!(bench.up(&data(2, 2)).len(), 1);
    assert_eq!(bench.up(&data(3, 2)).len(), 1);
    // After the third.
    let left: Vec<u32> = bench.up(&data(4, 2)).iter().map(|packet| tcp(packet).sequence_number).collect();
    assert_eq!(left, [4, 1]);
    assert!(bench.up(&data(5, 1)).is_empty());
    bench.wait(Duration::from_secs(1));
    let last = bench.seen.sent.last().unwrap();
    assert_eq!((tcp(&last.bytes).sequence_number, last.at), (5, millis(100)));
}
