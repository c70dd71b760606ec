//! Delivery: input becomes messages, and the service is given them as far as backpressure allows.

use std::ops::Range;
use std::time::Instant;

use super::Conn;
use super::ending::guarded;
use crate::error::CloseReason;
use crate::framing::{Frame, cut};
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::service::{Cx, DeliveredMessage, Framing};

impl Conn {
    /// Delivers what had to wait, if anything did: most often nothing.
    pub(super) fn deliver_waiting(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        if !self.held.is_empty() || self.has_events() {
            self.deliver(now, &[], out, observer);
        }
    }

    /// Delivers what is held and then what is on the `wire`, as far as backpressure allows, and keeps the rest. Behind all of it stand the
    /// peer's FIN and the drain.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        wire: &[u8],
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Range<usize> {
        let mut echo = 0..0;
        let mut at = 0;
        while self.may_deliver(out.len() + echo.len(), self.held.len() + wire.len() - at) {
            let framing = self.asked.framing;
            let rest = &wire[at..];
            if self.held.is_empty() {
                if rest.is_empty() && !self.has_events() {
                    return echo;
                }
                match cut(framing, rest, 0) {
                    Frame::Message(n) => {
                        self.speaks_lines();
                        let message = DeliveredMessage { bytes: &rest[..n], at: Some(at) };
                        at += n;
                        self.message(now, message, out, &mut echo, observer);
                    }
                    Frame::TooLong => self.line_too_long(out),
                    Frame::More if rest.is_empty() => {
                        if !self.deliver_events(now, out) {
                            break;
                        }
                    }
                    Frame::More => {
                        self.held.push(rest);
                        at = wire.len();
                    }
                }
            } else {
                match self.held.cut(framing) {
                    Frame::Message(n) => {
                        self.speaks_lines();
                        self.held_message(now, n, out, &mut echo, observer);
                    }
                    Frame::TooLong => self.line_too_long(out),
                    // Only the rest of this line is copied; the lines behind it are delivered where they stand.
                    Frame::More if !rest.is_empty() => {
                        let n = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
                        self.held.push(&rest[..n]);
                        at += n;
                    }
                    Frame::More if self.peer_eof == OrderedEvent::Waiting && self.is_truncated() => self.held.clear(),
                    Frame::More if self.peer_eof == OrderedEvent::Waiting => {
                        self.held_message(now, self.held.len(), out, &mut echo, observer);
                    }
                    Frame::More if self.drain == OrderedEvent::Waiting && self.is_last_message() => {
                        self.held_message(now, self.held.len(), out, &mut echo, observer);
                    }
                    Frame::More => {
                        if !self.deliver_events(now, out) {
                            break;
                        }
                    }
                }
            }
        }
        if self.asked.paused && self.drain == OrderedEvent::Waiting && self.held.is_empty() && at == wire.len() {
            // A pause may have no end of its own, and there is nothing that the drain would have to stand behind.
            self.deliver_drain(now, out);
        }
        if self.asked.closing || self.asked.reset {
            self.held.clear();
        } else if at < wire.len() {
            self.held.push(&wire[at..]);
        } else if !self.held.is_empty() && self.unsent > 0 {
            self.held.settle();
        }
        echo
    }

    pub(super) fn held_message(
        &mut self,
        now: Instant,
        n: usize,
        out: &mut Vec<u8>,
        echo: &mut Range<usize>,
        observer: &mut dyn Observer,
    ) {
        let held = std::mem::take(&mut self.held);
        self.message(now, DeliveredMessage { bytes: held.head(n), at: None }, out, echo, observer);
        self.held = held;
        self.held.consume(n);
    }

    fn message(
        &mut self,
        now: Instant,
        message: DeliveredMessage<'_>,
        out: &mut Vec<u8>,
        echo: &mut Range<usize>,
        observer: &mut dyn Observer,
    ) {
        self.messages += 1;
        self.progress = Some(now);
        observer.message(&self.info, message.bytes);
        let (asked, unsent, times) = (&mut self.asked, self.unsent, self.times.as_deref());
        let mut cx = Cx { now, conn: &self.info, asked, out, echo, message, unsent, times };
        let heard = guarded(|| self.service.data(message.bytes, &mut cx));
        if let Some(times) = &mut self.times {
            times.told();
        }
        match heard {
            Some(()) => self.asked_to_end(),
            None => self.panicked(now),
        }
    }

    pub(super) fn has_events(&self) -> bool {
        self.peer_eof == OrderedEvent::Waiting || self.drain == OrderedEvent::Waiting
    }

    /// The events that stand behind the input, now that there is none before them. Says whether there was one.
    fn deliver_events(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if self.peer_eof == OrderedEvent::Waiting {
            self.peer_eof = OrderedEvent::Done;
            self.tell(now, out, |service, cx| service.eof(cx));
            return true;
        }
        if self.drain == OrderedEvent::Waiting {
            self.deliver_drain(now, out);
            return true;
        }
        false
    }

    fn deliver_drain(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.drain = OrderedEvent::Done;
        self.tell(now, out, |service, cx| service.drain(cx));
        if self.asked.finished {
            self.end(CloseReason::Drained);
            self.asked.closing = true;
        }
    }

    fn line_too_long(&mut self, out: &mut Vec<u8>) {
        if let Framing::Line { max } | Framing::Auto { max } = self.asked.framing
            && !self.asked.finished
        {
            out.extend_from_slice(format!("Error: line longer than {max} bytes\n").as_bytes());
        }
        self.end(CloseReason::LineTooLong);
        self.asked.finished = true;
        self.asked.closing = true;
    }
}
