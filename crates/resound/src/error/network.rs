//! [`FailureClass`] and [`DialError`]: network failures of a client.

use std::fmt;
use std::io;
use std::time::Duration;

use resound_proto::TlsFailure;

use super::plain;

/// The class of a network failure, for scripts.
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
    /// The class of a socket's error; `None` where it is no network failure (a permission, a
    /// descriptor limit).
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        use io::ErrorKind as E;
        Some(match error.kind() {
            E::ConnectionRefused | E::NotFound => Self::Refused,
            E::TimedOut => Self::Timeout,
            E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown | E::AddrNotAvailable => Self::Unreachable,
            E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::NotConnected => Self::Reset,
            E::UnexpectedEof => Self::Eof,
            _ => return TlsFailure::of_io(error).map(|_| Self::Tls),
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

/// Why no connection could be made: each address that was tried, and its error.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {target}: {}", self.summary())]
pub struct DialError {
    /// What was dialled, as given.
    pub target: String,
    /// The class of the most telling failure; `None` where the cause is this machine and not the
    /// network.
    pub class: Option<FailureClass>,
    /// Each attempt in the order in which they failed; empty where the name did not resolve or time
    /// ran out before.
    pub attempts: Vec<Attempt>,
    /// The failure before the first attempt: of the resolver, or of the deadline.
    pub before: Option<io::Error>,
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: String,
    /// The system's error.
    pub error: io::Error,
    /// How long it took to fail.
    pub took: Duration,
}

impl DialError {
    fn summary(&self) -> String {
        let cause = match (self.attempts.last(), &self.before) {
            (Some(last), _) if self.attempts.len() == 1 => plain(&last.error),
            (Some(_), _) => format!("none of its {} addresses answered", self.attempts.len()),
            (None, Some(error)) => plain(error),
            (None, None) => "no address to try".into(),
        };
        classed(self.class, cause)
    }
}

impl Attempt {
    /// The system's error without its number, after the failure's class where it has one.
    #[must_use]
    pub fn cause(&self) -> String {
        classed(FailureClass::of(&self.error), plain(&self.error))
    }
}

fn classed(class: Option<FailureClass>, cause: String) -> String {
    class.map_or_else(|| cause.clone(), |class| format!("{class}: {cause}"))
}
