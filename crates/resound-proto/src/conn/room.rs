//! How much may wait in a connection: what is unsent, and what has been received behind it.

use super::Conn;
use crate::service::Framing;

/// A read that is worth a call.
const LEAST_READ: usize = 4 * 1024;

impl Conn {
    /// How much an engine should read at once, at most. More does no harm but to memory: where the peer takes nothing,
    /// what was read waits here, and so does what was answered.
    #[must_use]
    pub fn read_limit(&self) -> usize {
        let (high, held) = (self.limits.high_water.max(1), self.held.len());
        if self.asked.closing {
            // Nothing of it is kept.
            return usize::MAX;
        }
        if self.unsent > 0 {
            let room = high.saturating_sub(self.unsent).saturating_sub(held);
            // What is hardly worth a call can wait until there is more room.
            return if room < LEAST_READ.min(high / 8) { 0 } else { room };
        }
        match self.asked.framing {
            Framing::Chunk => usize::MAX,
            // What their answers leave no room for is held.
            Framing::Line { .. } | Framing::Auto { .. } if held < high / 2 => (high / 2).max(LEAST_READ),
            // A long line must be complete before any of it is let go: as much as there is of it may be missing.
            Framing::Line { .. } | Framing::Auto { .. } => {
                held.min(high.saturating_mul(2).saturating_sub(held)).max(held / 8).max(LEAST_READ)
            }
        }
    }

    /// May the next message be delivered, where `fresh` bytes have been answered since the engine was last told to send, and
    /// `rest` bytes of input wait? Answers may be longer than what they answer, so where both together are more than is to
    /// wait here, they are written in parts.
    pub(super) fn may_deliver(&self, fresh: usize, rest: usize) -> bool {
        if self.asked.paused || self.asked.closing || self.asked.reset {
            return false;
        }
        let (waiting, high) = (self.unsent + fresh + self.asked.shares.len(), self.limits.high_water.max(1));
        let in_all = waiting.saturating_add(rest);
        waiting == 0 || (waiting < high && (waiting < high / 8 || in_all <= high))
    }
}
