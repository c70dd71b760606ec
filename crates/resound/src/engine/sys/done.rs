//! [`Done`]: what the ring reports; and how its calls wait.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bytes::{Received, SendBytes};
use super::tokens::{Key, Token};

/// Whether a send waits until the socket has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendBlocking {
    /// The socket takes what it has room for: the completion comes with the next call.
    Try,
    Wait,
}

/// Which receives a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    Multishot,
    SingleShot,
}

/// How long [`Ring::enter`](super::Ring) waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Not,
    AtMost(Duration),
    Forever,
}

/// A completion. With `more` the operation goes on. A negative result is an error number.
#[derive(Debug)]
pub(crate) enum Done {
    /// The descriptor is owned from here on: dropping it closes the connection.
    Accepted {
        listener: u32,
        result: io::Result<OwnedFd>,
        more: bool,
    },
    /// The connect with this number has succeeded or failed.
    Connected {
        number: u32,
        result: i32,
    },
    Received {
        key: Key,
        result: i32,
        more: bool,
        piece: Option<Received>,
    },
    /// The socket is readable, or has something else to report.
    Readable {
        key: Key,
        result: i32,
    },
    /// The connection has failed, such as by a reset, or its poll has ended.
    Failed {
        key: Key,
        failed: bool,
        more: bool,
    },
    Sent {
        key: Key,
        result: i32,
        bytes: SendBytes,
    },
    /// The event counter may be read, unless the result is an error of the poll.
    Polled {
        result: i32,
        more: bool,
    },
}

impl Done {
    /// Completions of one stream stay in order.
    pub(super) fn stream(&self) -> u64 {
        match self {
            Self::Accepted { listener, .. } => Token::Accept(*listener).pack(),
            Self::Connected { number, .. } => Token::Connect(*number).pack(),
            // The receives of a connection are one stream, whatever their kind.
            Self::Received { key, .. } | Self::Readable { key, .. } => Token::MultishotRecv(*key).pack(),
            Self::Failed { key, .. } => Token::PollFailure(*key).pack(),
            Self::Sent { key, .. } => Token::SingleShotRecv(*key).pack(),
            Self::Polled { .. } => Token::Poll.pack(),
        }
    }
}
