//! [`FirstWords`]: a plain connection to a server that speaks TLS, found out by what such servers say.

use anyhow::Error;
use resound::client::FailureClass;

use super::failure::ClientFailure;
use crate::advice::TLS_HINT;

/// A fatal alert in a record of its own, whatever it says (RFC 8446, 5.1 and 6).
const ALERT: usize = 7;

/// What a server has said on a plain connection, as far as it might be all that a server which speaks TLS says to a client that does not.
#[derive(Default)]
pub(super) struct FirstWords {
    said: Vec<u8>,
    /// It is something else.
    other: bool,
}

impl FirstWords {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.other || bytes.is_empty() {
            return;
        }
        let room = TLS_HINT.len() + 1 - self.said.len();
        self.said.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.other = !TLS_HINT.starts_with(&self.said) && !begins_an_alert(&self.said);
    }

    /// Might it still be that? Then nothing is known before more comes, or the end.
    pub(super) fn may_be_tls(&self) -> bool {
        !self.other && !self.said.is_empty()
    }

    /// The server has ended: what is to be said where it speaks TLS.
    pub(super) fn tls_failure(&self) -> Option<Error> {
        let is_whole = self.said == TLS_HINT || self.said.len() == ALERT;
        (self.may_be_tls() && is_whole).then(|| {
            let advice = "Add --tls, and say whom to trust (--ca FILE, --pin SHA256).";
            ClientFailure::advised(FailureClass::Tls, "the server speaks TLS, and this connection does not", advice)
                .into()
        })
    }
}

fn begins_an_alert(said: &[u8]) -> bool {
    let fits = |at: usize, byte: u8| match at {
        0 => byte == 21,
        1 => byte == 3,
        2 => byte <= 4,
        3 => byte == 0,
        4 | 5 => byte == 2,
        _ => at < ALERT,
    };
    said.iter().enumerate().all(|(at, &byte)| fits(at, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explains(said: &[u8]) -> bool {
        (1..=said.len()).all(|piece| {
            let mut words = FirstWords::default();
            said.chunks(piece).for_each(|bytes| words.push(bytes));
            words.tls_failure().is_some()
        })
    }

    #[test]
    fn a_hint_and_an_alert_are_told_from_answers() {
        assert!(explains(TLS_HINT) && explains(b"\x15\x03\x01\0\x02\x02\x46"));
        let longer = [TLS_HINT, b"and more"].concat();
        for said in [&b"x"[..], &TLS_HINT[1..], &TLS_HINT[..9], &longer, b"\x15\x03\x01\0\x02\x02"] {
            assert!(!explains(said), "{}", said.escape_ascii());
        }
        assert!(!explains(b"\x15\x03\x01\0\x02\x02\x46\0") && !explains(b"\x16\x03\x01\0\x02\x02\x46"));
        assert!(FirstWords::default().tls_failure().is_none(), "nothing was said");
    }
}
