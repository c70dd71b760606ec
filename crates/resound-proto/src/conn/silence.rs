//! Messages without a newline, on connections that never sent one ([`Framing::Auto`]): a pause ends
//! them.

use std::time::Instant;

use super::Conn;
use super::core::Core;
use crate::framing::Frame;
use crate::guard::guarded;
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::service::{Framing, RareRequests};
use crate::silence::{Silence, may_be_own_line};

impl Conn {
    /// Whether a pause that ends a message is over by now. An engine then looks at its transport
    /// once more before [`Conn::timed_out`]: what has arrived is delivered first, or an engine that
    /// is late would cut a message in two.
    #[must_use]
    pub fn is_silence_due(&self, now: Instant) -> bool {
        let asked = &self.core.asked;
        let reads = asked.rare.has(RareRequests::READ_BEFORE_WAKE) && !asked.paused;
        let wake = asked.wake_at.filter(|_| reads);
        self.is_silent(now) || wake.is_some_and(|at| at <= now)
    }

    /// Whether the held bytes become a message unless more comes.
    #[must_use]
    pub fn waits_for_silence(&self) -> bool {
        self.silent_at().is_some()
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.silent_at().is_some_and(|at| at <= now)
    }

    /// When the held bytes become a message, though no newline ends them. Not after the beginning
    /// of a TLS record: more is on its way then.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let silence = self.core.silence.as_ref()?;
        self.core.silent_until(silence).filter(|_| !self.layers.as_ref().is_some_and(|below| below.has_part()))
    }
}

impl Core {
    // Each message asks, and nearly always there is no such deadline.
    #[cold]
    fn silent_until(&self, silence: &Silence) -> Option<Instant> {
        // Not while an answer waits to leave.
        let waits = self.is_auto()
            && !self.held.is_empty()
            && self.unsent == 0
            && self.may_deliver(0, 0)
            && self.peer_eof == OrderedEvent::NotYet;
        if waits { silence.until(self.held.all()) } else { None }
    }

    /// Bytes have come, and have been delivered as far as they are lines.
    pub(super) fn break_silence(&mut self, now: Instant) {
        if self.is_auto() && !self.held.is_empty() {
            self.note_silence(now);
        }
    }

    #[cold]
    fn note_silence(&mut self, now: Instant) {
        self.silence.get_or_insert_default().restart(now);
    }

    /// A pause has ended a message.
    pub(super) fn deliver_silent(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let Some(silence) = &mut self.silence else { return };
        if self.held.cut(self.asked.framing) != Frame::More {
            return;
        }
        let pause = silence.pause(self.held.all()).unwrap_or_default();
        let is_first = silence.end_message(self.progress);
        // The bytes are not in the engine's buffer, so the echo range stays empty.
        let delivered = guarded(|| self.held_data(now, self.held.len(), true, out, &mut (0..0), observer));
        if delivered.is_none() {
            self.panicked(now);
        }
        if is_first {
            self.observe(now, |info| observer.unterminated(info, pause));
        }
    }

    /// Whether the held bytes are a message at a drain, which no input will follow. What may be a
    /// line of our own protocol is none without its newline.
    pub(super) fn is_last_message(&self) -> bool {
        self.is_auto() && !may_be_own_line(self.held.all())
    }

    /// A newline has come: from here on each message of this connection is a line.
    pub(super) fn switch_to_lines(&mut self) {
        if let Framing::Auto { max } = self.asked.framing {
            self.asked.framing = Framing::Line { max };
            self.silence = None;
        }
    }

    fn is_auto(&self) -> bool {
        matches!(self.asked.framing, Framing::Auto { .. })
    }
}
