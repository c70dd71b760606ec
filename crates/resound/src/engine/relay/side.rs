//! [`PairSide`]: the service of one connection of a pair.

use std::rc::Rc;

use bytes::Bytes;
use resound_faults::{ClientAdmission, ConnectionFaults};
use resound_proto::{CloseReason, ConnId, Cx, Service};

use super::context::RelayContext;
use super::pair::{Pair, PairState};
use super::report::RelayEnd;
use super::resolver::Lookup;
use crate::engine::address_race::AddressRace;

/// From here on bytes are sent from the memory in which they wait.
const WORTH_SHARING: usize = 4 * 1024;

/// One end of a pair: what this connection receives, the other one sends.
pub(super) struct PairSide {
    pub(super) end: RelayEnd,
    pub(super) pair: Rc<Pair>,
    pub(super) context: Rc<RelayContext>,
}

impl PairSide {
    /// Handles a reset by an end whose last bytes still move. Bytes for it are dropped, and the
    /// other end must take its last bytes soon.
    fn note_resets(&self, cx: &mut Cx<'_>) {
        let state = &mut *self.pair.state.borrow_mut();
        if cx.is_reset_by_peer() && !state.towards(self.end).was_reset {
            state.towards(self.end).handle_peer_reset();
            self.wake_other(state);
        }
        if state.from(self.end).was_reset {
            cx.limit_delivery();
        }
    }

    /// Wakes the other connection, if it is there and does not know yet.
    pub(super) fn wake_other(&self, state: &mut PairState) {
        let other = self.end.other();
        let Some(id) = state.connection(other, self.pair.client.id) else { return };
        let towards = state.towards(other);
        if !std::mem::replace(&mut towards.woken, true) {
            self.context.wakes.wake(id);
        }
    }

    /// Sends what waits for this end, and then the end of that direction.
    fn forward(&self, cx: &mut Cx<'_>) {
        self.note_resets(cx);
        if self.through_faults(cx, |_, _, _| {}) {
            return;
        }
        let state = &mut *self.pair.state.borrow_mut();
        let is_cut = state.ended.is_some();
        let direction = state.towards(self.end);
        if direction.lent {
            return; // this end is woken behind those bytes
        }
        if !direction.queue.is_empty() {
            direction.report.bytes += direction.queue.len() as u64;
            let queue = std::mem::take(&mut direction.queue);
            if queue.len() >= WORTH_SHARING {
                cx.send_shared(Bytes::from(queue));
            } else {
                cx.send(&queue);
            }
        }
        direction.in_flight = cx.unsent();
        if is_cut {
            cx.reset_after_delivery();
        } else if direction.fin && !direction.was_reset {
            direction.report.fin = true;
            cx.finish();
        }
        if direction.resumes() {
            self.wake_other(state);
        }
        self.pair.counted(state);
    }

    /// Accepts a client, and begins to dial for it.
    fn admit(&self, cx: &mut Cx<'_>) {
        let state = &mut *self.pair.state.borrow_mut();
        (state.can_lend, state.is_admitted) = (cx.can_lend(), true);
        let mut admission = ClientAdmission::Serve;
        if let Some(admitted) = self.context.faults.admit(&self.pair.client, cx.now()) {
            self.report_faults(&admitted.events);
            (state.faults, admission) = (admitted.faults, admitted.admission);
            // Their bytes are not sent as they came.
            state.can_lend &= state.faults.is_none();
        }
        set_socket(state, cx);
        match admission {
            ClientAdmission::Serve => self.begin(state, cx),
            ClientAdmission::Close => {
                state.down.report.fin = true;
                cx.close();
            }
            ClientAdmission::Reset => cx.reset(),
            ClientAdmission::Late(time) => {
                state.late_until = cx.now().checked_add(time);
                cx.pause(true);
                state.late_until.into_iter().for_each(|at| cx.wake_at(at));
            }
            ClientAdmission::Liar => {}
        }
    }

    fn begin(&self, state: &mut PairState, cx: &Cx<'_>) {
        let patience = self.context.routes[self.pair.route].target.timeout;
        state.race = Some(Box::new(AddressRace::new(cx.now(), patience)));
    }

    /// Dials what has its turn. The client's connection keeps the time.
    fn race(&self, cx: &mut Cx<'_>) {
        if self.end == RelayEnd::Target {
            return;
        }
        let state = &mut *self.pair.state.borrow_mut();
        // There is one alarm, and through_faults may have asked for another time.
        let of_faults = |state: &PairState| state.faults.as_ref().and_then(|faults| faults.deadline());
        if let Some(at) = state.late_until {
            if cx.now() < at {
                return cx.wake_at(of_faults(state).map_or(at, |deadline| deadline.min(at)));
            }
            state.late_until = None;
            self.begin(state, cx);
        }
        let Some(race) = &mut state.race else { return };
        let route = &self.context.routes[self.pair.route];
        if race.resolving {
            match route.target.addresses(cx.now(), self.pair.client.id, &self.context.waker) {
                Lookup::Found(addresses) if addresses.iter().any(|address| route.leads_back(address)) => {
                    let back = std::io::ErrorKind::InvalidInput;
                    race.unresolved(std::io::Error::new(back, "it leads back to this relay"));
                }
                Lookup::Found(addresses) => race.resolved(cx.now(), addresses),
                Lookup::Failed(error) => race.unresolved(error),
                Lookup::Waiting if race.resolves_until.is_some_and(|until| until <= cx.now()) => {
                    let late = std::io::ErrorKind::TimedOut;
                    race.unresolved(std::io::Error::new(late, "the resolver did not answer in time"));
                }
                Lookup::Waiting => {}
            }
        }
        if self.context.advance(&self.pair, state, cx.now()) {
            return cx.reset();
        }
        let race = state.race.as_ref().and_then(|race| race.resolves_until.or(race.next_at));
        race.into_iter().chain(of_faults(state)).min().into_iter().for_each(|at| cx.wake_at(at));
    }
}

/// The socket of this end gets what the faults of its pair want.
fn set_socket(state: &PairState, cx: &mut Cx<'_>) {
    if let Some(sockets) = state.faults.as_ref().map(|faults| faults.socket()) {
        cx.nagle(sockets.nagle);
        cx.no_keepalive(sockets.no_keepalive);
    }
}

impl Service for PairSide {
    fn pair(&self) -> Option<ConnId> {
        Some(self.pair.client.id)
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.full_duplex(true);
        match self.end {
            RelayEnd::Client => {
                self.admit(cx);
                self.through_faults(cx, |_, _, _| {});
                self.race(cx);
            }
            RelayEnd::Target => {
                {
                    let state = &mut *self.pair.state.borrow_mut();
                    state.can_lend &= cx.can_lend();
                    set_socket(state, cx);
                }
                self.forward(cx);
            }
        }
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        if self.pair.state.borrow_mut().from(self.end).was_reset {
            return;
        }
        if self.through_faults(cx, |faults, now, sends| faults.received(now, sends, bytes)) {
            return self.race(cx);
        }
        let state = &mut *self.pair.state.borrow_mut();
        let may_lend = state.can_lend && state.from(self.end).is_empty();
        let to = state.connection(self.end.other(), self.pair.client.id).filter(|_| may_lend);
        let direction = state.from(self.end);
        if let Some(to) = to
            && cx.lend()
        {
            self.context.wakes.lend_to(to);
            return cx.pause(direction.lend(bytes.len()));
        }
        if direction.push(bytes) {
            cx.pause(true);
        }
        self.pair.counted(state);
        self.wake_other(state);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        self.forward(cx);
        self.race(cx);
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let paused = {
            let state = &mut *self.pair.state.borrow_mut();
            let direction = state.towards(self.end);
            match self.context.wakes.take_forwarded() {
                true => direction.lent = false,
                false => direction.woken = false,
            }
            state.from(self.end).paused
        };
        cx.pause(paused);
        self.forward(cx);
        self.race(cx);
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        let is_truncated = cx.is_truncated();
        let ends = |faults: &mut ConnectionFaults, now, sends| match is_truncated {
            true => faults.received_reset(now, sends),
            false => faults.received_fin(now, sends),
        };
        if self.through_faults(cx, ends) {
            return self.race(cx);
        }
        let state = &mut *self.pair.state.borrow_mut();
        if is_truncated {
            // TLS has not said that this is all, so the other end must not believe it.
            state.ended.get_or_insert((self.end, CloseReason::Truncated));
            cx.reset_after_delivery();
        } else {
            state.from(self.end).fin = true;
        }
        self.wake_other(state);
    }

    /// A pair that is established goes on until its ends have finished, if its faults let them.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        {
            let state = &mut *self.pair.state.borrow_mut();
            state.is_draining = true;
            if state.target.is_none() {
                // The worker dials no more.
                state.race = None;
                return cx.reset();
            }
        }
        self.through_faults(cx, |_, _, _| {});
    }

    fn closed(&mut self, why: &CloseReason) {
        let state = &mut *self.pair.state.borrow_mut();
        let now = std::time::Instant::now();
        if *why != CloseReason::Finished {
            self.gone_with_faults(state, now);
        }
        // Only the client's connection looks up names and begins to dial.
        if self.end == RelayEnd::Client && state.race.as_ref().is_some_and(|race| !race.is_running()) {
            state.race = None;
        }
        let is_over = state.closed(self.end, *why);
        self.wake_other(state);
        if self.end == RelayEnd::Client && state.is_admitted {
            self.context.faults.leave();
        }
        if is_over {
            self.context.over(&self.pair, state);
        }
    }
}

/// A connection to a target that is not wanted any more: another address was faster, or the client
/// has left.
pub(super) struct Unwanted;

impl Service for Unwanted {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.reset();
    }

    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}
