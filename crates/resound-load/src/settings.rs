//! What a run was asked to do.

use std::time::Duration;

use resound_proto::TlsInfo;

/// What a load run was asked to do, as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who decides when a message is sent.
    pub shape: Shape,
    /// The address, as a person wrote it.
    pub target: String,
    /// What the far end does with a message.
    pub mode: Mode,
    /// Connections open at once.
    pub connections: u64,
    /// Messages in flight on one connection at most.
    pub depth: u64,
    /// Messages planned per second, over all connections; `None` in a closed loop.
    pub rate: Option<f64>,
    /// How planned instants are spaced.
    pub arrivals: Arrivals,
    /// How long a message is.
    pub size: Sizes,
    /// How long to measure; `None` where only messages are counted.
    pub duration: Option<Duration>,
    /// How many messages to send; `None` where only time counts.
    pub messages: Option<u64>,
    /// Messages on each connection before it is closed and another opened ([`Shape::Connect`]).
    pub messages_per_connection: Option<u64>,
    /// Which way a stream goes ([`Shape::Stream`]).
    pub direction: Option<Direction>,
    /// The steps of a ramp ([`Shape::Ramp`]).
    pub ramp: Option<RampSteps>,
    /// What payloads and Poisson arrivals are made from.
    pub seed: u64,
    /// Is each answer compared with its message, byte by byte?
    pub verify: bool,
    /// The pause between an answer and the next message of its connection, in a closed loop.
    pub think_time: Duration,
    /// Connections opened per second at most.
    pub connect_rate: Option<f64>,
    /// How long a worker looks for events in a loop before it sleeps.
    pub busy_poll: Duration,
    /// Whose clock takes the service times.
    pub timestamps: Timestamps,
    /// How long an interval is, before neighbours are joined ([`Timeline`](super::Timeline)).
    pub interval: Duration,
    /// TLS, where it is spoken.
    pub tls: Option<Security>,
    /// The version of the PROXY header that each connection begins with.
    pub proxy: Option<u8>,
    /// The command line, for whoever wants to repeat the run.
    pub command: String,
}

impl Settings {
    /// Connections that are open at once in the end.
    #[must_use]
    pub fn most_connections(&self) -> u64 {
        let raised = self.ramp.as_ref().filter(|ramp| ramp.of == RampVariable::Connections);
        raised.map_or(self.connections, |ramp| ramp.to.round() as u64)
    }

    /// Is each message planned for an instant, so that there are response times?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rate.is_some() || self.ramp.as_ref().is_some_and(|ramp| ramp.of == RampVariable::Rate)
    }
}

/// Whose clock takes the service times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timestamps {
    /// This program's: when it handed the message over, and when it was told of the answer.
    #[default]
    Clock,
    /// The kernel's: when the message went to the network device, and when the last segment of what was read came up from it
    /// ([`Dialer::kernel_times`](resound::Dialer::kernel_times)). [`Counts::by_kernel`](super::Counts::by_kernel) says for how many answers there
    /// was one; the others have this program's.
    Kernel,
}

/// The TLS of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Was the server's certificate checked? If not, anybody may have answered.
    pub is_checked: bool,
    /// May connections resume the sessions of earlier ones? If not, each handshake is a full one.
    pub resumes: bool,
    /// What the run's first connection agreed on; `None` where there was none.
    pub agreed: Option<NegotiatedTls>,
}

/// What a handshake agreed on, as IANA names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedTls {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
    /// How the keys were exchanged, such as `X25519MLKEM768`.
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
    /// What is raised.
    pub of: RampVariable,
    /// The first level, in messages per second or connections.
    pub from: f64,
    /// No level is above this one.
    pub to: f64,
    /// How much higher each step is than the one before.
    pub by: f64,
    /// How long a step is.
    pub every: Duration,
    /// The ramp ends with the step of which one of these is true, as a person wrote them.
    pub until: Vec<String>,
}

impl RampSteps {
    /// How many there are, if no condition ends them.
    #[must_use]
    pub fn count(&self) -> u32 {
        count(self.from, self.to, self.by)
    }
}

/// How many levels there are from the first to the last.
pub(super) fn count(from: f64, to: f64, by: f64) -> u32 {
    // One that a float just misses is meant.
    ((((to - from) / by).max(0.0) + 1e-9) as u32).saturating_add(1)
}

/// What a ramp raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RampVariable {
    /// Messages per second of an open loop.
    Rate,
    /// Connections of a closed loop.
    Connections,
}

/// Who decides when a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The answer to the one before: a closed loop. It cannot see how long the messages would have waited that it did not send.
    Closed,
    /// A plan: an open loop. Response time counts from the planned instant.
    Open,
    /// Connect, a number of messages, close; again and again.
    Connect,
    /// Bulk.
    Stream,
    /// Steps of rising rate or connections, until a threshold breaks.
    Ramp,
}

/// What the far end does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Sends it back as it is (RFC 862).
    Echo,
    /// Answers `Server received: ` and the line.
    Reply,
    /// Takes it (RFC 863): there are no answers, and no latency.
    Discard,
    /// Sends a pattern, whatever it gets (RFC 864).
    Chargen,
}

/// How planned instants are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrivals {
    /// Evenly.
    Fixed,
    /// As independent events are: exponentially distributed gaps.
    Poisson,
}

/// Which way bulk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the generator to the far end.
    Send,
    /// From the far end to the generator.
    Receive,
    /// Both at once.
    Both,
}

/// How long messages are, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All the same.
    Fixed(u64),
    /// Evenly distributed from the first to the second, both included.
    Range(u64, u64),
    /// Sizes with their weights.
    Weighted(Vec<(u64, f64)>),
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:literal),* $(,)?) => {
        impl $type {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// In one word.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one of that name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

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
    fn what_is_named_is_found_again() {
        for &shape in Shape::ALL {
            assert_eq!(Shape::named(shape.name()), Some(shape));
        }
        assert_eq!(Mode::named("discard"), Some(Mode::Discard));
        assert_eq!(RampVariable::named("connections"), Some(RampVariable::Connections));
        assert_eq!(Arrivals::named("poisson"), Some(Arrivals::Poisson));
        assert_eq!(Direction::named("both"), Some(Direction::Both));
        assert_eq!(Mode::named(""), None);
    }
}
