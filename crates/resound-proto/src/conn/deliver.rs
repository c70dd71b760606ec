//! Delivery: input becomes messages, and the service receives them as far as backpressure allows.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use super::core::Core;
use crate::error::CloseReason;
use crate::framing::{Frame, cut};
use crate::guard::guarded;
use crate::observer::Observer;
use crate::ordered::OrderedEvent;
use crate::service::{DeliveredMessage, Framing, RareRequests};
use crate::state::State;

/// No more is reserved for a line of which only a part has come.
const MAX_LINE_RESERVE: usize = 128 * 1024;

impl Core {
    /// Delivers what had to wait, if anything did: most often nothing.
    pub(super) fn deliver_waiting(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        if !self.held.is_empty() || self.has_events() {
            self.deliver_held(now, out, observer);
        }
    }

    /// Delivers the held input, and then the pending events.
    pub(super) fn deliver_held(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.deliver(now, &[], None, out, observer);
    }

    /// Delivers what is held and then `input`, as far as backpressure allows, and keeps the rest.
    /// After all of it stand the peer's FIN and the drain. `base` is the place of `input` in the
    /// engine's buffer, if it stands there. Returns the part of that buffer to send back.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        input: &[u8],
        base: Option<usize>,
        out: &mut Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Range<usize> {
        let (mut echo, mut at) = (0..0, 0);
        // One guard for all messages of a read: it costs as much as each of them.
        let ended = guarded(|| self.deliver_each(now, input, base, &mut at, out, &mut echo, observer));
        match ended {
            Some(ControlFlow::Break(())) => return echo,
            Some(ControlFlow::Continue(())) => {}
            None => self.panicked(now),
        }
        self.keep(now, &input[at..], out, observer);
        echo
    }

    /// Delivers what is held and then `input` from `at` on, and moves `at`. Breaks off if there is
    /// nothing left to keep or to wait for.
    #[expect(clippy::too_many_arguments, reason = "the state of a loop whose panics are caught around it")]
    fn deliver_each(
        &mut self,
        now: Instant,
        input: &[u8],
        base: Option<usize>,
        at: &mut usize,
        out: &mut Vec<u8>,
        echo: &mut Range<usize>,
        observer: &mut dyn Observer,
    ) -> ControlFlow<()> {
        while self.may_deliver(out.len() + echo.len(), self.held.len() + input.len() - *at) {
            let framing = self.asked.framing;
            let rest = &input[*at..];
            if self.held.is_empty() {
                if rest.is_empty() && !self.has_events() {
                    return ControlFlow::Break(());
                }
                match cut(framing, rest, 0) {
                    frame @ (Frame::Message(n) | Frame::Bytes(n)) => {
                        self.switch_to_lines();
                        let data = DeliveredMessage { bytes: &rest[..n], at: base.map(|base| base + *at) };
                        *at += n;
                        self.data(now, data, matches!(frame, Frame::Message(_)), out, echo, observer);
                    }
                    Frame::TooLong => self.line_too_long(out),
                    Frame::More if rest.is_empty() => {
                        if !self.deliver_event(now, out, observer) {
                            break;
                        }
                    }
                    Frame::More => {
                        self.hold_part(rest);
                        *at = input.len();
                    }
                }
            } else {
                match self.held.cut(framing) {
                    frame @ (Frame::Message(n) | Frame::Bytes(n)) => {
                        self.switch_to_lines();
                        self.held_data(now, n, matches!(frame, Frame::Message(_)), out, echo, observer);
                    }
                    Frame::TooLong => self.line_too_long(out),
                    // Only the rest of this line is copied; the lines after it are delivered where
                    // they stand.
                    Frame::More if !rest.is_empty() => {
                        let n = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
                        self.hold_part(&rest[..n]);
                        *at += n;
                    }
                    Frame::More if self.peer_eof == OrderedEvent::Waiting && self.truncated => self.held.clear(),
                    Frame::More if self.peer_eof == OrderedEvent::Waiting => {
                        self.held_data(now, self.held.len(), true, out, echo, observer);
                    }
                    Frame::More if self.drain == OrderedEvent::Waiting && self.is_last_message() => {
                        self.held_data(now, self.held.len(), true, out, echo, observer);
                    }
                    Frame::More => {
                        if !self.deliver_event(now, out, observer) {
                            break;
                        }
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Keeps a part of a line. After a long line, the next one is probably as long.
    fn hold_part(&mut self, part: &[u8]) {
        self.held.push_part(part, (self.long as usize).min(MAX_LINE_RESERVE));
    }

    /// Keeps what could not be delivered.
    fn keep(&mut self, now: Instant, rest: &[u8], out: &mut Vec<u8>, observer: &mut dyn Observer) {
        let is_next = self.asked.rare.has(RareRequests::LEAVE_UNREAD) || (self.held.is_empty() && rest.is_empty());
        if self.asked.paused && self.drain == OrderedEvent::Waiting && is_next {
            // A pause may have no end of its own, and there is no input that the drain must follow.
            self.deliver_drain(now, out, observer);
        }
        if !self.state.is_open() {
            self.discard(now, rest, observer);
        } else if !rest.is_empty() {
            self.held.push(rest);
        } else if !self.held.is_empty() && self.unsent > 0 {
            self.held.settle();
        }
    }

    /// Delivers the first `n` of the held bytes. The caller catches panics, which lose them.
    pub(super) fn held_data(
        &mut self,
        now: Instant,
        n: usize,
        is_message: bool,
        out: &mut Vec<u8>,
        echo: &mut Range<usize>,
        observer: &mut dyn Observer,
    ) {
        let held = std::mem::take(&mut self.held);
        let data = DeliveredMessage { bytes: held.head(n), at: None };
        self.data(now, data, is_message, out, echo, observer);
        self.held = held;
        self.held.consume(n);
    }

    fn has_events(&self) -> bool {
        self.peer_eof == OrderedEvent::Waiting || self.drain == OrderedEvent::Waiting
    }

    /// Delivers the next event, now that no input stands before it. Returns whether there was one.
    fn deliver_event(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> bool {
        if self.peer_eof == OrderedEvent::Waiting {
            self.peer_eof = OrderedEvent::Done;
            self.notify(now, out, observer, |service, cx| service.eof(cx));
            return true;
        }
        if self.drain == OrderedEvent::Waiting {
            self.deliver_drain(now, out, observer);
            return true;
        }
        false
    }

    fn deliver_drain(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) {
        self.drain = OrderedEvent::Done;
        self.notify(now, out, observer, |service, cx| service.drain(cx));
        if self.state == State::HalfClosed && !self.asked.full_duplex {
            self.state.close(CloseReason::Drained);
        }
    }

    fn line_too_long(&mut self, out: &mut Vec<u8>) {
        if let Framing::Line { max } | Framing::Auto { max } = self.asked.framing
            && self.state == State::Open
        {
            out.extend_from_slice(format!("Error: line longer than {max} bytes\n").as_bytes());
        }
        self.state.close(CloseReason::LineTooLong);
    }
}
