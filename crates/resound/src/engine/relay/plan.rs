//! [`RelayPlan`]: what one worker of a relay dials, for the clients that it has accepted.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::{CloseReason, ConnInfo, Handshake, Service};

use super::context::{RelayContext, RelayObserver};
use super::pair::Pair;
use super::report::{RelayEnd, RelayEvent};
use super::resolver::ClientWaker;
use super::side::{PairSide, Unwanted};
use super::table::RelayConnections;
use super::target::Route;
use crate::engine::dial_plan::{DialPlan, DialRequest, DialTiming, NextDial};
use crate::engine::faults::LiveFaults;
use crate::engine::local::RelayWorker;

pub(super) struct RelayPlan(Rc<RelayContext>);

impl RelayPlan {
    /// The part of a relay that one worker runs.
    pub(super) fn worker(
        routes: Arc<[Route]>,
        observer: Arc<RelayObserver>,
        waker: Arc<ClientWaker>,
        faults: LiveFaults,
        table: Option<RelayConnections>,
    ) -> RelayWorker {
        let context = Rc::new(RelayContext::new(routes, observer, waker, faults));
        let wakes = Rc::clone(&context.wakes);
        let plan = Box::new(Self(Rc::clone(&context)));
        let factory = move |client: &ConnInfo| {
            // Behind a proxy the client has connected to the proxy, which connected here.
            let local = client.via.as_ref().map_or(&client.local, |via| &via.local);
            let route = Route::of(&context.routes, local);
            let since = Instant::now();
            let row = table.as_ref().map(|table| Box::new(table.enter(client, since)));
            let pair = Rc::new(Pair::new(client.clone(), route, since, row));
            Box::new(PairSide { end: RelayEnd::Client, pair, context: Rc::clone(&context) }) as Box<dyn Service>
        };
        RelayWorker { plan, factory: Rc::new(factory), wakes }
    }
}

impl DialPlan for RelayPlan {
    fn next(&mut self, _now: Instant) -> NextDial {
        let wanted = |request: &DialRequest| {
            let is_wanted = |pair: &Rc<Pair>| pair.state.borrow().wants_target();
            self.0.dialled.borrow().get(&request.number).is_some_and(is_wanted)
        };
        loop {
            let next = self.0.requests.borrow_mut().pop_front();
            match next {
                Some(request) if wanted(&request) => return NextDial::Dial(request),
                // The client has left, or another address was faster.
                Some(request) => drop(self.0.ended(&request)),
                None => return NextDial::Wait,
            }
        }
    }

    fn handshake(&mut self, request: &DialRequest, conn: &ConnInfo) -> Handshake {
        let dialled = self.0.dialled.borrow();
        let Some(pair) = dialled.get(&request.number) else { return Handshake::new() };
        let handshake = &self.0.routes[pair.route].target.handshake;
        let Some(handshake) = handshake else { return Handshake::new() };
        let pair = Rc::clone(pair);
        drop(dialled);
        let made = catch_unwind(AssertUnwindSafe(|| handshake(&pair.client, conn)));
        made.unwrap_or_else(|panic| {
            self.0.failed(request, io::Error::other("its handshake could not be made"), Instant::now());
            resume_unwind(panic)
        })
    }

    fn answered(&mut self, request: &DialRequest, _took: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
        let Some(pair) = self.0.ended(request) else { return Box::new(Unwanted) };
        if !pair.state.borrow().wants_target() {
            return Box::new(Unwanted);
        }
        let mut state = pair.state.borrow_mut();
        state.target = Some((conn.id, conn.peer.clone()));
        state.race = None;
        drop(state);
        pair.row.iter().for_each(|row| row.answered(&conn.peer));
        let took = pair.since.elapsed();
        self.0.observe(&RelayEvent::Opened { client: &pair.client, target: &conn.peer, took });
        Box::new(PairSide { end: RelayEnd::Target, pair, context: Rc::clone(&self.0) })
    }

    fn failed(&mut self, request: &DialRequest, error: &io::Error, now: Instant) {
        let copy = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        self.0.failed(request, copy, now);
    }

    fn unopened(&mut self, request: &DialRequest, why: CloseReason, now: Instant) {
        self.0.failed(request, io::Error::other(format!("in the handshake: {why}")), now);
    }
}
