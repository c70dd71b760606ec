//! [`CloseReason`]: why one connection ended.

use std::fmt;
use std::io;

use super::{ProxyError, Refusal, TlsFailure};
use crate::detect::DetectedProtocol;

/// Why one connection ended. A value: it is counted and logged once, and is never returned as an
/// `Err`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both directions ended in order, each with its FIN (RFC 9293, 3.6).
    Finished,
    /// The service closed the connection ([`Cx::close`](crate::Cx::close)).
    ServiceClosed,
    /// The server was shut down, and this connection got its answers and a FIN.
    Drained,
    /// The peer reset the connection (`ECONNRESET`, `EPIPE`).
    Reset,
    /// Nothing complete came or went for [`Limits::idle_timeout`](crate::Limits::idle_timeout).
    IdleTimeout,
    /// The peer's system acknowledged nothing for
    /// [`Limits::write_timeout`](crate::Limits::write_timeout).
    WriteTimeout,
    /// A line grew past its limit ([`Framing::Line`](crate::Framing::Line)).
    LineTooLong,
    /// The service asked for a reset ([`Cx::reset`](crate::Cx::reset)).
    Aborted,
    /// The peer stopped answering: keepalive or `TCP_USER_TIMEOUT` gave up (`ETIMEDOUT`).
    PeerVanished,
    /// The server was stopped, or the drain deadline passed, while something was still open.
    Cut,
    /// The service or an observer panicked. Only its own connection ends, with a reset after its
    /// earlier output.
    Panicked,
    /// The handshake was not complete in time
    /// ([`Limits::opening_timeout`](crate::Limits::opening_timeout)).
    OpeningTimeout,
    /// The peer ended the connection before the service was open, as a port scan or a simple health
    /// check does.
    LeftEarly,
    /// A PROXY header was required, and the peer used this protocol instead.
    NoProxyHeader(DetectedProtocol),
    /// The PROXY header is malformed.
    BadProxyHeader(ProxyError),
    /// A PROXY header was required, and the peer is not a trusted proxy.
    UntrustedProxy,
    /// The client that the PROXY header names is not allowed to connect
    /// (`resound::server::Access`).
    Refused(Refusal),
    /// The TLS handshake failed, or a record after it.
    Tls(TlsFailure),
    /// The peer's FIN came without TLS's close_notify (RFC 8446, 6.1): its last bytes may have been
    /// cut off on the way.
    Truncated,
    /// Any other error of the socket.
    Failed(io::ErrorKind),
}

/// Gives each reason its place, its name and its text.
macro_rules! reasons {
    ($($reason:ident $(($value:ident))? => $name:literal, $text:literal;)*) => {
        enum ReasonPlace {
            $($reason),*
        }

        const NAMES: &[&str] = &[$($name),*];

        fn place(reason: CloseReason) -> ReasonPlace {
            match reason {
                $(CloseReason::$reason { .. } => ReasonPlace::$reason),*
            }
        }

        fn write_text(reason: &CloseReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match reason {
                $(CloseReason::$reason $(($value))? => write!(f, $text)),*
            }
        }
    };
}

reasons! {
    Finished => "finished", "both ends finished";
    ServiceClosed => "service_closed", "closed by the service";
    Drained => "drained", "drained at shutdown";
    Reset => "reset", "reset by the peer";
    IdleTimeout => "idle_timeout", "idle for too long";
    WriteTimeout => "write_timeout", "the peer stopped reading";
    LineTooLong => "line_too_long", "a line was too long";
    Aborted => "aborted", "reset by the service";
    PeerVanished => "peer_vanished", "the peer stopped answering";
    Cut => "cut", "cut at shutdown";
    Panicked => "panicked", "the service panicked";
    Failed(kind) => "failed", "socket error: {kind}";
    OpeningTimeout => "opening_timeout", "not open in time";
    LeftEarly => "left_early", "the peer left before it was open";
    Tls(failure) => "tls", "{failure}";
    Truncated => "truncated", "the peer ended without TLS's close_notify";
    NoProxyHeader(instead) => "no_proxy_header", "{instead} instead of a PROXY header";
    BadProxyHeader(error) => "bad_proxy_header", "wrong PROXY header: {error}";
    UntrustedProxy => "untrusted_proxy", "the peer is not a trusted proxy";
    Refused(refusal) => "refused", "{refusal}";
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self, f)
    }
}

impl CloseReason {
    /// All names that [`CloseReason::name`] can return, in the order of [`CloseReason::index`].
    pub const NAMES: &'static [&'static str] = NAMES;

    /// The reason behind an error that a socket reported.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as E;
        match error.kind() {
            E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted | E::NotConnected => Self::Reset,
            E::TimedOut => Self::PeerVanished,
            kind => Self::Failed(kind),
        }
    }

    /// Position in [`CloseReason::NAMES`]: a fixed set, fit for a metric's label.
    #[must_use]
    pub fn index(self) -> usize {
        place(self) as usize
    }

    /// A stable name in snake case, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether the connection ended as both ends meant it to.
    #[must_use]
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Finished | Self::ServiceClosed | Self::Drained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name() {
        let reasons = [
            CloseReason::Finished,
            CloseReason::ServiceClosed,
            CloseReason::Drained,
            CloseReason::Reset,
            CloseReason::IdleTimeout,
            CloseReason::WriteTimeout,
            CloseReason::LineTooLong,
            CloseReason::Aborted,
            CloseReason::PeerVanished,
            CloseReason::Cut,
            CloseReason::Panicked,
            CloseReason::Failed(io::ErrorKind::Other),
            CloseReason::OpeningTimeout,
            CloseReason::LeftEarly,
            CloseReason::Tls(TlsFailure::NotTls),
            CloseReason::Truncated,
            CloseReason::NoProxyHeader(DetectedProtocol::Text),
            CloseReason::BadProxyHeader(ProxyError::Address),
            CloseReason::UntrustedProxy,
            CloseReason::Refused(Refusal::Denied),
        ];
        let names: std::collections::HashSet<_> = reasons.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), CloseReason::NAMES.len());
        assert!(reasons.iter().enumerate().all(|(at, r)| r.index() == at));
    }
}
