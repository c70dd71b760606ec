//! Input that has been received and not yet delivered: a partial line, or what backpressure held up.

use crate::service::Framing;

use super::framing::{Cut, cut};

/// A queue of bytes that remembers how far it was searched. It owns memory only while it holds something.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// Delivered already.
    from: usize,
    /// Bytes behind `from` known to hold no newline.
    scanned: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.from == self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What stands at the head.
    pub(super) fn cut(&mut self, framing: Framing) -> Cut {
        let found = cut(framing, &self.bytes[self.from..], self.scanned);
        if found == Cut::More {
            self.scanned = self.len();
        }
        found
    }

    /// The first `n` bytes; [`Held::consume`] takes them away.
    pub(super) fn head(&self, n: usize) -> &[u8] {
        &self.bytes[self.from..self.from + n]
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.from += n;
        self.scanned = 0;
        if self.is_empty() {
            self.clear();
        } else if self.from > self.bytes.len() / 2 {
            // Amortised: each byte is moved at most once for each byte that was consumed.
            self.bytes.drain(..self.from);
            self.from = 0;
        }
    }

    /// Throws all of it away, and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
