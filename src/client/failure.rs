//! [`ClientFailure`]: a failure of a connection that was made.

use std::io;

use resound::client::FailureClass;
use resound::tls::TlsFailure;

use crate::advice;

/// What may be wrong where a server resets a connection.
const ADVICE_OF_RESET: &str = "The server may want TLS (--tls) or a PROXY header (--send-proxy) first, \
                                          refuse this machine, or have crashed: see its log.";

/// The same where it has answered before.
const ADVICE_OF_LATE_RESET: &str =
    "The other end may have crashed, reached a limit, or ended with input that it had not read: see its log.";

/// A network failure after the connection was made.
#[derive(Debug, thiserror::Error)]
#[error("{class}: {what}")]
pub(crate) struct ClientFailure {
    pub(crate) class: FailureClass,
    pub(super) what: String,
    pub(super) advice: Option<&'static str>,
    /// TLS's handshake did not end, or a record did not arrive as it was sent.
    pub(super) is_of_tls_on_its_way: bool,
}

impl ClientFailure {
    pub(crate) fn new(class: FailureClass, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), advice: None, is_of_tls_on_its_way: false }
    }

    /// A failure with its own advice.
    pub(crate) fn advised(class: FailureClass, what: impl Into<String>, advice: &'static str) -> Self {
        Self { class, what: what.into(), advice: Some(advice), is_of_tls_on_its_way: false }
    }

    /// The failure behind an error of a socket while doing `what`. Errors that are no network
    /// failures stay as they are.
    pub(crate) fn of(error: io::Error, what: &str) -> anyhow::Error {
        if let Some(failure) = TlsFailure::of_io(&error) {
            let advised = Self::advised(FailureClass::Tls, format!("{failure}{what}"), advice::of_tls(failure));
            return Self { is_of_tls_on_its_way: failure == TlsFailure::Damaged, ..advised }.into();
        }
        let Some(class) = FailureClass::of(&error) else {
            return anyhow::Error::new(error).context(format!("the connection failed{what}"));
        };
        let (text, advice) = match class {
            FailureClass::Eof => (
                "the server ended without TLS's close_notify",
                Some("What came may have been cut off on the way, or the server does not end its TLS in order."),
            ),
            FailureClass::Reset => ("the server reset the connection", None),
            _ => ("the connection failed", None),
        };
        Self { advice, ..Self::new(class, format!("{text}{what}")) }.into()
    }

    /// As `of`, on a connection on which the server has answered: the connection began as it wants.
    pub(super) fn of_late(error: io::Error, what: &str) -> anyhow::Error {
        let mut error = Self::of(error, what);
        if let Some(failure) = error.downcast_mut::<Self>()
            && failure.class == FailureClass::Reset
        {
            failure.advice.get_or_insert(ADVICE_OF_LATE_RESET);
        }
        error
    }

    /// The same failure of a client that was dialled: its peer is no server.
    pub(super) fn of_peer(mut self) -> Self {
        self.what = self.what.replace("the server", "the peer");
        self.advice.get_or_insert(match self.class {
            FailureClass::Timeout => "The peer, or the path to it, is too slow or stuck.",
            FailureClass::Reset => "The peer may have crashed, or ended with input that it had not read.",
            FailureClass::Eof => "The peer ended the conversation early.",
            _ => "Check the peer and the path to it.",
        });
        self
    }

    /// TLS's handshake did not end.
    pub(super) fn no_handshake(class: FailureClass, what: impl Into<String>, advice: &'static str) -> Self {
        Self { is_of_tls_on_its_way: true, ..Self::advised(class, what, advice) }
    }

    pub(crate) fn advice(&self) -> &'static str {
        if let Some(advice) = self.advice {
            return advice;
        }
        match self.class {
            FailureClass::Timeout => "The server, or the path to it, is too slow or stuck.",
            FailureClass::Reset => ADVICE_OF_RESET,
            FailureClass::Eof => "The server ended the conversation early: see its log.",
            _ => "Check the server and the path to it.",
        }
    }
}
