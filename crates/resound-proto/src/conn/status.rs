//! [`ConnStatus`]: what can be told of a connection from outside.

use std::time::Instant;

use super::Conn;
use crate::service::ConnId;
use crate::state::State;

/// What a connection has carried so far, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnStatus {
    /// `handshake`, `open`, `half-closed` (this end sends nothing more) or `closing`.
    pub state: &'static str,
    /// When it was opened, or else when its handshake began; `None` before both.
    pub since: Option<Instant>,
    /// When a message was last completed, or a byte last sent.
    pub progress: Option<Instant>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the transport.
    pub bytes_out: u64,
    /// Messages delivered to the service.
    pub messages: u64,
    /// Bytes handed to the engine, and not yet to the transport.
    pub unsent: usize,
    /// What its service says of its pair ([`Service::pair`](crate::Service::pair)).
    pub pair: Option<ConnId>,
}

impl Conn {
    /// What the connection has carried so far, and its state.
    #[must_use]
    pub fn status(&self) -> ConnStatus {
        let core = &self.core;
        let begun = || self.layers.as_ref()?.pending.as_ref()?.since;
        ConnStatus {
            state: match core.state {
                State::Handshake => "handshake",
                State::Open => "open",
                State::HalfClosed => "half-closed",
                State::Refused(_) | State::Closing(_) | State::Aborting(_) | State::Reset(_) | State::Closed => {
                    "closing"
                }
            },
            since: core.opened.or_else(begun),
            progress: core.progress,
            bytes_in: core.bytes_in,
            bytes_out: core.bytes_out,
            messages: core.messages(),
            unsent: core.unsent,
            pair: core.service.ask(|service| service.pair()).flatten(),
        }
    }
}
