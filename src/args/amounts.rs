//! Rates, sizes, steps and ranges of addresses, as `resound load` takes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::time::Duration;

use resound_load::{LONGEST_MESSAGE, MOST_STEPS, RATES, RampSteps, RampVariable, Sizes};

use crate::units;

/// Most addresses of a range; more are probably a typing error.
const MOST: u64 = 100_000;

/// A number, and the power of ten after it.
fn scaled(text: &str) -> (&str, u64) {
    match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |number| (number, 1_000_000)),
    }
}

/// A rate per second: `1000`, `2.5`, `50k` (powers of ten).
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("'{text}' is not a rate; write it like 1000, 2.5 or 50k (a second)");
    let (number, factor) = scaled(text);
    let rate = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if RATES.contains(&rate) { Ok(rate) } else { Err(wrong()) }
}

/// A count: `1000`, `10k`, `1M` (powers of ten).
pub(super) fn count(text: &str) -> Result<NonZeroU64, String> {
    let wrong = || format!("'{text}' is not a number of messages; write it like 1000, 10k or 1M");
    let (number, factor) = scaled(text);
    let count = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    count.and_then(NonZeroU64::new).ok_or_else(wrong)
}

/// Sizes of messages: `64`, `16..1k`, `64*9,4k*1`.
pub(super) fn sizes(text: &str) -> Result<Sizes, String> {
    let one = |text: &str| match units::size(text.trim())? {
        size if size as u64 > LONGEST_MESSAGE => {
            Err(format!("'{text}': a message has at most 64 MiB; bulk is --shape stream"))
        }
        size => Ok(size as u64),
    };
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (one(from)?, one(to)?);
        return if from <= to { Ok(Sizes::Range(from, to)) } else { Err(format!("'{text}' ends before it begins")) };
    }
    if !text.contains(['*', ',']) {
        return one(text).map(Sizes::Fixed);
    }
    let weighted = text.split(',').map(|part| {
        let (size, weight) = part.split_once('*').unwrap_or((part, "1"));
        let weight: f64 =
            weight.trim().parse().map_err(|_| format!("'{weight}' is not a weight; write it like 64*9,4k*1"))?;
        if weight.is_finite() && weight > 0.0 {
            Ok((one(size)?, weight))
        } else {
            Err("a weight must be more than 0".into())
        }
    });
    weighted.collect::<Result<_, _>>().map(Sizes::Weighted)
}

/// `1000..20000+1000` messages per second, `10c..100c+10c` connections. The length and the end of a
/// step are the defaults.
pub(super) fn steps(text: &str) -> Result<RampSteps, String> {
    let wrong = || format!("'{text}' does not read as steps; write them like 1000..20000+1000 or 10c..100c+10c");
    let (from, rest) = text.split_once("..").ok_or_else(wrong)?;
    let (to, by) = rest.split_once('+').ok_or_else(wrong)?;
    let parts = [from, to, by];
    let connections = parts.map(|part| part.strip_suffix('c'));
    let (of, [from, to, by]) = match connections {
        [Some(from), Some(to), Some(by)] => {
            let whole = |text: &str| units::positive(text).map(|n| n.get() as f64);
            (RampVariable::Connections, [whole(from)?, whole(to)?, whole(by)?])
        }
        [None, None, None] => (RampVariable::Rate, [rate(from)?, rate(to)?, rate(by)?]),
        _ => return Err(wrong()),
    };
    if to < from {
        return Err(format!("'{text}' goes down: a ramp goes up, from its first level to its last"));
    }
    if (to - from) / by > f64::from(MOST_STEPS) {
        return Err(format!("'{text}' has more than {MOST_STEPS} steps: make them larger"));
    }
    let until = ["errors>0", "p99>10ms"].map(String::from).into();
    Ok(RampSteps { of, from, to, by, every: Duration::from_secs(2), until })
}

/// Addresses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// `127.0.0.2`, `127.0.0.2-127.0.0.9`.
pub(super) fn range(text: &str) -> Result<Range, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ip = |text: &str| match text.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_canonical()),
        Err(_) if text.contains('%') => {
            Err(format!("'{text}': a source is written without its interface, which is the target's (fe80::1%eth0)"))
        }
        Err(_) => Err(format!("'{text}' is not an IP address")),
    };
    let (first, last) = (ip(first)?, ip(last)?);
    let count = number(last).checked_sub(number(first));
    if first.is_ipv4() != last.is_ipv4() || count.is_none_or(|count| count >= u128::from(MOST)) {
        return Err(format!("'{text}' is not a range of addresses, or too long"));
    }
    Ok(Range { first, last })
}

impl Range {
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let is_v4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |n| match is_v4 {
            true => Ipv4Addr::from(n as u32).into(),
            false => Ipv6Addr::from(n).into(),
        })
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, want) in [("1000", 1e3), ("2.5", 2.5), ("50k", 5e4), ("1M", 1e6)] {
            assert_eq!(rate(text), Ok(want), "{text}");
        }
        for text in ["", "0", "-1", "k", "nan", "inf", "1e20", "10/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_messages() {
        for (text, want) in [("1", 1), ("1000", 1000), ("10k", 10_000), ("1M", 1_000_000)] {
            assert_eq!(count(text).map(NonZeroU64::get), Ok(want), "{text}");
        }
        for text in ["", "0", "0k", "-1", "1.5", "M", "1G", "18446744073709551615k"] {
            assert!(count(text).unwrap_err().contains("write it like 1000, 10k or 1M"), "{text}");
        }
    }

    #[test]
    fn message_sizes() {
        assert_eq!(sizes("1k"), Ok(Sizes::Fixed(1024)));
        assert_eq!(sizes("16..1k"), Ok(Sizes::Range(16, 1024)));
        assert_eq!(sizes("64*9,4k"), Ok(Sizes::Weighted(vec![(64, 9.0), (4096, 1.0)])));
        for text in ["", "0", "9..3", "64*0", "64*x", "1g", "..", "64,", "64*inf"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ramps() {
        let RampSteps { of, from, to, by, .. } = steps("1k..20k+500").unwrap();
        assert_eq!((of, from, to, by), (RampVariable::Rate, 1e3, 2e4, 500.0));
        assert_eq!(steps("10c..100c+10c").map(|steps| steps.of), Ok(RampVariable::Connections));
        for text in ["", "1..2", "10c..100+5", "5..1+1", "1..1000000000+0.1", "1.5c..9c+1c"] {
            assert!(steps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_of_addresses() {
        let listed = |text| range(text).map(|range| range.addresses().map(|ip| ip.to_string()).collect::<Vec<_>>());
        assert_eq!(listed("127.0.0.254-127.0.1.1").unwrap(), ["127.0.0.254", "127.0.0.255", "127.0.1.0", "127.0.1.1"]);
        assert_eq!(listed("::1").unwrap(), ["::1"]);
        for text in ["", "x", "127.0.0.9-127.0.0.2", "1.1.1.1-::1", "10.0.0.0-10.255.255.255"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
