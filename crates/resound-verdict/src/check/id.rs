//! [`CheckId`]: the names of the checks.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A check. Its name stays the same in all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CheckId {
    /// The name has addresses.
    Resolve,
    /// A connection is made.
    Connect,
    /// The far end itself accepts it.
    AcceptTruth,
    /// Bytes arrive as they were sent.
    Integrity,
    /// They do in both directions at once.
    BothWays,
    /// Small pieces arrive, and in time.
    Segmentation,
    /// This end's FIN leaves the other direction open.
    HalfCloseOut,
    /// The far end's FIN leaves this direction open.
    HalfCloseIn,
    /// A half-closed connection outlives a pause.
    HalfClosedIdle,
    /// This end's RST arrives as one.
    ResetOut,
    /// The far end's RST arrives as one.
    ResetIn,
    /// The last bytes before a close arrive.
    CloseTail,
    /// Large segments reach the far end.
    MtuOut,
    /// Large segments reach this end.
    MtuIn,
    /// A reader that stops for a while loses nothing.
    SlowReader,
    /// The path holds few acknowledged bytes that the far end has not received.
    HiddenBuffer,
    /// A connection outlives a pause.
    Idle,
    /// Small writes do not wait for acknowledgements.
    Nagle,
    /// Both ends see the same addresses.
    Address,
    /// Both ends see the same TCP options.
    Options,
    /// One TCP connection leads from end to end.
    SplitTcp,
    /// One TLS session leads from end to end.
    Tls,
    /// A ClientHello passes in any segments.
    TlsSplitHello,
    /// The requested number of connections is open at once.
    Cap,
    /// Connections in quick succession.
    Churn,
    /// The round-trip time.
    Rtt,
    /// The round-trip time under load.
    Responsiveness,
    /// No connection is reset for no reason.
    SpuriousReset,
    /// How many servers answer.
    Backends,
}

impl CheckId {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 29] = [
        Self::Resolve,
        Self::Connect,
        Self::AcceptTruth,
        Self::Integrity,
        Self::BothWays,
        Self::Segmentation,
        Self::HalfCloseOut,
        Self::HalfCloseIn,
        Self::HalfClosedIdle,
        Self::ResetOut,
        Self::ResetIn,
        Self::CloseTail,
        Self::MtuOut,
        Self::MtuIn,
        Self::SlowReader,
        Self::HiddenBuffer,
        Self::Idle,
        Self::Nagle,
        Self::Address,
        Self::Options,
        Self::SplitTcp,
        Self::Tls,
        Self::TlsSplitHello,
        Self::Cap,
        Self::Churn,
        Self::Rtt,
        Self::Responsiveness,
        Self::SpuriousReset,
        Self::Backends,
    ];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::AcceptTruth => "accept-truth",
            Self::Integrity => "integrity",
            Self::BothWays => "both-ways",
            Self::Segmentation => "segmentation",
            Self::HalfCloseOut => "half-close-out",
            Self::HalfCloseIn => "half-close-in",
            Self::HalfClosedIdle => "half-closed-idle",
            Self::ResetOut => "reset-out",
            Self::ResetIn => "reset-in",
            Self::CloseTail => "close-tail",
            Self::MtuOut => "mtu-out",
            Self::MtuIn => "mtu-in",
            Self::SlowReader => "slow-reader",
            Self::HiddenBuffer => "hidden-buffer",
            Self::Idle => "idle",
            Self::Nagle => "nagle",
            Self::Address => "address",
            Self::Options => "options",
            Self::SplitTcp => "split-tcp",
            Self::Tls => "tls",
            Self::TlsSplitHello => "tls-split-hello",
            Self::Cap => "cap",
            Self::Churn => "churn",
            Self::Rtt => "rtt",
            Self::Responsiveness => "responsiveness",
            Self::SpuriousReset => "spurious-reset",
            Self::Backends => "backends",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for CheckId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// There is no check of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCheck(pub String);

impl fmt::Display for UnknownCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no check '{}'", self.0)
    }
}

impl std::error::Error for UnknownCheck {}

impl FromStr for CheckId {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|id| id.name() == text).ok_or_else(|| UnknownCheck(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for id in CheckId::ALL {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("half-close".parse::<CheckId>().is_err());
    }
}
