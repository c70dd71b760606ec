//! Which packets a rule is for.

use std::fmt;
use std::ops::RangeInclusive;

use super::packet::{ICMP, ICMPV6, PacketView, TCP, UDP};

/// The flags of TCP by name, from the lowest bit on (RFC 9293).
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "icmp"];

/// The packets that a rule is for: those that fit all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PacketFilter {
    ports: Option<RangeInclusive<u16>>,
    length: Option<RangeInclusive<u16>>,
    /// Those that are set, and those that are not.
    flags: Option<(u8, u8)>,
    /// Its place in [`PROTOCOLS`].
    protocol: Option<usize>,
}

/// Why an option is no filter.
#[derive(Debug)]
pub(super) enum FilterError {
    /// It has another name.
    NotOne,
    /// It is there already.
    Twice,
    /// Its value is not what this text says.
    Value(&'static str),
}

impl PacketFilter {
    pub(super) const NAMES: [(&'static str, &'static str); 4] =
        [("port", "443"), ("length", "1000.."), ("flags", "syn+!ack"), ("protocol", "tcp")];

    /// Takes `port=443`, `port=1..1023`, `length=1000..`, `flags=syn+!ack`, `protocol=udp`.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let is_twice = match name {
            "port" => {
                let ports = range(value).ok_or(FilterError::Value("a port like 443 or ports like 1..1023"))?;
                self.ports.replace(ports).is_some()
            }
            "length" => {
                let length = range(value).ok_or(FilterError::Value("a packet's length like 1000.., ..99 or 40..60"))?;
                self.length.replace(length).is_some()
            }
            "flags" => {
                let flags = flags(value)
                    .ok_or(FilterError::Value("flags like syn+!ack, of fin, syn, rst, psh, ack, urg, ece and cwr"))?;
                self.flags.replace(flags).is_some()
            }
            "protocol" => {
                let protocol = PROTOCOLS.iter().position(|known| *known == value);
                let protocol = protocol.ok_or(FilterError::Value("a protocol: tcp, udp or icmp"))?;
                self.protocol.replace(protocol).is_some()
            }
            _ => return Err(FilterError::NotOne),
        };
        if is_twice { Err(FilterError::Twice) } else { Ok(()) }
    }

    pub(super) fn fits(&self, view: &PacketView) -> bool {
        let has_port = |ports: &RangeInclusive<u16>| {
            view.ports.is_some_and(|(from, to)| ports.contains(&from) || ports.contains(&to))
        };
        let has_length = |length: &RangeInclusive<u16>| {
            let own = u16::try_from(view.length).unwrap_or(u16::MAX);
            length.contains(&own)
        };
        let has_flags =
            |(set, unset): (u8, u8)| view.tcp.is_some_and(|tcp| tcp.flags & set == set && tcp.flags & unset == 0);
        let is_protocol = |index: usize| match index {
            0 => view.protocol == TCP,
            1 => view.protocol == UDP,
            _ => [ICMP, ICMPV6].contains(&view.protocol),
        };
        self.ports.as_ref().is_none_or(has_port)
            && self.length.as_ref().is_none_or(has_length)
            && self.flags.is_none_or(has_flags)
            && self.protocol.is_none_or(is_protocol)
    }
}

/// `443`, `1..1023`, `1000..`, `..99`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str, absent: u16| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() { Some(absent) } else { text.parse().ok().filter(|_| is_number) }
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    if first.is_empty() && last.is_empty() {
        return None;
    }
    let range = number(first, 0)?..=number(last, u16::MAX)?;
    (!range.is_empty()).then_some(range)
}

fn range_text(range: &RangeInclusive<u16>) -> String {
    match (*range.start(), *range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, u16::MAX) => format!("{first}.."),
        (first, last) => format!("{first}..{last}"),
    }
}

fn flags(text: &str) -> Option<(u8, u8)> {
    let (mut set, mut unset) = (0, 0);
    for word in text.split('+') {
        let (name, flags) = match word.strip_prefix('!') {
            Some(name) => (name, &mut unset),
            None => (word, &mut set),
        };
        *flags |= 1 << FLAGS.iter().position(|known| *known == name)?;
    }
    (set & unset == 0).then_some((set, unset))
}

impl fmt::Display for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ports) = &self.ports {
            write!(f, " port={}", range_text(ports))?;
        }
        if let Some(length) = &self.length {
            write!(f, " length={}", range_text(length))?;
        }
        if let Some((set, unset)) = self.flags {
            let named = |bits: u8, sign: &'static str| {
                let names = FLAGS.iter().enumerate().filter(move |(bit, _)| bits & 1 << bit != 0);
                names.map(move |(_, name)| format!("{sign}{name}"))
            };
            write!(f, " flags={}", named(set, "").chain(named(unset, "!")).collect::<Vec<_>>().join("+"))?;
        }
        match self.protocol {
            Some(index) => write!(f, " protocol={}", PROTOCOLS[index]),
            None => Ok(()),
        }
    }
}
