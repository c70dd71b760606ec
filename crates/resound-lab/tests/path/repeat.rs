//! The same seed decides the same about the same packets, whatever happens around them.

use crate::bench::{Bench, Segment, data, millis, ping, udp};

const SPEC: &str = "loss=10%; duplicate=5% burst=3; reorder=3%; corrupt-payload=4%; jitter=5ms; loss=1%/10%/50%/0%";

/// The decisions about each flow of TCP, in a run in which the flows come in another rhythm, from
/// other ports, and with other packets between them.
fn decisions(seed: u64, ports: [u16; 3], rhythm: usize) -> Vec<Vec<String>> {
    let mut bench = Bench::seeded(SPEC, seed);
    let mut found = vec![Vec::new(); 3];
    let mut next = [0_u32; 3];
    // The flows begin in the same order.
    let order = (0..3).chain((0..300).map(|step| (step / rhythm) % 3)).chain([0; 300]).chain([1; 300]).chain([2; 300]);
    for (step, flow) in order.enumerate() {
        if next[flow] >= 150 {
            continue;
        }
        if step % rhythm == 0 {
            bench.up(&ping(crate::bench::UP, true, step as u16));
            bench.down(&udp(crate::bench::DOWN, step as u16, b"x"));
            bench.wait(millis(rhythm as u64));
        }
        let packet = Segment { near_port: ports[flow], seq: next[flow], payload: vec![7; 20], ..Segment::default() };
        bench.up(&packet.bytes());
        found[flow].push(bench.note().to_string());
        next[flow] += 1;
    }
    found
}

#[test]
fn a_seed_repeats_a_run() {
    let first = decisions(1, [40_000, 40_001, 40_002], 1);
    assert!(first.iter().all(|flow| flow.len() == 150 && flow.iter().any(|note| note.contains("loss"))));
    assert_eq!(first, decisions(1, [5, 6, 7], 7));
    assert_eq!(first, decisions(1, [9, 8, 7], 50));
    assert_ne!(first, decisions(2, [40_000, 40_001, 40_002], 1));
    assert_ne!(first[0].iter().map(|note| note.replace("tcp 1", "")).collect::<Vec<_>>(), {
        first[1].iter().map(|note| note.replace("tcp 2", "")).collect::<Vec<_>>()
    });
}

/// Written down, so that a seed means the same in every version.
#[test]
fn a_seed_never_changes_its_meaning() {
    let mut bench = Bench::seeded("loss=20%; corrupt-payload=10%", 42);
    let lost: Vec<u32> = (1..=40).filter(|n| bench.up(&data(*n, 10)).is_empty()).collect();
    assert_eq!(lost, [7, 22, 28, 29, 32, 33]);
}

/// A rule that is added behind the others changes none of their decisions.
#[test]
fn a_further_rule_leaves_the_others_alone() {
    let lost = |spec: &str| {
        let mut bench = Bench::seeded(spec, 3);
        let mut is_lost = |n: u32| {
            bench.up(&data(n, 10));
            bench.note().contains("loss: dropped")
        };
        (0..300).filter(|n| is_lost(*n)).collect::<Vec<_>>()
    };
    assert_eq!(lost("loss=10%"), lost("loss=10%; duplicate=50%; delay=1us+-1us; corrupt-payload=20%"));
}
