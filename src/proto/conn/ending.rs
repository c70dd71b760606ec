//! How a connection ends that may not end in order: its peer takes nothing.

use std::time::Instant;

use super::Conn;

impl Conn {
    /// For an engine that can tell what the transport still holds of what it took: it is then asked for that
    /// ([`Conn::wants_unacknowledged`]), and the write timeout counts from the last byte that the peer's system took. Without this it counts from the
    /// last one that the transport took, and what the transport holds is not waited for.
    #[must_use]
    pub fn reporting_unacknowledged(mut self) -> Self {
        self.delivery.tell();
        self
    }

    /// Should [`Conn::unacknowledged`] be called before [`Conn::timed_out`]? Seldom, and only while something may be on its way.
    #[must_use]
    pub fn wants_unacknowledged(&self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.delivery.look().is_some()
            && (is_due(self.delivery.look()) || is_due(self.stalled_at()) || is_due(self.idle_at()))
    }

    /// So many of the bytes that were reported as [`sent`](Conn::sent) have not been taken by the peer's system yet (`SIOCOUTQ`, tcp(7)).
    pub fn unacknowledged(&mut self, now: Instant, bytes: usize) {
        if self.delivery.holds(now, self.bytes_out, bytes, self.unsent) {
            // It is slow, not idle.
            self.progress = Some(now);
        }
    }
}
