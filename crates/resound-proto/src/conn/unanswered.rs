//! Messages that were received and will not be answered: they are counted where that is decided.

use std::time::Instant;

use super::Conn;
use super::core::Core;
use crate::error::CloseReason;
use crate::observer::Observer;
use crate::service::{Framing, RareRequests};
use crate::state::State;

impl Conn {
    /// For an engine that ends a connection before its time: these bytes have left the socket, and
    /// are not delivered. To be called before [`Conn::abandon`].
    pub fn undelivered(&mut self, bytes: &[u8], observer: &mut dyn Observer) {
        // Below TLS they say nothing about lines.
        if self.is_bare() && self.core.may_count() {
            self.core.unanswered(self.core.lines(bytes), observer);
        }
    }

    /// For an engine that ends a connection before its time, with so much in its socket: the
    /// observer learns how many messages are not answered ([`Observer::unanswered`]). To be called
    /// before [`Conn::lost`] or [`Conn::closed`].
    ///
    /// The close destroys `unacknowledged` bytes that were sent, and `unread` bytes that have
    /// arrived. How many answers or lines these are follows from the average of this connection:
    /// where each of them ended is not remembered.
    pub fn abandon(&mut self, unacknowledged: usize, unread: usize, observer: &mut dyn Observer) {
        let core = &mut self.core;
        if !core.may_count() {
            return;
        }
        let lost = core.unsent + unacknowledged;
        let answers = share(core.messages, lost, core.bytes_out + core.unsent as u64);
        let held = core.lines(core.held.all());
        let arrived = if core.has_lines() { share(core.messages + held, unread, core.bytes_in) } else { 0 };
        core.unanswered(answers + held + arrived, observer);
    }
}

impl Core {
    /// Whether messages are to be answered here: those of a relay are not.
    fn may_count(&self) -> bool {
        let has_answers = !self.asked.full_duplex && !self.asked.rare.has(RareRequests::NO_ANSWERS);
        self.opened.is_some() && self.state != State::Closed && has_answers
    }

    fn has_lines(&self) -> bool {
        matches!(self.asked.framing, Framing::Line { .. } | Framing::Auto { .. })
    }

    /// The lines that end in these bytes.
    fn lines(&self, bytes: &[u8]) -> u64 {
        if self.has_lines() { memchr::memchr_iter(b'\n', bytes).count() as u64 } else { 0 }
    }

    /// Input that is discarded, because the connection ends. After a drain the peer could not know
    /// that.
    #[cold]
    pub(super) fn discard(&mut self, now: Instant, input: &[u8], observer: &mut dyn Observer) {
        if self.state == State::Closing(CloseReason::Drained) && self.may_count() {
            let lines = self.lines(self.held.all()) + self.lines(input);
            if lines > 0 {
                self.observe(now, |info| observer.unanswered(info, lines));
            }
        }
        self.held.clear();
    }

    fn unanswered(&self, messages: u64, observer: &mut dyn Observer) {
        if messages > 0 {
            let _ = crate::guard::guarded(|| observer.unanswered(&self.info, messages));
        }
    }
}

/// Of `messages` in `bytes` bytes, those that `part` bytes touch.
fn share(messages: u64, part: usize, bytes: u64) -> u64 {
    if part == 0 || bytes == 0 {
        return 0;
    }
    let touched = (u128::from(messages) * part as u128).div_ceil(u128::from(bytes));
    u64::try_from(touched).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_message_is_a_message() {
        let cases = [(10, 0, 1000, 0), (10, 1, 1000, 1), (10, 100, 1000, 1), (10, 101, 1000, 2), (10, 1000, 1000, 10)];
        for (messages, part, bytes, want) in cases {
            assert_eq!(share(messages, part, bytes), want, "{part} of {bytes}");
        }
        assert_eq!((share(0, 5, 10), share(5, 5, 0)), (0, 0));
    }
}
