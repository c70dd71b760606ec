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
