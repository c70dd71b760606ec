//! Runs for the tests of reports: invented, plausible and reproducible.

use std::time::{Duration, SystemTime};

use resound_load::{Counts, Failure, Generator, Interval, Latency, LoadFailure, Record, Settings};

use super::run::Run;

pub(crate) fn settings() -> Settings {
    Settings {
        target: "127.0.0.1:8888".into(),
        depth: 1,
        duration: Some(Duration::from_secs(30)),
        seed: 1,
        command: "resound load 127.0.0.1 8888 -r 10000 -c 64 -d 30s".into(),
        ..Settings::open(64, 10_000.0)
    }
}

/// Noise between 0 and 1.
fn noise(n: u64) -> f64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    x as f64 / u64::MAX as f64
}

/// A second of a server that mostly answers in some 60 us.
fn second(n: u64, rate: u64, seed: u64) -> Interval {
    // The server stalls once, in the 18th second.
    let stall = if n == 17 { 350e6 } else { 0.0 };
    let times: Vec<(f64, f64)> = (0..rate)
        .map(|k| {
            let (a, b) = (noise(seed + n * 1_000_003 + 2 * k), noise(seed + n * 1_000_003 + 2 * k + 1));
            let normal = (-2.0 * a.max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            let tail = if noise(seed + k * 77 + n) > 0.997 { 9.0 } else { 1.0 };
            let service = 58_000.0 * (0.22 * normal).exp() * tail * (1.0 + 0.1 * (n as f64 / 5.0).sin());
            let at = k as f64 / rate as f64 * 1e9;
            let lag = 1_500.0 + 4_000.0 * a * a + (stall - at).max(0.0);
            (service, lag)
        })
        .collect();
    let of = |pick: &dyn Fn(&(f64, f64)) -> f64| Latency::of(times.iter().map(|time| (pick(time) as u64, 1)));
    Interval {
        start: Duration::from_secs(n),
        length: Duration::from_secs(1),
        counts: Counts {
            planned: rate,
            sent: rate,
            // The target causes the stall.
            held: times.iter().filter(|time| time.1 >= Counts::LATE.as_nanos() as f64).count() as u64,
            received: rate,
            verified: rate,
            bytes_sent: 64 * rate,
            bytes_received: 64 * rate,
            ..Counts::default()
        },
        connect: if n == 0 { Latency::of((0..64).map(|k| (110_000 + 900 * k, 1))) } else { Latency::default() },
        service: of(&|time| time.0),
        response: of(&|time| time.0 + time.1),
        lag: of(&|time| time.1),
        ..Interval::default()
    }
}

/// 30 s of an open loop with a stall, and with errors if they are wanted.
pub(super) fn record(rate: u64, seed: u64, with_errors: bool) -> Record {
    let mut intervals: Vec<Interval> = (0..30).map(|n| second(n, rate, seed)).collect();
    intervals[0].counts.opened = 64;
    let mut failures = Vec::new();
    if with_errors {
        for (n, class, sequence) in [
            (4, LoadFailure::Reset, None),
            (17, LoadFailure::Missing, Some(812)),
            (17, LoadFailure::Missing, Some(813)),
            (21, LoadFailure::Corrupt, Some(9_001)),
        ] {
            let counts = &mut intervals[n as usize].counts;
            counts.failures[class.index()] += 1;
            // Unanswered messages besides the failures: a reset loses those in flight, three here.
            let unanswered = match class {
                LoadFailure::Reset => 3,
                LoadFailure::Missing => 1,
                _ => 0,
            };
            counts.planned += unanswered;
            counts.sent += unanswered;
            counts.unanswered += unanswered;
            failures.push(Failure {
                class,
                at: Duration::from_millis(n * 1000 + 250),
                connection: n + 3,
                sequence,
                what: format!("<b>{}</b> \u{1b}[31m& \"more\"", class.name()),
            });
        }
    }
    let mut total = intervals[0].clone();
    intervals[1..].iter().for_each(|next| total.join(next));
    Record {
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_441_000),
        warm_up: Duration::from_secs(2),
        elapsed: Duration::from_secs(30),
        intervals,
        total,
        failures,
        generator: Generator {
            version: "0.1.0".into(),
            host: "host".into(),
            engine: "uring".into(),
            workers: 1,
            cpu_user: Duration::from_millis(2_100),
            cpu_system: Duration::from_millis(7_400),
        },
        warnings: if with_errors { vec!["these figures are made up".into()] } else { Vec::new() },
        ..Record::empty(Settings { rate: Some(rate as f64), seed, ..settings() })
    }
}

/// A run without measurements.
pub(super) fn empty() -> Run {
    let Record { settings, generator, .. } = record(10, 1, false);
    Run::of(Record { generator, ..Record::empty(settings) })
}
