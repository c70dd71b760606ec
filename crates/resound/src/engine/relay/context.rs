//! [`RelayContext`]: what the pairs of one worker share.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::{CloseReason, Endpoint};

use super::pair::{Pair, PairState};
use super::report::{RelayEnd, RelayEvent};
use super::resolver::ClientWaker;
use super::target::{RelayTarget, Route};
use crate::engine::dial_plan::DialRequest;
use crate::engine::faults::LiveFaults;
use crate::engine::local::LocalWakes;

/// Receives what happens to the pairs of a relay, on the thread of the worker that drives them.
pub(super) type RelayObserver = dyn Fn(&RelayEvent<'_>) + Send + Sync;

/// What the pairs of one worker share.
pub(super) struct RelayContext {
    pub(super) routes: Arc<[Route]>,
    observer: Arc<RelayObserver>,
    pub(super) waker: Arc<ClientWaker>,
    pub(super) faults: LiveFaults,
    pub(super) wakes: Rc<LocalWakes>,
    pub(super) requests: RefCell<VecDeque<DialRequest>>,
    /// Dials under way, each with its pair and when it began.
    pub(super) dialled: RefCell<HashMap<u64, Rc<Pair>>>,
    next: Cell<u64>,
}

impl RelayContext {
    pub(super) fn new(
        routes: Arc<[Route]>,
        observer: Arc<RelayObserver>,
        waker: Arc<ClientWaker>,
        faults: LiveFaults,
    ) -> Self {
        Self {
            routes,
            observer,
            waker,
            faults,
            wakes: Rc::default(),
            requests: RefCell::default(),
            dialled: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Dials an address for a pair.
    pub(super) fn dial(&self, pair: &Rc<Pair>, address: Endpoint, target: &RelayTarget) {
        let number = self.next.replace(self.next.get() + 1);
        self.dialled.borrow_mut().insert(number, Rc::clone(pair));
        let (source, timeout) = (target.source, target.timeout);
        self.requests.borrow_mut().push_back(DialRequest { number, target: address, source, timeout });
        self.wakes.dial();
    }

    /// Reports an event. A panic of the observer stays its own: the relay goes on.
    pub(super) fn observe(&self, event: &RelayEvent<'_>) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.observer)(event)));
    }

    pub(super) fn ended(&self, request: &DialRequest) -> Option<Rc<Pair>> {
        self.dialled.borrow_mut().remove(&request.number)
    }

    pub(super) fn failed(&self, request: &DialRequest, error: io::Error, now: Instant) {
        let Some(pair) = self.ended(request) else { return };
        let state = &mut *pair.state.borrow_mut();
        let Some(race) = &mut state.race else { return };
        race.failed(now, &request.target, error);
        if !state.is_client_closed() {
            self.wakes.wake(pair.client.id);
        } else if self.advance(&pair, state, now) {
            self.over(&pair, state);
        }
    }

    /// Dials the addresses that have their turn. Returns whether none is left that could answer.
    pub(super) fn advance(&self, pair: &Rc<Pair>, state: &mut PairState, now: Instant) -> bool {
        let Some(race) = &mut state.race else { return false };
        let target = &self.routes[pair.route].target;
        while let Some(address) = race.next(now) {
            self.dial(pair, address, target);
        }
        if !race.is_lost() {
            return false;
        }
        state.failed = true;
        state.ended.get_or_insert((RelayEnd::Target, CloseReason::Reset));
        if let Some(race) = state.race.take() {
            let error = race.into_error(target.address().to_string());
            self.observe(&RelayEvent::Failed { client: &pair.client, error: &error });
        }
        true
    }

    /// Reports a pair of which no connection is left, unless its failure was reported.
    pub(super) fn over(&self, pair: &Pair, state: &PairState) {
        pair.row.iter().for_each(|row| row.leave());
        if state.failed {
            return;
        }
        let report = state.report(pair.since, Instant::now());
        self.observe(&RelayEvent::Closed { client: &pair.client, report: &report });
    }
}
