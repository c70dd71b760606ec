//! Delays, jitter, and links with a rate and a queue.

use std::time::Duration;

use crate::bench::{Bench, DOWN, Segment, UP, data, data_down, millis, tcp};

/// When each of so many packets left that came at intervals, and its number.
fn times(spec: &str, count: u32, interval: Duration) -> Vec<(u32, Duration)> {
    let mut bench = Bench::new(spec);
    for n in 0..count {
        bench.up(&data(n, 1));
        bench.wait(interval);
    }
    bench.wait(Duration::from_secs(100));
    bench.seen.sent.iter().map(|sent| (tcp(&sent.bytes).sequence_number, sent.at)).collect()
}

#[test]
fn a_delay_is_as_long_as_it_says() {
    let found = times("delay=30ms", 5, millis(7));
    let want: Vec<_> = (0..5).map(|n| (n, millis(u64::from(n) * 7 + 30))).collect();
    assert_eq!(found, want);
    // The router wakes for nothing else.
    let mut bench = Bench::new("up: delay=30ms");
    bench.up(&data(1, 1));
    assert_eq!(bench.next_due(), Some(millis(30)));
    assert_eq!(bench.down(&data_down(1, 1)).len(), 1);
    assert_eq!(bench.seen.notes, ["tcp 1, up 1: delay: 30.000 ms later", ""]);
}

#[test]
fn a_delay_that_varies_keeps_the_order_and_its_distribution() {
    for shape in ["", "~normal", "~pareto"] {
        let found = times(&format!("delay=30ms+-5ms{shape}"), 400, millis(500));
        let late: Vec<f64> =
            found.iter().map(|(n, at)| (*at - millis(u64::from(*n) * 500)).as_secs_f64() * 1e3).collect();
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((29.0..31.0).contains(&mean) && late.iter().any(|time| (time - mean).abs() > 2.0), "{mean}");
        let order: Vec<_> =
            times(&format!("delay=30ms+-5ms{shape}"), 400, millis(1)).iter().map(|each| each.0).collect();
        assert!(order.is_sorted());
    }
}

#[test]
fn jitter_lets_packets_overtake() {
    let found = times("jitter=20ms", 200, millis(1));
    assert!(!found.iter().map(|each| each.0).is_sorted() && found.len() == 200);
    assert!(found.iter().all(|(n, at)| *at <= millis(u64::from(*n) + 20)));
}

#[test]
fn a_link_has_a_rate() {
    // 1,000 packets of 1,000 bytes at 100,000 bytes/s take ten seconds.
    let mut bench = Bench::new("rate=100000B/s queue=2MiB");
    for n in 0..1000_u32 {
        bench.up(&data(n, 960));
    }
    bench.wait(Duration::from_secs(100));
    let last = bench.seen.sent.last().unwrap().at;
    assert_eq!((bench.seen.sent.len(), last), (1000, Duration::from_secs(10)));
    let order: Vec<_> = bench.seen.sent.iter().map(|sent| tcp(&sent.bytes).sequence_number).collect();
    assert!(order.is_sorted());
    // 800 kbit/s are the same.
    assert_eq!("rate=800kbit/s".parse::<resound_lab::Defects>(), "rate=100000B/s".parse());
}

#[test]
fn a_full_queue_drops_its_tail() {
    let mut bench = Bench::new("up: rate=100000B/s queue=5000B");
    let left = (0..20).filter(|n| {
        bench.up(&data(*n, 960));
        !bench.note().contains("dropped")
    });
    let left: Vec<u32> = left.collect();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    // There is room again when some have left, and the other direction has a queue of its own.
    bench.wait(millis(20));
    bench.up(&data(20, 960));
    assert!(bench.note().contains("rate: 40.000 ms later"), "{}", bench.note());
    assert_eq!(bench.summary().up.dropped, 15);
    assert_eq!(bench.down(&data_down(0, 960)).len(), 1);
}

#[test]
fn a_big_queue_is_a_long_wait() {
    let wait = |queue: &str| {
        let mut bench = Bench::new(&format!("rate=100000B/s queue={queue}"));
        (0..2000_u32).for_each(|n| drop(bench.up(&data(n, 960))));
        bench.wait(Duration::from_secs(100));
        bench.seen.sent.last().unwrap().at
    };
    assert!(wait("10KiB") < millis(110) && wait("1MiB") > Duration::from_secs(10));
}

#[test]
fn delays_add_up_in_their_order() {
    let mut bench = Bench::new("delay=10ms; rate=100000B/s; delay=5ms; jitter=1us");
    bench.pass(UP, &data(1, 960));
    bench.pass(UP, &data(2, 960));
    bench.wait(Duration::from_secs(1));
    let at: Vec<_> = bench.seen.sent.iter().map(|sent| sent.at.as_millis()).collect();
    assert_eq!(at, [25, 35]);
}

/// What waits is bounded.
#[test]
fn a_path_holds_a_bounded_number_of_bytes() {
    let mut bench = Bench::new("delay=1h");
    let packet = Segment { direction: DOWN, payload: vec![0; 60_000], ..Segment::default() }.bytes();
    let mut dropped = 0;
    for _ in 0..3000 {
        bench.down(&packet);
        dropped += u32::from(bench.note().ends_with("full: dropped"));
    }
    let waiting = bench.summary().most_waiting;
    assert!(dropped > 500 && waiting <= 128 * 1024 * 1024, "{dropped} {waiting}");
}
