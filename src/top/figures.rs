//! Figures in few columns: at most five for counts and times, and seven for bytes.

use super::document::WorkerNews;

const COUNTS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const SIZES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `40.0`, `1.23k`: something a second.
pub(super) fn rate(value: f64) -> String {
    if value > 0.0 && value < 10.0 { format!("{value:.1}") } else { short(value, 1000.0, &COUNTS) }
}

/// The figures of a worker under these heads: worker, open, accepted/s, messages/s, in/s, out/s.
pub(super) fn of_worker(worker: &WorkerNews) -> [String; 6] {
    [
        worker.worker.to_string(),
        count(worker.open),
        rate(worker.accepted_per_second),
        rate(worker.messages_per_second),
        bytes(worker.bytes_in_per_second),
        bytes(worker.bytes_out_per_second),
    ]
}

pub(super) fn count(value: u64) -> String {
    short(value as f64, 1000.0, &COUNTS)
}

/// `1.20KiB`: a word without a space, for scripts that split lines.
pub(super) fn bytes(value: f64) -> String {
    short(value, 1024.0, &SIZES)
}

fn short(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // As it would be rounded.
    while value >= if unit == 0 { base - 0.5 } else { 999.5 } && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    match value {
        ..1000.0 => format!("{value:.digits$}{}", units[unit]),
        ..1024.0 if unit == 0 => format!("{value:.0}{}", units[unit]),
        _ => "many".into(),
    }
}

/// `1.20ms`, `12m`, `3d`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        ..=0.0 => "0s".into(),
        ..0.9995e-3 => format!("{:.0}us", seconds * 1e6),
        ..9.95e-3 => format!("{:.1}ms", seconds * 1e3),
        ..0.9995 => format!("{:.0}ms", seconds * 1e3),
        ..9.95 => format!("{seconds:.1}s"),
        ..120.0 => format!("{:.0}s", seconds.floor()),
        ..7200.0 => format!("{:.0}m", (seconds / 60.0).floor()),
        ..172_800.0 => format!("{:.0}h", (seconds / 3600.0).floor()),
        ..86_400_000.0 => format!("{:.0}d", (seconds / 86_400.0).floor()),
        _ => "long".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, want) in [(0, "0"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_499, "999k")] {
            assert_eq!(count(value), want);
        }
        assert_eq!((count(999_500), count(u64::MAX)), ("1.00M".into(), "18.4E".into()));
        for (value, want) in
            [(0.0, "0B"), (1023.0, "1023B"), (1024.0, "1.00KiB"), (1_048_000.0, "1.00MiB"), (1e300, "many")]
        {
            assert_eq!(bytes(value), want);
        }
        for (value, want) in [(0.0, "0"), (0.25, "0.2"), (39.5, "40"), (1234.5, "1.23k"), (f64::MAX, "many")] {
            assert_eq!(rate(value), want);
        }
        for (value, want) in [
            (0.0, "0s"),
            (85e-6, "85us"),
            (0.0012, "1.2ms"),
            (0.25, "250ms"),
            (0.0267, "27ms"),
            (0.99949, "999ms"),
            (4.56, "4.6s"),
            (61.9, "61s"),
            (754.2, "12m"),
            (1e5, "27h"),
            (1e6, "11d"),
            (1e300, "long"),
        ] {
            assert_eq!(time(value), want);
        }
    }
}
