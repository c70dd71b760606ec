//! What can go wrong: [`Error`] at start-up, [`CloseReason`] for one connection, [`FailureClass`] for a network failure.

mod proxy;
mod tls;

use std::fmt;
use std::io;
use std::time::Duration;

pub use proxy::{Instead, ProxyError};
pub use tls::TlsFailure;

/// Why something could not be started. [`Error::advice`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an address.
    #[error("invalid address '{input}': {reason}")]
    Address {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host name does not resolve (in the wanted family).
    #[error("unknown host '{host}': {source}")]
    UnknownHost {
        /// The name as given.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Somebody listens on the address already (`EADDRINUSE`).
    #[error("{address} is already in use")]
    InUse {
        /// The address that was asked for.
        address: String,
    },
    /// Ports below 1024 need a privilege (`EACCES`).
    #[error("no permission to listen on {address}")]
    Permission {
        /// The address that was asked for.
        address: String,
    },
    /// The address belongs to no interface of this machine (`EADDRNOTAVAIL`).
    #[error("{address} is not an address of this machine")]
    NotLocal {
        /// The address that was asked for.
        address: String,
    },
    /// No descriptor is left for what has to be opened (`EMFILE`, `ENFILE`).
    #[error("no file descriptors left to listen on {address}")]
    Descriptors {
        /// The address that was asked for.
        address: String,
    },
    /// Any other failure to listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server without a listener would serve nobody.
    #[error("the server has no address to listen on")]
    NoListener,
    /// A worker could not be started.
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
    /// The system has no such congestion control, or not for everybody.
    #[error("no congestion control '{algorithm}': {source}")]
    Congestion {
        /// What was asked for.
        algorithm: String,
        /// What the system said.
        source: io::Error,
    },
    /// The io_uring engine was asked for, and the system has none for us.
    #[error("io_uring is not available: {0}")]
    Uring(#[source] io::Error),
    /// A certificate or a key cannot be used.
    #[error("cannot use {what}: {reason}")]
    Certificate {
        /// The file, or what else it is.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up as it was asked for.
    #[error("no TLS: {0}")]
    Tls(String),
}

impl Error {
    /// Names the failure of listening on `address` that the system reported as `source`.
    pub(crate) fn listen(address: impl fmt::Display, source: io::Error) -> Self {
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::Permission { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ if is_family_missing(&source) => Self::NotLocal { address },
            _ if is_descriptor_shortage(&source) => Self::Descriptors { address },
            _ => Self::Listen { address, source },
        }
    }

    /// What is wrong with a certificate or a key.
    pub(crate) fn certificate(what: impl AsRef<std::path::Path>, reason: String) -> Self {
        Self::Certificate { what: what.as_ref().display().to_string(), reason }
    }

    /// One sentence on the way out, for a person.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Address { .. } => "Write HOST PORT, HOST:PORT, [IPv6]:PORT, unix:/path, or a port alone.",
            Self::UnknownHost { .. } => {
                "Check the spelling and the family, or give another address, such as 127.0.0.1."
            }
            Self::InUse { address } if address.starts_with("unix:") => {
                "Choose another path, stop the program that listens there, or remove the file if it is none of a socket."
            }
            Self::InUse { .. } => {
                "Choose another port (0 picks a free one), or stop the program that holds it (`ss -ltnp` names it)."
            }
            Self::Permission { .. } => {
                "Choose a port from 1024 up, or grant the privilege (CAP_NET_BIND_SERVICE, or run as root); for a unix \
                 socket, choose a directory you may write to."
            }
            Self::NotLocal { .. } => {
                "Use an address of this machine: 127.0.0.1 for local clients only, 0.0.0.0 or :: for every interface."
            }
            Self::Descriptors { .. } => "Raise the limit (`ulimit -n`), or close what holds the descriptors.",
            Self::Listen { .. } => "Check the address and try another one.",
            Self::NoListener => "Give at least one address to listen on.",
            Self::Worker(_) => {
                "Use fewer workers, or raise the limits on threads and descriptors (`ulimit -u`, `ulimit -n`)."
            }
            Self::Congestion { .. } => {
                "On Linux `sysctl net.ipv4.tcp_allowed_congestion_control` lists what may be used; elsewhere leave it to the system."
            }
            Self::Certificate { .. } => {
                "Certificates and keys are PEM files: the certificate first, then those between it and its root; one key for each."
            }
            Self::Tls(_) => "Check the names, the authorities and the protocols that were given.",
            Self::Uring(_) => "Use the portable engine (`--engine portable`), or leave the choice to the program.",
        }
    }
}

/// Is this `EMFILE` or `ENFILE`: no descriptor left in the process or the system?
pub(crate) fn is_descriptor_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
    #[cfg(not(unix))]
    {
        error.raw_os_error() == Some(10024) // WSAEMFILE
    }
}

/// Is this `EAFNOSUPPORT`: a system without this family, such as one with IPv6 switched off?
fn is_family_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::AFNOSUPPORT)
    }
    #[cfg(not(unix))]
    {
        error.raw_os_error() == Some(10047) // WSAEAFNOSUPPORT
    }
}

/// Why one connection ended. A value: it is counted and logged once, and never travels as an `Err`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both directions ended in order, each with its FIN (RFC 9293, 3.6).
    Finished,
    /// The service said all it had to say ([`Cx::close`](crate::Cx::close)).
    ServiceClosed,
    /// The server was shut down, and this connection was answered and closed in order.
    Drained,
    /// The peer reset the connection (`ECONNRESET`, `EPIPE`).
    Reset,
    /// Nothing complete came or went for [`Limits::idle_timeout`](crate::Limits::idle_timeout).
    IdleTimeout,
    /// The peer took nothing for [`Limits::write_timeout`](crate::Limits::write_timeout).
    WriteTimeout,
    /// A line grew past its limit ([`Framing::Line`](crate::Framing::Line)).
    LineTooLong,
    /// The service asked for a reset ([`Cx::reset`](crate::Cx::reset)).
    Aborted,
    /// The peer stopped answering: keepalive or `TCP_USER_TIMEOUT` gave up (`ETIMEDOUT`).
    PeerVanished,
    /// The server was stopped, or the drain deadline passed, while something was still open.
    Cut,
    /// The service panicked; only its own connection ends.
    Panicked,
    /// What has to come before the service did not come in time ([`Limits::opening_timeout`](crate::Limits::opening_timeout)).
    OpeningTimeout,
    /// The peer ended the connection before the service was open, as a port scan or a simple health check does.
    LeftEarly,
    /// A PROXY header was required, and this came instead.
    NoProxyHeader(Instead),
    /// The PROXY header is not as it should be.
    BadProxyHeader(ProxyError),
    /// A PROXY header was required, and the peer is none of those who may send one.
    UntrustedProxy,
    /// The TLS handshake failed, or a record after it.
    Tls(TlsFailure),
    /// The peer's end came without TLS's close_notify (RFC 8446, 6.1): somebody may have cut off what it said last.
    Truncated,
    /// Any other error of the socket.
    Failed(io::ErrorKind),
}

impl CloseReason {
    /// All names that [`CloseReason::name`] can return, in the order of [`CloseReason::index`].
    pub const NAMES: [&'static str; 19] = [
        "finished",
        "service_closed",
        "drained",
        "reset",
        "idle_timeout",
        "write_timeout",
        "line_too_long",
        "aborted",
        "peer_vanished",
        "cut",
        "panicked",
        "failed",
        "opening_timeout",
        "left_early",
        "tls",
        "truncated",
        "no_proxy_header",
        "bad_proxy_header",
        "untrusted_proxy",
    ];

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
        match self {
            Self::Finished => 0,
            Self::ServiceClosed => 1,
            Self::Drained => 2,
            Self::Reset => 3,
            Self::IdleTimeout => 4,
            Self::WriteTimeout => 5,
            Self::LineTooLong => 6,
            Self::Aborted => 7,
            Self::PeerVanished => 8,
            Self::Cut => 9,
            Self::Panicked => 10,
            Self::Failed(_) => 11,
            Self::OpeningTimeout => 12,
            Self::LeftEarly => 13,
            Self::Tls(_) => 14,
            Self::Truncated => 15,
            Self::NoProxyHeader(_) => 16,
            Self::BadProxyHeader(_) => 17,
            Self::UntrustedProxy => 18,
        }
    }

    /// A stable name in snake case, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Did the connection end as both ends meant it to?
    #[must_use]
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Finished | Self::ServiceClosed | Self::Drained)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Finished => "both ends finished",
            Self::ServiceClosed => "closed by the service",
            Self::Drained => "drained at shutdown",
            Self::Reset => "reset by the peer",
            Self::IdleTimeout => "idle for too long",
            Self::WriteTimeout => "the peer stopped reading",
            Self::LineTooLong => "a line was too long",
            Self::Aborted => "reset by the service",
            Self::PeerVanished => "the peer stopped answering",
            Self::Cut => "cut at shutdown",
            Self::Panicked => "the service panicked",
            Self::OpeningTimeout => "not open in time",
            Self::LeftEarly => "the peer left before it was open",
            Self::NoProxyHeader(instead) => return write!(f, "{instead} instead of a PROXY header"),
            Self::BadProxyHeader(error) => return write!(f, "wrong PROXY header: {error}"),
            Self::UntrustedProxy => "none of the proxies that are believed",
            Self::Tls(failure) => return failure.fmt(f),
            Self::Truncated => "the peer ended without TLS's close_notify",
            Self::Failed(kind) => return write!(f, "socket error: {kind}"),
        };
        f.write_str(text)
    }
}

/// The class of a network failure, as a script would want to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The name did not resolve.
    Dns,
    /// The host answered that nothing listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No route, no such network, or no such local address.
    Unreachable,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection before its answer was complete.
    Eof,
    /// The TLS handshake or a certificate failed.
    Tls,
    /// The answer is not the one that was expected.
    Mismatch,
}

impl FailureClass {
    /// The class of a socket's error; `None` where it is no network failure (a permission, a descriptor limit).
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as E;
        Some(match error.kind() {
            E::ConnectionRefused | E::NotFound => Self::Refused,
            E::TimedOut => Self::Timeout,
            E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown | E::AddrNotAvailable => Self::Unreachable,
            E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::NotConnected => Self::Reset,
            E::UnexpectedEof => Self::Eof,
            _ => return TlsFailure::behind(error).map(|_| Self::Tls),
        })
    }

    /// The class in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Tls => "tls",
            Self::Mismatch => "mismatch",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why no connection could be made: each address that was tried, and what it said.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {target}: {}", self.summary())]
pub struct DialError {
    /// What was dialled, as given.
    pub target: String,
    /// The class of the failure that says most; `None` where the cause is this machine and not the network.
    pub class: Option<FailureClass>,
    /// Each attempt in the order in which they failed; empty where the name did not resolve or time ran out before.
    pub attempts: Vec<Attempt>,
    /// What failed before the first attempt: the resolver, or the deadline.
    pub before: Option<io::Error>,
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: String,
    /// What the system said.
    pub error: io::Error,
    /// How long it took to fail.
    pub took: Duration,
}

impl DialError {
    fn is_unix(&self) -> bool {
        self.target.starts_with("unix:")
    }

    fn summary(&self) -> String {
        let cause = match (self.attempts.last(), &self.before) {
            (Some(last), _) if self.attempts.len() == 1 => plain(&last.error),
            (Some(_), _) => format!("none of its {} addresses answered", self.attempts.len()),
            (None, Some(error)) => plain(error),
            (None, None) => "no address to try".into(),
        };
        match self.class {
            Some(class) => format!("{class}: {cause}"),
            None => cause,
        }
    }

    /// One sentence on the way out, for a person.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.class {
            Some(FailureClass::Refused) if self.is_unix() => {
                "Nothing listens on that path: start the server (`resound server unix:/path`), or check the path."
            }
            Some(FailureClass::Timeout) if self.is_unix() => {
                "Whoever listens on that path accepts nobody: its queue is full."
            }
            Some(FailureClass::Dns) => "Check the spelling of the host and the family, or give another address.",
            Some(FailureClass::Refused) => {
                "Nothing listens there: start the server (`resound server`), or check host and port."
            }
            Some(FailureClass::Timeout) => {
                "No answer: a firewall may drop the packets, or the host is down, or far away and the timeout too short."
            }
            Some(FailureClass::Reset) => {
                "Something accepted the connection and dropped it at once: a proxy without its server?"
            }
            Some(FailureClass::Unreachable) => "There is no route to that address: check the network and the address.",
            None if self.before.is_some() => {
                "Give an address of that family, or leave out what asks for it (-4, -6, --source-address)."
            }
            _ => match self.attempts.last().map(|attempt| attempt.error.kind()) {
                Some(io::ErrorKind::InvalidInput) => "The source address must be one of this machine's own.",
                Some(io::ErrorKind::AddrInUse) => "Something else uses that source port: choose another, or none.",
                Some(io::ErrorKind::PermissionDenied) if !self.is_unix() => {
                    "This needs a permission you do not have, such as for a source port below 1024."
                }
                _ if self.is_unix() => "Check the path, and that you may write to that socket.",
                _ => "Check host and port, and that you may open that address.",
            },
        }
    }
}

/// The text of an error without the operating system's number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

impl Attempt {
    /// What the system said, without its error number, behind the failure's class where it has one.
    #[must_use]
    pub fn cause(&self) -> String {
        match FailureClass::of(&self.error) {
            Some(class) => format!("{class}: {}", plain(&self.error)),
            None => plain(&self.error),
        }
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
            CloseReason::NoProxyHeader(Instead::Text),
            CloseReason::BadProxyHeader(ProxyError::Address),
            CloseReason::UntrustedProxy,
        ];
        let names: std::collections::HashSet<_> = reasons.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), CloseReason::NAMES.len());
        assert!(reasons.iter().enumerate().all(|(at, r)| r.index() == at));
    }

    #[test]
    fn listen_errors_are_told_apart_by_kind() {
        let of = |kind: io::ErrorKind| Error::listen("here", kind.into());
        assert!(matches!(of(io::ErrorKind::AddrInUse), Error::InUse { .. }));
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::Permission { .. }));
        assert!(matches!(of(io::ErrorKind::AddrNotAvailable), Error::NotLocal { .. }));
        assert!(matches!(of(io::ErrorKind::Other), Error::Listen { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn a_descriptor_shortage_is_recognised() {
        assert!(matches!(Error::listen("here", rustix::io::Errno::MFILE.into()), Error::Descriptors { .. }));
        assert!(matches!(Error::listen("here", rustix::io::Errno::AFNOSUPPORT.into()), Error::NotLocal { .. }));
        assert!(!is_descriptor_shortage(&io::ErrorKind::AddrInUse.into()));
    }

    #[test]
    fn the_systems_error_number_is_left_out() {
        let refused = io::Error::from_raw_os_error(111);
        assert!(!plain(&refused).contains("os error"), "{refused}");
    }
}
