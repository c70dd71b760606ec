//! A fault with its value.

use std::fmt;
use std::time::Duration;

use crate::amounts::{size_text, time_text};
use crate::draws::{below, sequel, unit};
use crate::kind::FaultKind;

/// How a delay varies around its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DelayShape {
    /// Evenly within the variation.
    #[default]
    Uniform,
    /// Around the value, the variation being the standard deviation (a sum of twelve even draws: at
    /// most six times as far).
    Normal,
    /// Mostly a little below the value and seldom far above it (Pareto, shape 3): the value is the
    /// mean, the variation the standard deviation.
    Pareto,
}

impl DelayShape {
    pub(crate) const WORDS: [(&'static str, DelayShape); 3] =
        [("uniform", DelayShape::Uniform), ("normal", DelayShape::Normal), ("pareto", DelayShape::Pareto)];

    /// A time around `middle`, from 64 bits that were drawn.
    pub fn drawn(self, middle: Duration, by: Duration, bits: u64) -> Duration {
        if by.is_zero() {
            return middle;
        }
        let deviation = by.as_secs_f64();
        let offset = match self {
            DelayShape::Uniform => {
                let width = u64::try_from(by.as_nanos() * 2 + 1).unwrap_or(u64::MAX);
                return middle.saturating_sub(by) + Duration::from_nanos(below(bits, width));
            }
            DelayShape::Normal => ((0..12).map(|n| unit(sequel(bits, n))).sum::<f64>() - 6.0) * deviation,
            // Its own mean is 1.5, and its standard deviation the root of 0.75.
            DelayShape::Pareto => ((1.0 - unit(bits)).cbrt().recip().min(100.0) - 1.5) / 0.75_f64.sqrt() * deviation,
        };
        Duration::try_from_secs_f64((middle.as_secs_f64() + offset).max(0.0)).unwrap_or(middle)
    }
}

/// The value after a fault's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EffectValue {
    /// None: the word says all.
    Absent,
    /// A time, as in `stall=5s`.
    Time(Duration),
    /// A time that varies, as in `delay=20ms+-5ms`.
    Varied {
        /// The time in the middle.
        middle: Duration,
        /// How far it varies, at most as far as zero.
        by: Duration,
        /// How it varies.
        shape: DelayShape,
    },
    /// Bytes per time, as in `rate=1MiB/s` and `drip=10B/100ms`.
    Pace {
        /// How many bytes.
        bytes: u64,
        /// In which time.
        each: Duration,
    },
    /// From a smallest to a largest number of bytes, as in `slice=1..7`.
    Range(u64, u64),
    /// A number of bytes, as in `hold=1MiB`.
    Size(u64),
    /// A number, as in `cap=10`.
    Count(u32),
}

/// A fault and its value, such as `delay=20ms` or `reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// What happens.
    pub kind: FaultKind,
    /// How much of it.
    pub value: EffectValue,
}

impl Effect {
    /// The time after the word, if there is one.
    pub(crate) fn time(self) -> Duration {
        match self.value {
            EffectValue::Time(time) => time,
            EffectValue::Varied { middle, .. } => middle,
            _ => Duration::ZERO,
        }
    }

    /// The size after the word, if there is one.
    pub(crate) fn size(self) -> u64 {
        match self.value {
            EffectValue::Size(size) => size,
            _ => 0,
        }
    }

    /// What it does, as one short sentence without its full stop.
    pub fn sentence(self) -> String {
        use FaultKind as K;
        let time = || time_text(self.time());
        let size = || size_text(self.size());
        match self.kind {
            K::Delay => match self.value {
                EffectValue::Varied { by, .. } if !by.is_zero() => {
                    format!("bytes leave {} later, give or take {}", time(), time_text(by))
                }
                _ => format!("bytes leave {} later", time()),
            },
            K::Rate | K::Drip => match self.value {
                EffectValue::Pace { bytes, each } => {
                    format!("at most {} leave in {}", size_text(bytes), time_text(each))
                }
                _ => String::new(),
            },
            K::Stall => format!("nothing is read or passed on for {}", time()),
            K::StallThenBurst => format!("nothing is given for {}, and then everything at once", time()),
            K::Slice => match self.value {
                EffectValue::Range(from, to) if from == to => format!("bytes leave in segments of {from}"),
                EffectValue::Range(from, to) => format!("bytes leave in segments of {from} to {to}"),
                _ => String::new(),
            },
            K::Coalesce => format!("bytes that come within {} leave together", time()),
            K::Corrupt => "one bit of the byte is inverted".into(),
            K::Truncate => "later bytes are dropped, and the FIN comes after what is left".into(),
            K::Duplicate => format!("the next {} are sent twice", size()),
            K::Swap => format!("the next two blocks of {} change places", size()),
            K::Reset => "each peer receives a RST".into(),
            K::ResetOneSide => "the receiver gets a RST, and the sender gets a FIN".into(),
            K::Close => "each peer receives a FIN, and what is unread is lost".into(),
            K::HalfClose => "the receiver gets a FIN that the sender has not sent".into(),
            K::EatFin => "the sender's FIN is not passed on".into(),
            K::CloseOnEof => "the sender's FIN closes both directions".into(),
            K::FinToRst => "the sender's FIN becomes a RST".into(),
            K::RstToFin => "the sender's RST becomes a FIN".into(),
            K::RstEatsTail => "the sender's RST overtakes the bytes that still wait".into(),
            K::Silent => "nothing more is sent to either end".into(),
            K::OneWay => "bytes of this direction are taken and discarded".into(),
            K::SplitHelloDrop => "the ClientHello is longer than a segment, and nothing more is sent".into(),
            K::Refuse => "connections are refused".into(),
            K::NeverAccept => "connections are never accepted".into(),
            K::AcceptThenClose => "the connection is accepted and closed".into(),
            K::AcceptThenReset => "the connection is accepted and reset".into(),
            K::AcceptLate => format!("the connection is served {} later", time()),
            K::AcceptLiar => "the target is never dialled, and bytes are discarded".into(),
            K::Cap => "connections beyond the cap are reset".into(),
            K::ConnectRate => "connections wait for their turn".into(),
            K::IdleClose => format!("no byte came for {}, and each peer receives a FIN", time()),
            K::IdleReset => format!("no byte came for {}, and each peer receives a RST", time()),
            K::IdleSilent => format!("no byte came for {}, and nothing more is sent", time()),
            K::HalfClosedIdle => format!("half-closed, and no byte for {}: each peer receives a RST", time()),
            K::NoBackpressure => "the sender is never slowed; beyond 64 MiB each peer receives a RST".into(),
            K::Hold => format!("up to {} are held", size()),
            K::Nagle => "the sockets do without TCP_NODELAY".into(),
            K::NoKeepalive => "the sockets send no keepalive probes".into(),
            K::Garbage => "random bytes come in the place of the answer".into(),
            K::NeverRead => "the server reads nothing more".into(),
            K::HalfCloseFirst => "the server sends its FIN first".into(),
            K::DuplicateLastLine => "the last line of the answer is sent twice".into(),
            K::WrongAnswer => "one character of the answer is another".into(),
            K::LateAnswer => format!("the answer comes {} later", time()),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        match self.value {
            EffectValue::Absent => Ok(()),
            EffectValue::Time(time) => write!(f, "={}", time_text(time)),
            EffectValue::Varied { middle, by, shape } => {
                write!(f, "={}", time_text(middle))?;
                if !by.is_zero() {
                    write!(f, "+-{}", time_text(by))?;
                }
                match DelayShape::WORDS.iter().find(|(_, each)| *each == shape) {
                    Some((word, each)) if *each != DelayShape::Uniform => write!(f, "~{word}"),
                    _ => Ok(()),
                }
            }
            EffectValue::Pace { bytes, each } if self.kind == FaultKind::Rate && each.as_secs() == 1 => {
                write!(f, "={}/s", size_text(bytes))
            }
            EffectValue::Pace { bytes, each } => write!(f, "={}/{}", size_text(bytes), time_text(each)),
            EffectValue::Range(from, to) if from == to => write!(f, "={from}"),
            EffectValue::Range(from, to) => write!(f, "={from}..{to}"),
            EffectValue::Size(size) => write!(f, "={}", size_text(size)),
            EffectValue::Count(count) if self.kind == FaultKind::ConnectRate => write!(f, "={count}/s"),
            EffectValue::Count(count) => write!(f, "={count}"),
        }
    }
}
