//! How a connection ends that may not end in order: its service has failed, its peer may not come in, or takes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::Conn;
use crate::error::{CloseReason, TlsFailure};
use crate::handshake::{Handshake, NoService};
use crate::limits::Limits;
use crate::service::ConnInfo;

impl Conn {
    /// A connection whose service could not be made, because that has panicked: it ends before it is opened.
    pub fn unmade(info: ConnInfo, limits: impl Into<Arc<Limits>>) -> Self {
        let mut conn = Self::opening(info, Handshake::new(), |_| Box::new(NoService), limits);
        conn.reason = Some(CloseReason::Panicked);
        conn.asked.reset = true;
        conn
    }

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

    /// Would a FIN lie? Answers wait in the engine's queue, input was not looked at, the service has failed, or was never there.
    pub fn is_unfinished(&self) -> bool {
        self.unsent > 0 || !self.held.is_empty() || self.aborts || self.is_opening()
    }

    /// Does it wait for nothing but the delivery of what was sent?
    pub fn only_delivers(&self) -> bool {
        self.delivery.is_in_a_hurry()
    }

    /// Has the peer's system taken all that was sent? Where the engine cannot tell, it is given the linger's time for it.
    pub(super) fn is_delivered(&mut self, now: Instant) -> bool {
        if self.delivery.is_told() {
            return !self.delivery.is_open(self.unsent);
        }
        if self.unsent > 0 || self.bytes_out == 0 {
            return self.unsent == 0;
        }
        if self.linger_until.is_none() {
            self.linger_until = self.progress.and_then(|last| last.checked_add(self.limits.linger));
        }
        self.linger_until.is_none_or(|until| until <= now)
    }

    /// The first reason wins.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.reason.get_or_insert(reason);
    }

    /// The service's own wishes are reasons too.
    pub(super) fn asked_to_end(&mut self) {
        if self.asked.reset {
            self.end(CloseReason::Aborted);
        } else if self.asked.closing {
            self.end(CloseReason::ServiceClosed);
        }
    }

    /// The service has panicked. What it had said by then is delivered, and then the connection is reset: a FIN would say that this was all.
    pub(super) fn panicked(&mut self, now: Instant) {
        self.reason = Some(CloseReason::Panicked);
        self.aborts = true;
        // Nothing is listened to any more, and the service is told no more than its end. What it asked for in the same call
        // does not hold: an end in order would say that this was all.
        self.asked.finished = false;
        self.asked.closing = true;
        self.held.clear();
        self.delivery.hurry(now);
    }

    /// Ends a connection for this reason: nothing more is listened to. One that is not open yet and has nothing to say of it is reset, or its peer
    /// could take the end for an answer.
    pub(super) fn refuse(&mut self, reason: CloseReason) {
        if self.asked.closing {
            return; // it ends already
        }
        // In a drain none is refused, and a peer that has refused this end knows.
        let is_refusal = !matches!(reason, CloseReason::Drained | CloseReason::Tls(TlsFailure::Refused(_)));
        self.refused = is_refusal && self.is_opening();
        self.end(reason);
        self.asked.finished = true;
        self.asked.closing = true;
    }
}

/// Calls what others have written: `None` where that panics.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
