//! Times, sizes and chances as the grammar has them. The units are the program's own: a number
//! without one is in seconds or bytes, and sizes are powers of 1024, with `iB`, `B` or neither.

use std::fmt::Write as _;
use std::time::Duration;

/// A hundred years: longer times would overflow the clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

const TIME_UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// What a time is, after `is not`.
pub const TIME: &str = "a time from 1us to 100 years, like 500ms, 10s or 5m";
/// What a size is, after `is not`.
pub const SIZE: &str = "a size like 512B, 64KiB or 1MiB";

/// `500ms`, `10s`, `1h30m`, `1.5s`; a plain number is in seconds. From a microsecond to 100 years.
pub fn time(text: &str) -> Option<Duration> {
    let mut micros: u64 = 0;
    let mut rest = text;
    let mut before = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let factor = match unit {
            "" if number.len() == text.len() => 1_000_000,
            _ => TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        // From the largest unit to the smallest, each once.
        if factor >= before {
            return None;
        }
        before = factor;
        micros = micros.checked_add(decimal(number, factor)?)?;
        rest = behind;
    }
    let time = Duration::from_micros(micros);
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

/// A decimal number times a factor, if that is whole.
fn decimal(text: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 12 || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_u128.pow(fraction.len() as u32);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = part * u128::from(factor);
    if !part.is_multiple_of(scale) {
        return None;
    }
    whole.checked_mul(factor)?.checked_add(u64::try_from(part / scale).ok()?)
}

/// In the largest unit in which it is whole.
pub fn time_text(time: Duration) -> String {
    let micros = time.as_micros() as u64;
    let (unit, factor) = TIME_UNITS.into_iter().find(|(_, factor)| micros.is_multiple_of(*factor)).unwrap_or(("us", 1));
    format!("{}{unit}", micros / factor)
}

/// `512`, `64k`, `1MiB`. At least a byte.
pub fn size(text: &str) -> Option<u64> {
    size_or_zero(text).filter(|size| *size > 0)
}

/// The same, and `0B`.
pub fn size_or_zero(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    let size = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    i64::try_from(size).is_ok().then_some(size)
}

/// In the largest unit in which it is whole.
pub fn size_text(size: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| size > 0 && size.is_multiple_of(1 << shift)) {
        Some((unit, shift)) => format!("{}{unit}", size >> shift),
        None => format!("{size}B"),
    }
}

/// `25%`, `0.5%`, in millionths: more than 0, at most 100 %.
pub fn millionths(percent: &str) -> Option<u32> {
    millionths_or_zero(percent).filter(|n| *n > 0)
}

/// The same, and `0%`.
pub fn millionths_or_zero(percent: &str) -> Option<u32> {
    let millionths = decimal(percent.strip_suffix('%')?, 10_000)?;
    u32::try_from(millionths).ok().filter(|n| *n <= 1_000_000)
}

/// As `25%`, from millionths.
pub fn percent_text(millionths: u32) -> String {
    let mut text = format!("{}", millionths / 10_000);
    let rest = millionths % 10_000;
    if rest > 0 {
        let _ = write!(text, ".{}", format!("{rest:04}").trim_end_matches('0'));
    }
    text + "%"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, micros, again) in [
            ("500ms", 500_000, "500ms"),
            ("10s", 10_000_000, "10s"),
            ("10", 10_000_000, "10s"),
            ("0.5", 500_000, "500ms"),
            ("1.5s", 1_500_000, "1500ms"),
            ("1h30m", 5_400_000_000, "90m"),
            ("90s", 90_000_000, "90s"),
            ("60s", 60_000_000, "1m"),
            ("7us", 7, "7us"),
            (".5ms", 500, "500us"),
        ] {
            assert_eq!(time(text), Some(Duration::from_micros(micros)), "{text}");
            assert_eq!(time_text(time(text).unwrap()), again);
        }
        for text in ["", "0", "0s", "s", "-1s", "1x", "1s1s", "1ms1s", "1.2.3s", "101h1", "0.1us", "1e3", "876001h"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size_of, again) in [
            ("1", 1, "1B"),
            ("64k", 65_536, "64KiB"),
            ("64kB", 65_536, "64KiB"),
            ("1MiB", 1 << 20, "1MiB"),
            ("2GB", 2 << 30, "2GiB"),
            ("1500B", 1500, "1500B"),
        ] {
            assert_eq!(size(text), Some(size_of), "{text}");
            assert_eq!(size_text(size_of), again);
        }
        assert_eq!((size("0B"), size_or_zero("0B"), size_text(0)), (None, Some(0), "0B".into()));
        for text in ["", "k", "-1", "1.5k", "1x", "99999999999g", "9223372036854775808"] {
            assert_eq!(size_or_zero(text), None, "{text}");
        }
    }

    #[test]
    fn chances() {
        for (text, want) in [("25%", 250_000), ("0.0001%", 1), ("100%", 1_000_000), ("12.5%", 125_000)] {
            assert_eq!(millionths(text), Some(want), "{text}");
            assert_eq!(percent_text(want), text);
        }
        for text in ["", "25", "0%", "101%", "-1%", "0.00001%", "%"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }
}
