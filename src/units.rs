//! Durations, sizes and counts in the form that users write and read.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use resound::server::{ConnectRate, ipnet::IpNet};

pub(crate) use resound_load::figures::{bits, bytes, count, counted, elapsed, latency, rate};

/// Longer times would overflow the clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// `500ms`, `10s`, `5m`, `1h 30m`; a plain number is in seconds, as with curl and ping: `10`,
/// `0.5`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // Sizes on the same command line may be capitals; here one is 30 days.
    if text.contains('M') {
        return Err(format!("'{text}' is in months; write it like 5m, or in days, such as 150d"));
    }
    match seconds(text).map_or_else(|| humantime::parse_duration(text), Ok) {
        Ok(time) if time.is_zero() => Err("it must be longer than zero".into()),
        Ok(time) if time > LONGEST => Err(format!("'{text}' is too long: 100 years are the most")),
        Ok(time) => Ok(time),
        Err(_) => Err(format!("'{text}' is not a duration; write it like 500ms, 10s or 5m")),
    }
}

/// A number without a unit. A number too large for a duration is too long in any case.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    Some(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}

fn none_or_no_number(text: &str, most: usize) -> String {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true if text.bytes().all(|byte| byte == b'0') => "it must be at least 1".into(),
        true => format!("'{text}' is too much: {most} is the most"),
        false => format!("'{text}' is not a number from 1 on"),
    }
}

/// A count of at least one.
pub(crate) fn positive(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| none_or_no_number(text, usize::MAX))
}

/// The same, up to four billion.
pub(crate) fn positive_u32(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| none_or_no_number(text, u32::MAX as usize))
}

/// `20`, `20/s`, `100/m`, `1000/h`.
pub(crate) fn limit(text: &str) -> Result<ConnectRate, String> {
    let wrong = || format!("'{text}' is not a rate; write it like 20, 20/s, 100/m or 1000/h");
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let per = match unit {
        "s" => ConnectRate::per_second,
        "m" => ConnectRate::per_minute,
        "h" => ConnectRate::per_hour,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    NonZeroU32::new(number).map(per).ok_or_else(|| "a rate is at least 1; --deny refuses clients".into())
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || match text.contains('%') {
        true => format!("'{text}': a network is written without its interface, like fe80::/64"),
        false => format!("'{text}' is not a network; write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7"),
    };
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => unmapped(text.parse().map_err(|_| wrong())?)?,
    };
    match network == network.trunc() {
        true => Ok(network),
        // Usually one of the two numbers is a slip.
        false => Err(format!("'{text}' has host bits set; write {} or {}", network.trunc(), network.addr())),
    }
}

/// An IPv4-mapped network becomes IPv4, as the addresses of peers do.
fn unmapped(network: IpNet) -> Result<IpNet, String> {
    let IpAddr::V4(v4) = network.addr().to_canonical() else { return Ok(network) };
    match (network, network.prefix_len()) {
        (IpNet::V4(_), _) => Ok(network),
        (IpNet::V6(_), n @ 96..) => IpNet::new(v4.into(), n - 96).map_err(|error| error.to_string()),
        // Usually the prefix is that of IPv4.
        (IpNet::V6(_), n) => {
            let meant = IpNet::new(v4.into(), n.min(32)).map_err(|error| error.to_string())?.trunc();
            let (address, longer) = (meant.addr(), meant.prefix_len() + 96);
            Err(format!(
                "'{network}' is IPv4 written as IPv6, whose prefixes have 96 bits more; \
                 write {meant} or ::ffff:{address}/{longer}"
            ))
        }
    }
}

/// The mode of a file in octal: `660`, `0660`, `0o660`.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err(format!("'{text}' is not a mode; write it in octal, like 0660")),
    }
}

/// A duration, or off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

/// A duration, or `off`.
pub(crate) fn timeout(text: &str) -> Result<Timeout, String> {
    match text {
        "off" => Ok(Timeout(None)),
        _ => duration(text).map(|time| Timeout(Some(time))).map_err(|error| format!("{error}, or off")),
    }
}

/// The idle time before keepalive probes, or `off`: systems take whole seconds, Linux up to 32,767.
pub(crate) fn keepalive(text: &str) -> Result<Timeout, String> {
    let time = timeout(text)?;
    match time.0 {
        Some(idle) if idle.subsec_nanos() > 0 || idle.as_secs() > 32_767 => {
            Err(format!("'{text}': keepalive takes whole seconds, from 1s to 32767s"))
        }
        _ => Ok(time),
    }
}

/// `512`, `64k`, `1MiB`: always powers of 1024, with or without `iB` or `B`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("'{text}' is not a size; write it like 512, 64k or 1MiB");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a size is at least 1".into()),
        Some(size) if isize::try_from(size).is_ok() => Ok(size),
        _ => Err(format!("'{text}' is too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [("1", 1), ("64k", 65_536), ("1MiB", 1 << 20), ("2GB", 2 << 30), ("3b", 3)] {
            assert_eq!(size(text).unwrap(), want, "{text}");
        }
        for text in ["", "k", "0", "0k", "-1", "1.5k", "1x", "99999999999g", "99999999999999999999", "8589934592g"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for (text, millis) in [("10", 10_000), ("0.5", 500), ("1.25", 1250), (".5", 500), ("3600", 3_600_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
            assert_eq!(timeout(text).unwrap().0, Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(keepalive("60").unwrap().0, Some(Duration::from_secs(60)));
        assert_eq!(timeout("5m").unwrap().0, Some(Duration::from_secs(300)));
        assert_eq!(timeout("off").unwrap().0, None);
        let longest = format!("1{}", "0".repeat(400));
        let wrong = ["", "0s", "0", "0.0", ".", "1.2.3", "-1s", "-1", "+1", "1e3", "inf", "nan", "10 0", "x", "5M"];
        let long = ["99999999999999999999s", "10000000000000000000s", "101years", "99999999999999999999", &longest];
        for text in wrong.into_iter().chain(long) {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("5M").unwrap_err().contains("in months"));
        assert_eq!(keepalive("60s").unwrap().0, Some(Duration::from_secs(60)));
        assert_eq!(keepalive("off").unwrap().0, None);
        for text in ["500ms", "1500ms", "32768s"] {
            assert!(keepalive(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_networks_and_modes() {
        let n = |n| NonZeroU32::new(n).unwrap();
        assert_eq!(
            (limit("20"), limit("20/s")),
            (Ok(ConnectRate::per_second(n(20))), Ok(ConnectRate::per_second(n(20))))
        );
        assert_eq!(
            (limit("100/m"), limit("1/h")),
            (Ok(ConnectRate::per_minute(n(100))), Ok(ConnectRate::per_hour(n(1))))
        );
        for text in ["", "0", "x", "-1", "5/d", "5/", "/s", "5/s/s", "99999999999"] {
            assert!(limit(text).is_err(), "{text}");
        }
        for (text, want) in [("192.0.2.7", "192.0.2.7/32"), ("::1", "::1/128"), ("10.0.0.0/8", "10.0.0.0/8")] {
            assert_eq!(network(text).unwrap().to_string(), want);
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "host", "2001:db8::1/64"] {
            assert!(network(text).is_err(), "{text}");
        }
        for (text, want) in [
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:c000:200/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), want);
        }
        for (text, want) in [
            ("::ffff:10.0.0.0/8", "write 10.0.0.0/8 or ::ffff:10.0.0.0/104"),
            ("::ffff:10.1.2.3/8", "write 10.0.0.0/8 or ::ffff:10.0.0.0/104"),
            ("::ffff:0.0.0.0/0", "write 0.0.0.0/0 or ::ffff:0.0.0.0/96"),
            ("::ffff:192.0.2.7/95", "write 192.0.2.7/32 or ::ffff:192.0.2.7/128"),
            ("::ffff:10.0.0.1/104", "has host bits set; write 10.0.0.0/8 or 10.0.0.1"),
            ("fe80::1%eth0", "without its interface"),
        ] {
            let error = network(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert_eq!((mode("0660"), mode("600"), mode("0o777")), (Ok(0o660), Ok(0o600), Ok(0o777)));
        for text in ["", "0888", "1777", "rw", "-1", "+660", "0x1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
