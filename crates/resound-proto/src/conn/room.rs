//! How much may wait in a connection: what is unsent, and what has been received after it.

use super::Conn;
use super::core::Core;
use crate::service::Framing;

/// A read that is worth a system call.
const LEAST_READ: usize = 4 * 1024;

impl Conn {
    /// How many bytes an engine should read at once, at most. More costs only memory: where the
    /// peer takes nothing, what was read waits here, and so do the answers.
    #[must_use]
    pub fn read_limit(&self) -> usize {
        self.core.read_limit()
    }

    /// Whether the first part of a message waits here for the rest of it. An engine that reads from
    /// this connection before it reads from others frees that memory sooner.
    #[must_use]
    pub fn awaits_rest(&self) -> bool {
        !self.core.held.is_empty() && self.core.may_deliver(0, self.core.held.len())
    }

    /// Whether input has been received that waits for room, or for the end of a pause.
    #[must_use]
    pub fn holds_input(&self) -> bool {
        let core = &self.core;
        !core.held.is_empty() && core.state.is_open() && !core.may_deliver(0, core.held.len())
    }
}

impl Core {
    pub(super) fn read_limit(&self) -> usize {
        let (high, held) = (self.limits.high_water.max(1), self.held.len());
        if self.state.discards() {
            return usize::MAX;
        }
        if self.unsent > 0 && !self.asked.full_duplex {
            let room = high.saturating_sub(self.unsent).saturating_sub(held);
            // A tiny read can wait until there is more room.
            return if room < LEAST_READ.min(high / 8) { 0 } else { room };
        }
        match self.asked.framing {
            Framing::Chunk | Framing::Stream => usize::MAX,
            // Of short lines, those whose answers have no room are held.
            Framing::Line { .. } | Framing::Auto { .. } if held < high / 2 && self.long == 0 => {
                (high / 2).max(LEAST_READ)
            }
            // A long line is delivered only when it is complete. Then its answer may wait beside
            // what was read after it.
            Framing::Line { .. } | Framing::Auto { .. } => high.max(held / 8).max(LEAST_READ),
        }
    }

    /// Whether the next message may be delivered, where `fresh` bytes have been answered in this
    /// call, and `rest` bytes of input wait.
    pub(super) fn may_deliver(&self, fresh: usize, rest: usize) -> bool {
        self.state.is_open() && self.has_room(fresh, rest)
    }

    /// Whether backpressure allows more input. Answers may be longer than what they answer, so
    /// where both together exceed the high-water mark, they are written in parts.
    pub(super) fn has_room(&self, fresh: usize, rest: usize) -> bool {
        let (waiting, high) = (self.unsent + fresh + self.asked.shares.len(), self.limits.high_water.max(1));
        let in_all = waiting.saturating_add(rest);
        let is_free = waiting == 0 || self.asked.full_duplex;
        !self.asked.paused && (is_free || (waiting < high && (waiting < high / 8 || in_all <= high)))
    }
}
