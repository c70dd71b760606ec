//! One rule of a specification: which connections, which direction, what, when and how likely.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::amounts::{percent_text, size_text, time_text};
use crate::direction::StreamDirection;
use crate::effect::Effect;
use crate::kind::FaultKind;

/// Which connections a rule concerns. Accepted connections are numbered from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Connections {
    /// All, as `*` or where nothing is written.
    #[default]
    All,
    /// `3`, `1-2`, `5-`: from the first to the last, if there is a last one.
    Numbers(u64, Option<u64>),
    /// `every 5th`: the 5th, the 10th and so on.
    Every(u64),
    /// `from=10.0.0.0/8`: those from a network.
    From(IpNet),
}

impl Connections {
    /// Is this connection one of them? A peer without an address is in no network.
    pub fn contain(self, number: u64, peer: Option<IpAddr>) -> bool {
        match self {
            Connections::All => true,
            Connections::Numbers(first, last) => number >= first && last.is_none_or(|last| number <= last),
            Connections::Every(n) => number > 0 && number.is_multiple_of(n),
            Connections::From(network) => peer.is_some_and(|peer| network.contains(&peer.to_canonical())),
        }
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Connections::All => f.write_str("*"),
            Connections::Numbers(first, Some(last)) if first == last => write!(f, "{first}"),
            Connections::Numbers(first, Some(last)) => write!(f, "{first}-{last}"),
            Connections::Numbers(first, None) => write!(f, "{first}-"),
            Connections::Every(n) => write!(f, "every {n}{}", ordinal(n)),
            Connections::From(IpNet::V4(network)) => write!(f, "from={network}"),
            // Its colons would look like those of the grammar.
            Connections::From(IpNet::V6(network)) => write!(f, "from=[{}]/{}", network.addr(), network.prefix_len()),
        }
    }
}

fn ordinal(n: u64) -> &'static str {
    match (n % 10, n % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    }
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// `@connect`: when the connection opens.
    Connect,
    /// `@64KiB`: the byte at this offset is the first that it hits. A FIN in the place of that byte
    /// counts as one.
    Offset(u64),
    /// `@message=3`: the first byte of this line, counted from 1, is the first that it hits.
    Message(u64),
    /// `@packet=3`: the packet with this number is the first that it hits. Only a path of packets
    /// has them.
    Packet(u64),
    /// `@2s`: this long after the connection opened.
    Time(Duration),
    /// `@idle=30s`: after this long without a byte.
    Idle(Duration),
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Trigger::Connect => f.write_str("@connect"),
            Trigger::Offset(offset) => write!(f, "@{}", size_text(offset)),
            Trigger::Message(number) => write!(f, "@message={number}"),
            Trigger::Packet(number) => write!(f, "@packet={number}"),
            Trigger::Time(time) => write!(f, "@{}", time_text(time)),
            Trigger::Idle(time) => write!(f, "@idle={}", time_text(time)),
        }
    }
}

/// How likely a rule concerns a connection, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chance(pub(crate) u32);

impl Chance {
    /// In millionths, from 1 to 1,000,000.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&percent_text(self.0))
    }
}

/// One rule: `[CONNECTIONS:] [DIRECTION:] FAULT [WHEN] [CHANCE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultRule {
    /// The connections that it concerns.
    pub which: Connections,
    /// The direction; both where it is absent.
    pub direction: Option<StreamDirection>,
    /// The fault.
    pub effect: Effect,
    /// When it begins; absent where the fault's own default holds.
    pub when: Option<Trigger>,
    /// How likely it happens to a connection; always where it is absent.
    pub chance: Option<Chance>,
}

impl FaultRule {
    /// Does it corrupt blocks by chance, rather than one byte?
    pub(crate) fn corrupts_blocks(&self) -> bool {
        self.effect.kind == FaultKind::Corrupt && self.when.is_none() && self.chance.is_some()
    }

    pub(crate) fn concerns(&self, direction: StreamDirection) -> bool {
        self.direction.is_none_or(|own| own == direction)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.which != Connections::All {
            write!(f, "{}: ", self.which)?;
        }
        if let Some(direction) = self.direction {
            write!(f, "{direction}: ")?;
        }
        write!(f, "{}", self.effect)?;
        if let Some(when) = self.when {
            write!(f, " {when}")?;
        }
        match self.chance {
            Some(chance) => write!(f, " {chance}"),
            None => Ok(()),
        }
    }
}
