//! [`RelayEvent`]: what happens to the pairs of a relay.

use std::fmt;
use std::time::Duration;

use resound_faults::FaultEvent;
use resound_proto::{CloseReason, ConnInfo, Endpoint};

use crate::error::DialError;

/// Something that happened to a pair: a client's connection, and the one that was dialled for it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayEvent<'a> {
    /// The target has answered.
    Opened {
        /// The client's connection.
        client: &'a ConnInfo,
        /// The address that answered.
        target: &'a Endpoint,
        /// From the client's arrival to the answer, the handshakes included.
        took: Duration,
    },
    /// No address of the target has answered, and the client is reset.
    Failed {
        /// The client's connection.
        client: &'a ConnInfo,
        /// Why.
        error: &'a DialError,
    },
    /// A fault was injected.
    Fault {
        /// The client's connection.
        client: &'a ConnInfo,
        /// What was done, and where.
        event: &'a FaultEvent,
    },
    /// Both connections have ended; or the client has left before the target answered.
    Closed {
        /// The client's connection.
        client: &'a ConnInfo,
        /// What was relayed.
        report: &'a RelayReport,
    },
}

/// A pair that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayReport {
    /// The address that was connected to; `None` if none had answered by then.
    pub target: Option<Endpoint>,
    /// From the client to the target.
    pub up: DirectionReport,
    /// From the target to the client.
    pub down: DirectionReport,
    /// What ended the pair early; `None` where both directions ended with their FIN.
    pub ended: Option<(RelayEnd, CloseReason)>,
    /// From the client's arrival to the end.
    pub lasted: Duration,
}

/// One direction of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionReport {
    /// Bytes that were passed on.
    pub bytes: u64,
    /// The sender's FIN was passed on.
    pub fin: bool,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// The client.
    Client,
    /// The target.
    Target,
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Target => "target",
        })
    }
}
