//! When bytes leave, and in which pieces.

use resound_faults::{End, MOST_HELD, Polled, QUEUE_BYTES};

use crate::bench::{Bench, Down, Up, millis, spec};

#[test]
fn delay_holds_bytes_and_the_fin_in_their_order() {
    let mut bench = Bench::new("up: delay=20ms");
    bench.send(Up, b"a");
    bench.at(10);
    bench.send(Up, b"b");
    bench.fin(Up);
    bench.send(Down, b"other");
    bench.expect(Down, b"other", End::Open);
    bench.at(19);
    bench.expect(Up, b"", End::Open);
    bench.at(20);
    bench.expect(Up, b"a", End::Open);
    bench.at(29);
    bench.expect(Up, b"", End::Open);
    bench.at(30);
    bench.expect(Up, b"b", End::HalfClose);
    assert_eq!((bench.words(), bench.times()), (vec![("delay", Some(Up), 0)], vec![0]));
}

#[test]
fn delays_vary_within_their_bounds_and_never_reorder() {
    let mut bench = Bench::new("up: delay=20ms+-5ms");
    let sent: Vec<u8> = (0..=255).cycle().take(64 * 100).collect();
    bench.send(Up, &sent);
    let mut lengths = Vec::new();
    for at in 14..=26 {
        bench.at(at);
        lengths.push(bench.got[0].len());
    }
    assert_eq!((lengths[0], lengths[lengths.len() - 2]), (0, sent.len()), "{lengths:?}");
    assert!(lengths.iter().any(|length| (1..sent.len()).contains(length)), "{lengths:?}");
    assert_eq!(bench.take(Up), sent);
}

#[test]
fn delay_from_an_offset_on_spares_what_comes_before() {
    let mut bench = Bench::new("up: delay=1s @3B");
    bench.send(Up, b"abcdef");
    bench.expect(Up, b"abc", End::Open);
    bench.at(999);
    bench.expect(Up, b"", End::Open);
    bench.at(1000);
    bench.expect(Up, b"def", End::Open);
    assert_eq!(bench.words(), [("delay", Some(Up), 3)]);
}

#[test]
fn rate_gives_so_much_a_second() {
    let mut bench = Bench::new("down: rate=100KiB/s");
    let sent = vec![7; 60 * 1024];
    bench.send(Down, &sent);
    for tenth in 1..=6 {
        bench.at(tenth * 100);
        let (got, want) = (bench.got[1].len() as u64, tenth * 10 * 1024);
        assert!((want..=want + 1024).contains(&got) || got == sent.len() as u64, "{got} of {want}");
    }
    assert_eq!(bench.got[1].len(), sent.len());
}

#[test]
fn rate_holds_over_late_polls() {
    let mut bench = Bench::new("up: rate=1000B/s");
    bench.send(Up, &[0; 3000]);
    // A caller that comes 3 ms late each time loses nothing.
    for at in (0..2000).step_by(13) {
        bench.now = bench.opened + millis(at);
        bench.faults.timed_out(bench.now);
        bench.poll();
    }
    let got = bench.got[0].len();
    assert!((1950..=2020).contains(&got), "{got}");
}

#[test]
fn drip_gives_its_drops() {
    let mut bench = Bench::new("up: drip=10B/100ms");
    bench.send(Up, &[b'x'; 25]);
    for (at, want) in [(0, 10), (99, 10), (100, 20), (199, 20), (200, 25)] {
        bench.at(at);
        assert_eq!(bench.got[0].len(), want, "at {at} ms");
    }
    // A drop may leave in parts.
    let mut faults = spec("up: drip=10B/100ms").connection(1, 1, None, bench.opened).unwrap();
    let mut out = Vec::new();
    faults.received(bench.opened, Up, &[b'x'; 25]);
    for (room, want) in [(4, 4), (100, 10), (100, 10)] {
        faults.poll(bench.opened, Up, room, &mut out);
        assert_eq!(out.len(), want);
    }
}

#[test]
fn stall_takes_and_gives_nothing() {
    let mut bench = Bench::new("up: stall=5s @3B");
    bench.send(Up, b"abcdef");
    bench.expect(Up, b"abc", End::Open);
    assert!(!bench.faults.wants_input(Up) && bench.faults.wants_input(Down));
    bench.fin(Up);
    bench.send(Down, b"other");
    bench.expect(Down, b"other", End::Open);
    bench.at(4999);
    bench.expect(Up, b"", End::Open);
    assert!(!bench.faults.wants_input(Up));
    bench.at(5000);
    bench.expect(Up, b"def", End::HalfClose);
    assert_eq!(bench.words(), [("stall", Some(Up), 3)]);
    assert!(bench.faults.wants_input(Up));
    // A FIN that stands alone behind it waits as well.
    let mut bench = Bench::new("up: stall=5s @3B");
    bench.send(Up, b"abc");
    bench.fin(Up);
    bench.at(4999);
    bench.expect(Up, b"abc", End::Open);
    bench.at(5000);
    bench.expect(Up, b"", End::HalfClose);
}

#[test]
fn stall_then_burst_goes_on_taking() {
    let mut bench = Bench::new("up: stall-then-burst=5s");
    let mut sent = 0;
    while bench.faults.wants_input(Up) {
        bench.send(Up, &[1; 4096]);
        sent += 4096;
        assert!(sent <= QUEUE_BYTES, "the sender is slowed");
    }
    assert!(sent > QUEUE_BYTES - 8192, "{sent}");
    bench.at(4999);
    assert_eq!(bench.got[0].len(), 0);
    bench.at(5000);
    assert_eq!(bench.got[0].len(), sent);
    assert!(bench.faults.wants_input(Up));
}

#[test]
fn slice_gives_a_segment_at_a_time_wherever_reads_fell() {
    let cuts = |parts: &[&[u8]]| {
        let now = std::time::Instant::now();
        let mut faults = spec("up: slice=1..7").connection(9, 1, None, now).unwrap();
        let (mut cuts, mut out) = (Vec::new(), Vec::new());
        for part in parts {
            faults.received(now, Up, part);
        }
        loop {
            let Polled { more, .. } = faults.poll(now, Up, 1024, &mut out);
            cuts.push(out.len());
            if !more {
                return cuts;
            }
        }
    };
    let whole = cuts(&[&[0; 100]]);
    assert_eq!(whole, cuts(&[&[0; 50], &[0; 50]]));
    let lengths: Vec<_> = whole.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(lengths.iter().all(|length| (1..=7).contains(length)), "{lengths:?}");
    assert!(lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
    // A fixed length, and the end after the last segment.
    let mut bench = Bench::new("up: slice=3");
    bench.faults.received(bench.now, Up, b"abcdefg");
    bench.faults.received_fin(bench.now, Up);
    for (want, end, more) in [("abc", End::Open, true), ("def", End::Open, true), ("g", End::HalfClose, false)] {
        let mut out = Vec::new();
        let polled = bench.faults.poll(bench.now, Up, 1024, &mut out);
        assert_eq!((String::from_utf8(out).unwrap().as_str(), polled), (want, Polled { end, more }));
    }
}

#[test]
fn coalesce_gives_the_bytes_of_a_time_together() {
    let mut bench = Bench::new("up: coalesce=40ms");
    bench.send(Up, b"a");
    bench.at(39);
    bench.send(Up, b"b");
    bench.expect(Up, b"", End::Open);
    bench.at(40);
    bench.expect(Up, b"ab", End::Open);
    bench.at(60);
    bench.send(Up, b"c");
    bench.at(99);
    bench.expect(Up, b"", End::Open);
    bench.at(100);
    bench.expect(Up, b"c", End::Open);
}

#[test]
fn a_slow_receiver_slows_the_sender_and_hold_hides_it() {
    for (text, most) in [("down: delay=1s", QUEUE_BYTES), ("hold=1MiB", 1 << 20), ("hold=4KiB", 4096)] {
        let mut bench = Bench::new(text);
        let mut sent = 0;
        while bench.faults.wants_input(Up) {
            // The receiver has no room: nothing is polled.
            bench.faults.received(bench.now, Up, &[1; 1024]);
            sent += 1024;
        }
        assert!((most - 1024..=most).contains(&sent), "{text}: {sent}");
        assert_eq!(bench.faults.deadline(), None, "{text}: nothing comes of waiting");
        bench.poll();
        assert_eq!((bench.got[0].len(), bench.faults.wants_input(Up)), (sent, true), "{text}");
    }
}

#[test]
fn no_backpressure_takes_everything_up_to_a_bound() {
    let mut bench = Bench::new("up: no-backpressure");
    let chunk = vec![1; 1 << 20];
    for _ in 0..63 {
        assert!(bench.faults.wants_input(Up));
        bench.faults.received(bench.now, Up, &chunk);
    }
    assert!(bench.faults.wants_input(Up) && !bench.faults.is_over());
    bench.faults.received(bench.now, Up, &chunk);
    bench.poll();
    assert_eq!((bench.ends, bench.got[0].len()), ([End::ResetNow; 2], 0));
    assert_eq!(bench.words().last(), Some(&("no-backpressure", Some(Up), MOST_HELD as u64)));
    assert!(bench.events[1].detail.contains("more than 64MiB"), "{}", bench.events[1].detail);
}

#[test]
fn small_pieces_count_as_what_they_take() {
    let mut bench = Bench::new("up: delay=1h");
    let mut pieces = 0;
    while bench.faults.wants_input(Up) {
        bench.at(pieces);
        bench.send(Up, b"x");
        pieces += 1;
    }
    assert!(pieces < 2500, "{pieces} pieces of a byte each");
}

#[test]
fn a_fault_between_two_others_begins_in_its_place() {
    let mut bench = Bench::new("up: rate=1000B/s @10B; up: slice=5 @20B; up: delay=1s @30B");
    bench.send(Up, &[b'x'; 40]);
    bench.at(5);
    assert_eq!(bench.words(), [("rate", Some(Up), 10), ("slice", Some(Up), 20)]);
    assert_eq!(bench.got[0].len(), 20);
    bench.at(1100);
    assert_eq!(bench.got[0].len(), 40);
    let offsets: Vec<_> = bench.words().into_iter().map(|(word, _, offset)| (word, offset)).collect();
    assert_eq!(offsets, [("rate", 10), ("slice", 20), ("delay", 30)]);
}
