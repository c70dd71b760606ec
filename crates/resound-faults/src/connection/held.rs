//! Bytes that wait for more bytes.

use super::queue::Mark;

/// Two blocks that change places.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) block: usize,
    pub(super) bytes: Vec<u8>,
    /// The event of the exchange.
    pub(super) mark: Mark,
    /// Events of other faults of these bytes.
    pub(super) notes: Vec<Mark>,
}

#[derive(Debug)]
pub(super) struct Repetition {
    pub(super) left: usize,
    pub(super) bytes: Vec<u8>,
}

/// As many as memory can have.
pub(super) fn bytes_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
