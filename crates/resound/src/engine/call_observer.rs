//! [`CallObserver`]: what is called on the socket of one stream.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use resound_proto::{Endpoint, SocketReport, TlsInfo};

/// Sees the calls on the socket of a [`Stream`](crate::Stream), as they return: for a program that
/// explains them.
pub trait CallObserver: Send + Sync {
    /// A call has returned, or follows. `report` describes the socket now, without its SYN, and
    /// costs a few system calls. Must not block.
    fn called(&self, call: &StreamCall<'_>, report: &dyn Fn() -> SocketReport);
}

/// A call on the socket of a stream, and what it has returned. With TLS, the bytes are those of the
/// records.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamCall<'a> {
    /// The resolver has answered (getaddrinfo(3)).
    Resolved {
        /// The name.
        host: &'a str,
        /// Its addresses that are dialled, in this order.
        addresses: &'a [SocketAddr],
        /// How long it took.
        took: Duration,
    },
    /// connect(2) follows.
    Connecting {
        /// The peer's address.
        target: &'a Endpoint,
    },
    /// The connection is established.
    Connected {
        /// The peer's address.
        target: &'a Endpoint,
        /// This end's address.
        local: &'a Endpoint,
        /// The time since the call.
        took: Duration,
    },
    /// No connection was made.
    NotConnected {
        /// The peer's address.
        target: &'a Endpoint,
        /// The error; `None` where this end gives up, and closes the socket.
        error: Option<&'a io::Error>,
        /// What the socket's error queue holds (ip(7), `IP_RECVERR`; Linux alone has it).
        icmp: Option<IcmpError>,
        /// The time since the call.
        took: Duration,
    },
    /// accept(2) has returned the connection.
    Accepted {
        /// The peer's address.
        peer: &'a Endpoint,
        /// This end's address.
        local: &'a Endpoint,
    },
    /// The system has taken these bytes (send(2)).
    Sent(&'a [u8]),
    /// It has taken none: [`io::ErrorKind::WouldBlock`] where it has no room for them.
    SendFailed(&'a io::Error),
    /// These bytes were read (recv(2)); none at the peer's FIN.
    Received(&'a [u8]),
    /// A read has failed. (One that finds nothing to read is not reported.)
    ReceiveFailed(&'a io::Error),
    /// The sending direction is shut down next (shutdown(2), `SHUT_WR`).
    HalfClosing,
    /// It was shut down, or could not be.
    HalfClosed(Option<&'a io::Error>),
    /// A TLS handshake begins.
    TlsBegun,
    /// The handshake is over.
    TlsEstablished(&'a TlsInfo),
    /// TLS's close_notify is sent next (RFC 8446, 6.1).
    ClosingTls,
    /// The peer's close_notify has come: it sends no more.
    TlsClosedByPeer,
    /// The socket is closed next (close(2)).
    Closing {
        /// The close is a reset (socket(7), `SO_LINGER` with a time of zero).
        resets: bool,
    },
}

/// An ICMP message about a segment that this end has sent, as the system keeps it in the error
/// queue of the socket (ip(7), `IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IcmpError {
    /// It is of ICMPv6 (RFC 4443), otherwise of ICMP (RFC 792).
    pub is_v6: bool,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Its sender, where the system names it.
    pub from: Option<IpAddr>,
    /// The sender is this machine itself, which has found no neighbour of that address.
    pub is_own: bool,
}

/// The observer of a stream, if it has one.
#[derive(Clone, Default)]
pub(super) struct CallWatch(Option<Arc<dyn CallObserver>>);

impl CallWatch {
    pub(super) fn of(observer: Arc<dyn CallObserver>) -> Self {
        Self(Some(observer))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Shows a call.
    #[inline]
    pub(super) fn show<'c>(&self, call: impl FnOnce() -> StreamCall<'c>, report: impl Fn() -> SocketReport) {
        if let Some(observer) = &self.0 {
            observer.called(&call(), &report);
        }
    }
}

impl fmt::Debug for CallWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallWatch").field(&self.is_on()).finish()
    }
}
