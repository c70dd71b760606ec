//! The failures of messages and connections under load: a fixed set of classes. All are counted,
//! and the first ones are recorded.

use std::fmt;
use std::time::Duration;

use resound::client::FailureClass;

use super::settings::names;

/// The class of a failure: of the network, as in [`FailureClass`], or found by verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadFailure {
    /// The name did not resolve.
    Dns,
    /// The host refused the connection.
    Refused,
    /// No connection, or no answer, in time.
    Timeout,
    /// No route, no such network, or no such local address.
    Unreachable,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection before it had answered everything.
    Eof,
    /// The TLS handshake or a certificate failed, or a connection ended without TLS's close_notify.
    Tls,
    /// The target runs another protocol than the mode requires.
    Mismatch,
    /// An answer differs from its message.
    Corrupt,
    /// A message was never answered.
    Missing,
    /// An answer arrived after a later one.
    Reordered,
    /// An answer arrived twice.
    Duplicate,
    /// An answer is shorter than its message.
    Truncated,
    /// Bytes arrived that answer nothing.
    Extra,
    /// A planned message was never sent: there was no connection for it, or no room on it.
    Unsent,
}

names!(
    LoadFailure: Dns = FailureClass::Dns.name(), Refused = FailureClass::Refused.name(),
    Timeout = FailureClass::Timeout.name(), Unreachable = FailureClass::Unreachable.name(),
    Reset = FailureClass::Reset.name(), Eof = FailureClass::Eof.name(), Tls = FailureClass::Tls.name(),
    Mismatch = FailureClass::Mismatch.name(), Corrupt = "corrupt", Missing = "missing", Reordered = "reordered",
    Duplicate = "duplicate", Truncated = "truncated", Extra = "extra", Unsent = "unsent",
);

impl LoadFailure {
    /// The position in [`LoadFailure::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<FailureClass> for LoadFailure {
    fn from(class: FailureClass) -> Self {
        // A class newer than this crate: the connection ended.
        Self::named(class.name()).unwrap_or(Self::Reset)
    }
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure, with its place in the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class of the failure.
    pub class: LoadFailure,
    /// When it happened, counted from [`Record::started`](super::Record::started).
    pub at: Duration,
    /// The number of the connection, from 0.
    pub connection: u64,
    /// The number of the message on its connection, from 0; `None` if it concerns no message.
    pub sequence: Option<u64>,
    /// What happened, in words. It may hold bytes of the peer: escape it before display.
    pub what: String,
}

impl Failure {
    /// What happened, without the name of the class in front.
    #[must_use]
    pub fn detail(&self) -> &str {
        let behind = self.what.strip_prefix(self.class.name()).and_then(|what| what.strip_prefix(": "));
        behind.unwrap_or(&self.what)
    }
}

impl fmt::Display for Failure {
    /// The class and what happened, without repetition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, what) = (self.class.name(), self.detail());
        match what.to_lowercase().contains(class) {
            true => f.write_str(what),
            false => write!(f, "{class}: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_class_once() {
        let shown = |class, what: &str| {
            let (at, what) = (Duration::ZERO, what.into());
            Failure { class, at, connection: 0, sequence: None, what }.to_string()
        };
        assert_eq!(
            shown(LoadFailure::Refused, "cannot connect: Connection refused"),
            "cannot connect: Connection refused"
        );
        assert_eq!(shown(LoadFailure::Reset, "Reset by the peer"), "Reset by the peer");
        assert_eq!(shown(LoadFailure::Reset, "reset: the peer reset it"), "the peer reset it");
        assert_eq!(shown(LoadFailure::Timeout, "no answer for 1 s"), "timeout: no answer for 1 s");
    }

    #[test]
    fn each_class_has_an_index_and_a_unique_name() {
        for (at, class) in LoadFailure::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), at);
            assert_eq!(LoadFailure::ALL.iter().filter(|other| other.name() == class.name()).count(), 1, "{class}");
        }
    }
}
