//! The settings of a run.

use std::time::Duration;

use resound_proto::TlsInfo;

/// Messages in flight on one connection of an open loop, unless the depth is given. Further
/// messages wait in the schedule.
pub const MOST_IN_FLIGHT: u64 = 65_536;

/// The settings of a load run, as parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What decides when a message is sent.
    pub shape: Shape,
    /// The address of the target, as typed. [`Load::new`](super::Load::new) fills an empty one in.
    pub target: String,
    /// The target's reaction to a message.
    pub mode: Mode,
    /// Connections open at once.
    pub connections: u64,
    /// Messages in flight on one connection at most.
    pub depth: u64,
    /// Messages planned per second, over all connections; `None` in a closed loop.
    pub rate: Option<f64>,
    /// The distribution of planned instants.
    pub arrivals: Arrivals,
    /// The length of a message.
    pub size: Sizes,
    /// The time to measure; `None` if only messages are limited.
    pub duration: Option<Duration>,
    /// The number of messages to send; `None` if only time is limited.
    pub messages: Option<u64>,
    /// Messages on each connection before it is closed and another opened ([`Shape::Connect`]).
    pub messages_per_connection: Option<u64>,
    /// The direction of a stream ([`Shape::Stream`]).
    pub direction: Option<Direction>,
    /// The steps of a ramp ([`Shape::Ramp`]).
    pub ramp: Option<RampSteps>,
    /// The seed of payloads and Poisson arrivals.
    pub seed: u64,
    /// Each answer is compared with its message, byte by byte.
    pub verify: bool,
    /// The pause between an answer and the next message of its connection, in a closed loop.
    pub think_time: Duration,
    /// Connections opened per second at most.
    pub connect_rate: Option<f64>,
    /// How long a worker polls for events before it sleeps.
    pub busy_poll: Duration,
    /// The clock of the service times.
    pub timestamps: Timestamps,
    /// The length of an interval, before neighbours are joined ([`Timeline`](super::Timeline)).
    pub interval: Duration,
    /// TLS; `None` without it.
    pub tls: Option<Security>,
    /// The version of the PROXY header at the start of each connection; `None` without one.
    pub proxy: Option<u8>,
    /// The command line, to repeat the run.
    pub command: String,
}

impl Settings {
    /// A closed loop for 10 seconds against an echo server: each connection sends a message of 64
    /// bytes once the one before is answered. The other fields can be changed:
    ///
    /// ```
    /// # use resound_load::{Settings, Sizes};
    /// let settings = Settings { size: Sizes::Range(16, 256), ..Settings::closed(10) };
    /// ```
    #[must_use]
    pub fn closed(connections: u64) -> Self {
        Self {
            shape: Shape::Closed,
            target: String::new(),
            mode: Mode::Echo,
            connections,
            depth: 1,
            rate: None,
            arrivals: Arrivals::Fixed,
            size: Sizes::Fixed(64),
            duration: Some(Duration::from_secs(10)),
            messages: None,
            messages_per_connection: None,
            direction: None,
            ramp: None,
            seed: fastrand::u64(..),
            verify: true,
            think_time: Duration::ZERO,
            connect_rate: None,
            busy_poll: Duration::ZERO,
            timestamps: Timestamps::Clock,
            interval: Duration::from_secs(1),
            tls: None,
            proxy: None,
            command: String::new(),
        }
    }

    /// As [`Settings::closed`], but an open loop: `rate` messages per second are planned, over all
    /// connections.
    #[must_use]
    pub fn open(connections: u64, rate: f64) -> Self {
        Self { shape: Shape::Open, depth: MOST_IN_FLIGHT, rate: Some(rate), ..Self::closed(connections) }
    }

    /// The number of connections at the end of the run.
    #[must_use]
    pub fn most_connections(&self) -> u64 {
        let raised = self.ramp.as_ref().filter(|ramp| ramp.of == RampVariable::Connections);
        raised.map_or(self.connections, |ramp| ramp.to.round() as u64)
    }

    /// Returns whether messages have planned instants, and so response times.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rate.is_some() || self.ramp.as_ref().is_some_and(|ramp| ramp.of == RampVariable::Rate)
    }
}

/// The clock of the service times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timestamps {
    /// The program's: from the write of the message to the read of the answer.
    #[default]
    Clock,
    /// The kernel's: from the message's departure at the network device to the arrival of the
    /// answer's last segment there ([`Dialer::kernel_times`](resound::Dialer::kernel_times)).
    /// [`Counts::by_kernel`](super::Counts::by_kernel) counts the answers with such a time; the
    /// others have the program's.
    Kernel,
}

/// The TLS of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The server's certificate was checked. Otherwise any server may have answered.
    pub is_checked: bool,
    /// Connections may resume the sessions of earlier ones. Otherwise each handshake is a full one.
    pub resumes: bool,
    /// The negotiated parameters of the first connection; `None` if no handshake succeeded.
    pub agreed: Option<NegotiatedTls>,
}

/// The negotiated parameters of a handshake, by their IANA names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedTls {
    /// The protocol version, such as `TLSv1.3`.
    pub version: String,
    /// The cipher suite, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: Option<String>,
}

impl From<&TlsInfo> for NegotiatedTls {
    fn from(tls: &TlsInfo) -> Self {
        let group = tls.group.map(Into::into);
        Self { version: tls.version.into(), cipher_suite: tls.cipher_suite.into(), group }
    }
}

/// The steps of a ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct RampSteps {
    /// The quantity that rises.
    pub of: RampVariable,
    /// The first level, in messages per second or connections.
    pub from: f64,
    /// The limit of all levels.
    pub to: f64,
    /// The difference between two steps.
    pub by: f64,
    /// The length of a step.
    pub every: Duration,
    /// The ramp ends with the step in which one of these conditions, as typed, is true.
    pub until: Vec<String>,
}

impl RampSteps {
    /// The number of steps if no condition ends the ramp.
    #[must_use]
    pub fn count(&self) -> u32 {
        // The tolerance includes a level that a float just misses.
        ((((self.to - self.from) / self.by).max(0.0) + 1e-9) as u32).saturating_add(1)
    }
}

/// The quantity that a ramp raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RampVariable {
    /// Messages per second of an open loop.
    Rate,
    /// Connections of a closed loop.
    Connections,
}

/// What decides when a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The previous answer: a closed loop. It omits the messages it could not send in time, and
    /// their waits.
    Closed,
    /// A plan: an open loop. Response time counts from the planned instant.
    Open,
    /// Repeatedly connect, send a number of messages, and close.
    Connect,
    /// Bulk transfer.
    Stream,
    /// Steps of rising rate or connections, until a condition is true.
    Ramp,
}

/// The target's reaction to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Sends it back unchanged (RFC 862).
    Echo,
    /// Answers `Server received: ` and the line.
    Reply,
    /// Discards it (RFC 863): there are no answers, and no latency.
    Discard,
    /// Sends a pattern regardless of what it receives (RFC 864).
    Chargen,
}

/// The distribution of planned instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrivals {
    /// Equal gaps.
    Fixed,
    /// Exponentially distributed gaps, as of independent events.
    Poisson,
}

/// The direction of a bulk transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the generator to the target.
    Send,
    /// From the target to the generator.
    Receive,
    /// Both at once.
    Both,
}

/// The length of messages, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All messages have the same length.
    Fixed(u64),
    /// Uniform from the first to the second, inclusive.
    Range(u64, u64),
    /// Lengths with their weights.
    Weighted(Vec<(u64, f64)>),
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:expr),* $(,)?) => {
        impl $type {
            /// All values.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The name, in one word.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The value of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }
        }
    };
}
pub(super) use names;

names!(Shape: Closed = "closed", Open = "open", Connect = "connect", Stream = "stream", Ramp = "ramp");
names!(Timestamps: Clock = "clock", Kernel = "kernel");
names!(Mode: Echo = "echo", Reply = "reply", Discard = "discard", Chargen = "chargen");
names!(Arrivals: Fixed = "fixed", Poisson = "poisson");
names!(RampVariable: Rate = "rate", Connections = "connections");
names!(Direction: Send = "send", Receive = "receive", Both = "both");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for shape in Shape::ALL {
            assert_eq!(Shape::named(shape.name()), Some(shape));
        }
        assert_eq!(Mode::named("discard"), Some(Mode::Discard));
        assert_eq!(RampVariable::named("connections"), Some(RampVariable::Connections));
        assert_eq!(Arrivals::named("poisson"), Some(Arrivals::Poisson));
        assert_eq!(Direction::named("both"), Some(Direction::Both));
        assert_eq!(Mode::named(""), None);
    }
}
