//! Messages without a newline, on connections that never sent one ([`Framing::Auto`]): a pause is what ends them.

use std::time::Instant;

use super::Conn;
use crate::framing::Frame;
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::service::Framing;
use crate::silence::{Silence, may_be_ours};

impl Conn {
    /// Is a pause that ends a message over by now? Then an engine looks at its transport once more before [`Conn::timed_out`]: what has arrived
    /// is delivered first, or an engine that is late would cut a message in two.
    #[must_use]
    pub fn is_silence_due(&self, now: Instant) -> bool {
        self.silent_at().is_some_and(|at| at <= now)
    }

    /// When the bytes that are held are a message, though no newline ends them. Not while an answer waits to leave, nor behind the beginning of
    /// a TLS record: more is on its way then.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        self.silence.as_ref().and_then(|silence| self.silent_until(silence))
    }

    // Each message asks, and nearly none has to be answered here.
    #[cold]
    fn silent_until(&self, silence: &Silence) -> Option<Instant> {
        let waits = self.is_auto()
            && !self.held.is_empty()
            && self.unsent == 0
            && self.may_deliver(0, 0)
            && self.peer_eof == OrderedEvent::NotYet
            && !self.has_part_of_a_record();
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
        self.silence.get_or_insert_default().broken(now);
    }

    /// A pause has ended a message.
    pub(super) fn deliver_silent(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let Some(silence) = &mut self.silence else { return };
        if self.held.cut(self.asked.framing) != Frame::More {
            return;
        }
        let pause = silence.pause(self.held.all()).unwrap_or_default();
        let is_first = silence.ends_message(self.progress);
        // Nothing can be lent: the bytes are ours.
        self.held_message(now, self.held.len(), out, &mut (0..0), observer);
        if is_first {
            observer.unterminated(&self.info, pause);
        }
    }

    /// Is what is held a message at a drain, which nothing will follow? What may be a line of our own protocol is none without its newline.
    pub(super) fn is_last_message(&self) -> bool {
        self.is_auto() && !may_be_ours(self.held.all())
    }

    /// A newline has come: from here on the connection speaks in lines.
    pub(super) fn speaks_lines(&mut self) {
        if let Framing::Auto { max } = self.asked.framing {
            self.asked.framing = Framing::Line { max };
            self.silence = None;
        }
    }

    fn is_auto(&self) -> bool {
        matches!(self.asked.framing, Framing::Auto { .. })
    }
}
