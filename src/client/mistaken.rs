//! [`FirstWords`]: detects a server with TLS on a plain connection by its first bytes.

use std::io;

use anyhow::Error;
use resound::Stream;
use resound::client::FailureClass;

use super::failure::ClientFailure;
use crate::advice::TLS_HINT;

/// A fatal alert of any kind, in its own record (RFC 8446, 5.1 and 6).
const ALERT: usize = 7;

/// The first bytes of a server on a plain connection, as long as they match those that a server
/// with TLS sends to a plain client.
#[derive(Default)]
pub(super) struct FirstWords {
    bytes: Vec<u8>,
    /// The bytes match neither, or TLS is in use.
    other: bool,
}

impl FirstWords {
    /// On a connection with TLS, there are none.
    pub(super) fn of(stream: &Stream) -> Self {
        Self { bytes: Vec::new(), other: stream.tls().is_some() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.other || bytes.is_empty() {
            return;
        }
        let room = TLS_HINT.len() + 1 - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.other = !TLS_HINT.starts_with(&self.bytes) && !begins_an_alert(&self.bytes);
    }

    /// Do the bytes match so far? Only more bytes, or the end, decide.
    pub(super) fn may_be_tls(&self) -> bool {
        !self.other && !self.bytes.is_empty()
    }

    /// The error of a connection that failed after these bytes, or before any.
    pub(super) fn failure(&self, error: io::Error, what: &str) -> Error {
        let has_answered = self.other || !self.bytes.is_empty();
        let of = if has_answered { ClientFailure::of_late } else { ClientFailure::of };
        self.tls_failure().unwrap_or_else(|| of(error, what))
    }

    /// The error of a connection that ended after such bytes.
    pub(super) fn tls_failure(&self) -> Option<Error> {
        let is_whole = self.bytes == TLS_HINT || self.bytes.len() == ALERT;
        (self.may_be_tls() && is_whole).then(|| {
            let advice = "Add --tls, and what to trust (--ca FILE, --pin SHA256).";
            ClientFailure::advised(FailureClass::Tls, "the server speaks TLS, and this connection does not", advice)
                .into()
        })
    }
}

fn begins_an_alert(sent: &[u8]) -> bool {
    let fits = |at: usize, byte: u8| match at {
        0 => byte == 21,
        1 => byte == 3,
        2 => byte <= 4,
        3 => byte == 0,
        4 | 5 => byte == 2,
        _ => at < ALERT,
    };
    sent.iter().enumerate().all(|(at, &byte)| fits(at, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explains(sent: &[u8]) -> bool {
        (1..=sent.len()).all(|piece| {
            let mut words = FirstWords::default();
            sent.chunks(piece).for_each(|bytes| words.push(bytes));
            words.tls_failure().is_some()
        })
    }

    #[test]
    fn a_hint_and_an_alert_differ_from_answers() {
        assert!(explains(TLS_HINT) && explains(b"\x15\x03\x01\0\x02\x02\x46"));
        let longer = [TLS_HINT, b"and more"].concat();
        for sent in [&b"x"[..], &TLS_HINT[1..], &TLS_HINT[..9], &longer, b"\x15\x03\x01\0\x02\x02"] {
            assert!(!explains(sent), "{}", sent.escape_ascii());
        }
        assert!(!explains(b"\x15\x03\x01\0\x02\x02\x46\0") && !explains(b"\x16\x03\x01\0\x02\x02\x46"));
        assert!(FirstWords::default().tls_failure().is_none(), "there were no bytes");
    }

    #[test]
    fn a_reset_after_an_answer_is_not_explained_by_how_the_connection_began() {
        let advice = |words: &FirstWords| {
            let failure = words.failure(io::ErrorKind::ConnectionReset.into(), "");
            failure.downcast_ref::<ClientFailure>().unwrap().advice()
        };
        let mut words = FirstWords::default();
        assert!(advice(&words).contains("(--tls)"));
        words.push(b"Hello");
        assert!(!advice(&words).contains("(--tls)"));
    }
}
