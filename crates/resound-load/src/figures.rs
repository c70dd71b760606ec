//! Figures in texts, in one style, so that a reader can compare them.

use std::time::Duration;

/// A number with separators between thousands: `48,211`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 message`, `48,211 messages`.
#[must_use]
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A time with three digits and a unit: `85.2 us`, `1.23 ms`, `12.3 s`, `2.5 h`.
#[must_use]
pub fn latency(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match time.as_nanos() {
        0 => return "0 s".into(),
        1..1_000 => return format!("{} ns", time.as_nanos()),
        1_000..999_500 => (seconds * 1e6, "us"),
        999_500..999_500_000 => (seconds * 1e3, "ms"),
        999_500_000..1_000_000_000_000 => (seconds, "s"),
        _ => return format!("{:.1} h", seconds / 3600.0),
    };
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A rate per second: `0.25`, `12.5`, `48,211`.
#[must_use]
pub fn rate(value: f64) -> String {
    match value {
        v if v >= 99.95 => count(v.round() as u64),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// `0 bytes`, `1.2 MiB`
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return counted(n, "byte");
    }
    let (mut value, mut unit) = (n as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bits per second, in powers of 1000: `0 bit/s`, `1.23 Mbit/s`, `25.1 Gbit/s`
#[must_use]
pub fn bits(per_second: f64) -> String {
    const UNITS: [&str; 6] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"];
    let (mut value, mut unit) = (per_second, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `85 us`, `1.2 ms`, `3.4 s`
#[must_use]
pub fn elapsed(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(48_211), "48,211");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(bytes(1023), "1,023 bytes");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        for (value, want) in [
            (0.0, "0 bit/s"),
            (999.4, "999 bit/s"),
            (999.5, "1.00 kbit/s"),
            (1_234_567.0, "1.23 Mbit/s"),
            (99_960_000.0, "100 Mbit/s"),
            (999_499_999.0, "999 Mbit/s"),
            (25.13e9, "25.1 Gbit/s"),
            (1.5e20, "150000 Pbit/s"),
        ] {
            assert_eq!(bits(value), want);
        }
        assert_eq!(elapsed(Duration::from_micros(85)), "85 us");
        assert_eq!(elapsed(Duration::from_millis(1200)), "1.2 s");
        let latencies = [
            (0, "0 s"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (85_249, "85.2 us"),
            (99_951, "100 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.00 s"),
            (61_000_000_000, "61.0 s"),
            (9_000_000_000_000, "2.5 h"),
            (u64::MAX, "5124095.6 h"),
        ];
        for (nanos, want) in latencies {
            assert_eq!(latency(Duration::from_nanos(nanos)), want, "{nanos}");
        }
        for (value, want) in [(0.0, "0.00"), (0.254, "0.25"), (9.996, "10.0"), (99.96, "100"), (48_211.4, "48,211")] {
            assert_eq!(rate(value), want);
        }
    }
}
