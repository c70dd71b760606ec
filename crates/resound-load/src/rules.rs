//! [`Rules`]: which messages the connections of a run send, and whether their answers are verified.

use super::length::Lengths;
use super::payload::{Message, Payload};

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) payload: Payload,
    pub(super) lengths: Lengths,
    pub(super) verify: bool,
}

impl Rules {
    pub(super) fn message(&self, connection: u64, sequence: u64) -> Message {
        self.payload.message(connection, sequence, |key| self.lengths.of(key))
    }
}
