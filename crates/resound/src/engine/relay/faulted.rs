//! The sides of a pair that suffers from faults: its bytes and ends go through
//! [`ConnectionFaults`].

use std::time::Instant;

use resound_faults::{ConnectionFaults, End, FaultEvent, StreamDirection};
use resound_proto::Cx;

use super::pair::{HIGH, PairState, RelayDirection};
use super::report::{RelayEnd, RelayEvent};
use super::side::PairSide;

impl RelayEnd {
    /// The direction that this end sends.
    pub(super) fn sends(self) -> StreamDirection {
        match self {
            Self::Client => StreamDirection::Up,
            Self::Target => StreamDirection::Down,
        }
    }

    /// The direction that it receives.
    pub(super) fn receives(self) -> StreamDirection {
        self.sends().opposite()
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Target,
            Self::Target => Self::Client,
        }
    }
}

impl PairSide {
    /// Passes an event of this end to the faults of its pair, and sends what they give. Returns
    /// whether the pair has any.
    pub(super) fn through_faults(
        &self,
        cx: &mut Cx<'_>,
        event: impl FnOnce(&mut ConnectionFaults, Instant, StreamDirection),
    ) -> bool {
        let state = &mut *self.pair.state.borrow_mut();
        let Some(mut faults) = state.faults.take() else { return false };
        let now = cx.now();
        event(&mut faults, now, self.end.sends());
        if faults.deadline().is_some_and(|at| at <= now) {
            faults.timed_out(now);
        }
        send(&mut faults, state.towards(self.end), self.end, cx);
        self.pair.counted(state);
        if state.is_draining && faults.never_finishes() {
            cx.reset();
            // The faults may keep this end from it too.
            self.wake_other(state);
        }
        let is_late = state.late_until.is_some();
        let from = state.from(self.end);
        let paused = (!faults.wants_input(self.end.sends()) && !from.was_reset) || is_late;
        from.paused = paused;
        cx.pause(paused);
        if let Some(at) = faults.deadline() {
            cx.wake_at(at);
        }
        self.after_faults(faults, state);
        true
    }

    /// This end has gone, and not by its own FIN.
    pub(super) fn gone_with_faults(&self, state: &mut PairState, now: Instant) {
        if let Some(mut faults) = state.faults.take() {
            faults.received_reset(now, self.end.sends());
            self.after_faults(faults, state);
        }
    }

    /// Wakes the other end where the faults have something for it, and reports what was injected.
    fn after_faults(&self, mut faults: Box<ConnectionFaults>, state: &mut PairState) {
        let resumes = state.towards(self.end).paused && faults.wants_input(self.end.receives());
        // Two ends that are full must not wake each other in turn.
        let sends = self.end.sends();
        let has_room = !state.from(self.end).full;
        if resumes || faults.has_new_end(sends) || (has_room && faults.needs_poll(sends)) {
            self.wake_other(state);
        }
        let events = faults.take_events();
        state.faults = Some(faults);
        self.report_faults(&events);
    }

    pub(super) fn report_faults(&self, events: &[FaultEvent]) {
        for event in events {
            self.context.observe(&RelayEvent::Fault { client: &self.pair.client, event });
        }
    }
}

/// Sends what the faults have for this end, as far as its socket takes it, and obeys how they end
/// it.
fn send(faults: &mut ConnectionFaults, towards: &mut RelayDirection, end: RelayEnd, cx: &mut Cx<'_>) {
    let mut out = Vec::new();
    loop {
        let unsent = cx.unsent();
        // Segments leave one at a time. An end comes even where no byte has room.
        let room = if towards.more && unsent > 0 { 0 } else { HIGH.saturating_sub(unsent) };
        towards.full = room == 0;
        let polled = faults.poll(cx.now(), end.receives(), room, &mut out);
        towards.more = polled.more;
        // What an end that is broken gets is lost.
        towards.report.bytes += if towards.was_reset { 0 } else { out.len() as u64 };
        cx.send(&out);
        match polled.end {
            End::Open => {}
            End::Silent => cx.drop_input(),
            End::HalfClose => {
                towards.report.fin = !towards.was_reset;
                cx.finish();
            }
            End::Close => {
                towards.report.fin = true;
                cx.close();
            }
            End::Reset => cx.reset_after_delivery(),
            End::ResetNow => cx.reset(),
        }
        if out.is_empty() || !faults.needs_poll(end.receives()) {
            return;
        }
        out.clear();
    }
}
