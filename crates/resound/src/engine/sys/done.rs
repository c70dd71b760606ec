//! What is asked of a ring, and what it tells.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bytes::{Received, SendBytes};
use super::tokens::{Key, Token};

/// Whether a send waits until the socket takes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendBlocking {
    /// It takes what it takes now: the completion comes with the next call.
    Try,
    Wait,
}

/// How long [`Ring::enter`](super::Ring) waits for something to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Not,
    AtMost(Duration),
    Forever,
}

/// What has happened. `more` says that the operation goes on; results are negative error numbers.
#[derive(Debug)]
pub(crate) enum Done {
    /// Adopted at once: a descriptor that nobody wants any more is closed when this is dropped.
    Accepted {
        listener: u32,
        result: io::Result<OwnedFd>,
        more: bool,
    },
    /// The call with this number is decided.
    Connected {
        call: u32,
        result: i32,
    },
    Received {
        key: Key,
        result: i32,
        more: bool,
        piece: Option<Received>,
    },
    /// There is something to read, or the socket has something else to tell.
    Readable {
        key: Key,
        result: i32,
    },
    Sent {
        key: Key,
        result: i32,
        load: SendBytes,
    },
    /// The event counter may be read, unless the result says that it cannot be looked at.
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
            Self::Connected { call, .. } => Token::Connect(*call).pack(),
            // A connection's receives, of whichever kind, are one stream.
            Self::Received { key, .. } | Self::Readable { key, .. } => Token::ReceiveMany(*key).pack(),
            Self::Sent { key, .. } => Token::ReceiveOnce(*key).pack(),
            Self::Polled { .. } => Token::Poll.pack(),
        }
    }
}
