//! What a connection's faults say to their caller, and their limits.

use std::time::Duration;

use crate::kind::FaultKind;
use crate::rule::FaultRule;

/// What waits in a direction before its sender is slowed, where `hold` says nothing else.
pub const QUEUE_BYTES: usize = 64 * 1024;
/// What waits in a direction at most, whatever the faults: beyond, both ends receive a RST.
/// (A caller that reads on where [`wants_input`](super::ConnectionFaults::wants_input) says no may
/// add as much again.)
pub const MOST_HELD: usize = 64 * 1024 * 1024;

/// A rule that concerns this connection, and its index in the specification.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRule {
    pub(super) index: usize,
    pub(super) rule: FaultRule,
}

impl OwnRule {
    pub(super) fn kind(&self) -> FaultKind {
        self.rule.effect.kind
    }
}

/// What becomes of a client that was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAdmission {
    /// It is served.
    #[default]
    Serve,
    /// It is closed at once, in order.
    Close,
    /// It is reset at once.
    Reset,
    /// It is served this much later.
    Late(Duration),
    /// The target is not dialled; what the client sends is discarded.
    Liar,
}

/// How the sockets of a connection differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFaults {
    /// Without TCP_NODELAY.
    pub nagle: bool,
    /// Without keepalive probes.
    pub no_keepalive: bool,
}

/// What is done with the receiver of a direction once all bytes that were polled have left. It
/// repeats until the connection is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Nothing: more may come.
    #[default]
    Open,
    /// It gets a FIN; its own bytes are still read.
    HalfClose,
    /// It gets a FIN, and its socket is closed, whatever is unread.
    Close,
    /// It gets a RST once the bytes have left.
    Reset,
    /// It gets a RST now; what has not left is thrown away.
    ResetNow,
    /// Nothing more, not even when the connection ends: no FIN and no RST. Its own bytes are still
    /// read, and given to [`received`](super::ConnectionFaults::received), which discards them.
    Silent,
}

impl End {
    /// Does nothing come after it?
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, End::Open | End::HalfClose)
    }
}

/// What a poll returned beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// What is done with the receiver, after the bytes.
    pub end: End,
    /// There is more: poll again when these bytes have left.
    pub more: bool,
}
