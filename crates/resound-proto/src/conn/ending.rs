//! What the peer's system has taken of what was sent, and what that means for the end of a
//! connection.

use std::time::Instant;

use super::Conn;
use super::core::Core;
use crate::action::Action;
use crate::error::CloseReason;
use crate::observer::Observer;
use crate::service::SocketReport;
use crate::state::State;

impl Conn {
    /// For an engine that can ask how much the transport still holds of what it took: `Conn` then
    /// asks for it ([`Conn::wants_unacknowledged`]), and the write timeout counts from the last
    /// byte that the peer's system acknowledged. Without this it counts from the last byte that the
    /// transport took, and `Conn` does not wait for what the transport holds.
    #[must_use]
    pub fn reporting_unacknowledged(mut self) -> Self {
        self.core.delivery.expect_reports();
        self
    }

    /// Whether [`Conn::unacknowledged`] should be called before [`Conn::timed_out`]. Seldom, and
    /// only while something may be on its way.
    #[must_use]
    pub fn wants_unacknowledged(&self, now: Instant) -> bool {
        let (core, next_poll) = (&self.core, self.core.delivery.next_poll());
        next_poll.is_some() && [next_poll, core.stalled_at(), core.idle_at()].iter().flatten().any(|at| *at <= now)
    }

    /// `bytes` of the bytes that were reported as [`sent`](Conn::sent) are not acknowledged by the
    /// peer's system yet (`SIOCOUTQ`, tcp(7)).
    pub fn unacknowledged(&mut self, now: Instant, bytes: usize) {
        let core = &mut self.core;
        if core.delivery.report(now, core.bytes_out, bytes, core.unsent) {
            // The peer is slow, not idle.
            core.progress = Some(now);
        }
    }

    /// Whether a FIN would mislead the peer: output is unsent, input is undelivered, or the service
    /// has panicked or was never opened.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        let core = &self.core;
        let is_aborted = matches!(core.state, State::Aborting(_) | State::Reset(_));
        // What the other end of a full-duplex service has not sent yet may be missing.
        let is_relayed = core.asked.full_duplex && core.state.is_open();
        is_relayed || core.unsent > 0 || !core.held.is_empty() || is_aborted || core.opened.is_none()
    }

    /// Whether the connection waits for nothing but the delivery of what was sent.
    #[must_use]
    pub fn only_delivers(&self) -> bool {
        self.core.delivery.is_limited() && !self.core.state.is_open()
    }

    /// Before [`Conn::lost`], where the peer has reset the connection: whether the service has
    /// asked for a report of its socket. [`Conn::last_report`] gives it.
    #[must_use]
    pub fn wants_last_report(&mut self) -> bool {
        // The second call finds a report that was asked for during the previous one.
        (0..2).any(|_| self.core.take_socket_requests().is_some_and(|requests| requests.report))
    }

    /// The report of a connection that the peer has reset: the service finds
    /// [`Cx::is_reset_by_peer`](crate::Cx::is_reset_by_peer). What it sends or asks for now comes
    /// too late, and changes nothing.
    pub fn last_report(&mut self, now: Instant, report: &SocketReport, observer: &mut dyn Observer) {
        let core = &mut self.core;
        let (state, mut out) = (core.state, Vec::new());
        core.asked.is_reset_by_peer = true;
        core.report(now, report, &mut out, observer);
        drop(core.asked.shares.take());
        if core.reason() != Some(CloseReason::Panicked) {
            core.state = state;
        }
    }

    /// The peer has reset the connection, and the transport may still bring what came before: for
    /// an engine that goes on reading. What is unsent is lost, and so is what is sent from now on.
    /// The service is woken, and finds [`Cx::is_reset_by_peer`](crate::Cx::is_reset_by_peer).
    pub fn reset_by_peer(&mut self, now: Instant, out: &mut Vec<u8>, observer: &mut dyn Observer) -> Action {
        let core = &mut self.core;
        core.asked.is_reset_by_peer = true;
        core.unsent = 0;
        core.delivery.give_up();
        core.state.finish();
        core.notify(now, out, observer, |service, cx| service.wake(cx));
        self.deliver_and_settle(now, out, observer)
    }
}

impl Core {
    /// Whether the peer's system has acknowledged all that was sent. Where the engine cannot report
    /// that, the linger is the time for it.
    pub(super) fn is_delivered(&mut self, now: Instant) -> bool {
        if self.delivery.is_reported() {
            return !self.delivery.is_open(self.unsent);
        }
        if self.unsent > 0 || self.bytes_out == 0 {
            return self.unsent == 0;
        }
        self.linger_until().is_none_or(|until| until <= now)
    }
}
