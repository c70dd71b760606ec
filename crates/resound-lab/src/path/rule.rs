//! One rule: which connections and packets, which direction, what, when and how likely.

use std::fmt;
use std::time::Duration;

use resound_faults::amounts::{size_text, time_text};
use resound_faults::{Chance, Connections, DelayShape, StreamDirection, Trigger};

use super::filter::PacketFilter;
use super::kind::{DefectForm, DefectKind};
use super::odds::Odds;
use super::tcp_options::StrippedOptions;

/// What a link's queue holds where `queue` says nothing else.
pub(super) const QUEUE_BYTES: u64 = 256 * 1024;

/// How a NAT forgets an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleEnd {
    /// Later packets are dropped.
    Silent,
    /// Both ends receive a RST, and later packets are dropped.
    Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NatTerms {
    pub(super) changes_ports: bool,
    pub(super) idle: Option<(Duration, IdleEnd)>,
    pub(super) half_closed_idle: Option<Duration>,
}

/// The values of a rule beside its odds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DefectValue {
    None,
    Varied {
        middle: Duration,
        by: Duration,
        shape: DelayShape,
    },
    Time(Duration),
    /// Bytes per second, and those that the queue holds.
    Rate {
        bytes: u64,
        queue: u64,
    },
    /// A packet's or a segment's bytes. Whether a router is silent about longer ones.
    Bytes {
        most: u16,
        is_silent: bool,
    },
    TcpOptions(StrippedOptions),
    /// After this many packets.
    Behind(u32),
    Nat(NatTerms),
    /// The only end that receives a RST; `None` for both. Up is the far end.
    ResetTo(Option<StreamDirection>),
    Cap {
        count: u32,
        resets: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefectRule {
    pub(super) which: Connections,
    pub(super) direction: Option<StreamDirection>,
    pub(super) kind: DefectKind,
    pub(super) value: DefectValue,
    /// Of each packet; all are hit where they are absent.
    pub(super) odds: Option<Odds>,
    pub(super) filter: PacketFilter,
    pub(super) when: Option<Trigger>,
    /// How likely it concerns a connection.
    pub(super) chance: Option<Chance>,
}

impl DefectRule {
    pub(super) fn concerns(&self, direction: StreamDirection) -> bool {
        let own = match self.kind {
            DefectKind::AsymmetricConntrack => Some(self.direction.unwrap_or(StreamDirection::Up)),
            _ => self.direction,
        };
        own.is_none_or(|own| own == direction)
    }
}

impl fmt::Display for DefectRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.which != Connections::All {
            write!(f, "{}: ", self.which)?;
        }
        if let Some(direction) = self.direction {
            write!(f, "{direction}: ")?;
        }
        f.write_str(self.kind.word())?;
        match self.odds {
            Some(odds) if self.kind.facts().form == DefectForm::Odds => write!(f, "={odds}{}", self.value)?,
            Some(odds) => write!(f, "{} odds={odds}", self.value)?,
            None => write!(f, "{}", self.value)?,
        }
        if let Some(Odds::Burst { length, .. }) = self.odds {
            write!(f, " burst={length}")?;
        }
        write!(f, "{}", self.filter)?;
        if let Some(when) = self.when {
            write!(f, " {when}")?;
        }
        match self.chance {
            Some(chance) => write!(f, " {chance}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DefectValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DefectValue::None | DefectValue::Behind(1) | DefectValue::ResetTo(None) => Ok(()),
            DefectValue::Varied { middle, by, shape } => {
                write!(f, "={}", time_text(middle))?;
                if !by.is_zero() {
                    write!(f, "+-{}", time_text(by))?;
                }
                match shape {
                    DelayShape::Uniform => Ok(()),
                    DelayShape::Normal => f.write_str("~normal"),
                    DelayShape::Pareto => f.write_str("~pareto"),
                }
            }
            DefectValue::Time(time) => write!(f, "={}", time_text(time)),
            DefectValue::Rate { bytes, queue: QUEUE_BYTES } => write!(f, "={}/s", size_text(bytes)),
            DefectValue::Rate { bytes, queue } => write!(f, "={}/s queue={}", size_text(bytes), size_text(queue)),
            DefectValue::Bytes { most, is_silent } => write!(f, "={most}{}", if is_silent { " silent" } else { "" }),
            DefectValue::TcpOptions(options) => write!(f, "={options}"),
            DefectValue::Behind(count) => write!(f, " by={count}"),
            DefectValue::Nat(terms) => write!(f, "{terms}"),
            DefectValue::ResetTo(Some(StreamDirection::Up)) => f.write_str(" to=far"),
            DefectValue::ResetTo(Some(StreamDirection::Down)) => f.write_str(" to=near"),
            DefectValue::Cap { count, resets } => write!(f, "={count}{}", if resets { " reset" } else { "" }),
        }
    }
}

impl fmt::Display for NatTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes_ports {
            f.write_str(" ports=changed")?;
        }
        if let Some((time, end)) = self.idle {
            let end = if end == IdleEnd::Reset { "reset" } else { "silent" };
            write!(f, " idle-{end}={}", time_text(time))?;
        }
        match self.half_closed_idle {
            Some(time) => write!(f, " half-closed-idle={}", time_text(time)),
            None => Ok(()),
        }
    }
}
