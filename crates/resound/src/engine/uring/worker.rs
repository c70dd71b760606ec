//! One worker: a thread with its ring, and the connections on it.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn};
use socket2::Socket;

use super::accept::RingAcceptor;
use super::connection::{RECEIVES_PER_BUFFER, RingConn};
use super::connections::RingConns;
use super::context::WorkerContext;
use super::counter::EventCounter;
use super::dial::{Connected, PendingDials};
use super::input::RingInput;
use crate::engine::accept::BACK_OFF;
use crate::engine::accept_queue::{AcceptedConnection, WaitingConnections};
use crate::engine::acknowledgement::Acknowledgement;
use crate::engine::connection_limit::{ConnectionPermit, PlaceRequest};
use crate::engine::dial_driver::DialDriver;
use crate::engine::driver::{ConnectionEnd, ConnectionFlow};
use crate::engine::listener::Listener;
use crate::engine::local::WorkerLocal;
use crate::engine::shared::ListenReport;
use crate::engine::sys::{Done, Key, Ring, Setup, Wait};
use crate::engine::workers::{WorkerCommand, WorkerGuard, WorkerSet, shorten_deadline};
use crate::metrics::Writers;

/// Completions between two readings of the clock.
const CLOCK: usize = 64;
/// Alarms that may ring before the sockets get their turn.
const ALARMS: usize = 256;
/// How often the partners of a relay may wake each other before the sockets get their turn.
const ROUNDS: usize = 4;

/// The progress of a worker's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShutdownPhase {
    Serving,
    /// The ring still holds the listeners.
    Unlistening,
    Draining,
}

struct RingWorker<'a, 'r> {
    index: usize,
    set: &'a Arc<WorkerSet<EventCounter>>,
    context: WorkerContext<'a, 'r>,
    conns: RingConns,
    acceptors: Vec<RingAcceptor>,
    /// What the listeners had accepted that were given up.
    unlistened: Vec<WaitingConnections>,
    /// The listeners are being given up, for those that wait for it.
    giving_up: Vec<Acknowledgement>,
    /// Listeners that come before those are given up.
    next_listeners: Vec<(Vec<Listener>, ListenReport)>,
    /// Something has changed that concerns the acceptors.
    acceptors_changed: bool,
    /// When to check the acceptors without a change.
    acceptors_at: Option<Instant>,
    /// Only a relay has it.
    local: Option<WorkerLocal>,
    /// Only a dialer or a relay has them.
    dials: Option<PendingDials>,
    phase: ShutdownPhase,
    deadline: Option<Instant>,
    /// The ring polls the event counter.
    polls: bool,
    /// After a failure: the time of the next try.
    polls_at: Option<Instant>,
    /// Something has happened since the worker last slept.
    active: bool,
}

/// Runs a worker until its connections have ended after a drain, or its dial plan is done.
pub(super) fn run(mut guard: WorkerGuard<EventCounter>, setup: &Setup) {
    let (index, set) = (guard.index, Arc::clone(&guard.set));
    set.shared.turn_off_timer_slack();
    let result = Ring::with(setup, |ring| {
        let mut context = WorkerContext::new(ring, set.shared.recorder(index, Writers::One));
        let dials = DialDriver::new(&set.shared, index).map(|driver| PendingDials::new(driver, context.driver.now));
        let local = dials.as_ref().and_then(PendingDials::local);
        context.wakes = local.as_ref().map(|local| Rc::clone(&local.wakes));
        let mut worker = RingWorker {
            index,
            set: &set,
            context,
            conns: RingConns::default(),
            acceptors: Vec::new(),
            unlistened: Vec::new(),
            giving_up: Vec::new(),
            next_listeners: Vec::new(),
            acceptors_changed: false,
            acceptors_at: None,
            local,
            dials,
            phase: ShutdownPhase::Serving,
            deadline: None,
            polls: false,
            polls_at: None,
            active: false,
        };
        guard.report(Ok(()));
        worker.work().inspect_err(|error| {
            tracing::error!("worker {index} has failed, and its connections with it; the server ends: {error}");
            worker.cut(CloseReason::Failed(error.kind()));
        })
    });
    match result {
        Ok(Ok(())) => guard.end(),
        // The guard ends the server.
        Ok(Err(_)) => {}
        Err(error) => guard.report(Err(error)),
    }
}

impl RingWorker<'_, '_> {
    fn work(&mut self) -> io::Result<()> {
        loop {
            if !self.polls && self.polls_at.is_none_or(|at| at <= self.context.driver.now) {
                self.polls = true;
                self.context.ring.poll(self.set.inboxes[self.index].alert().descriptor());
            }
            if !self.busy_poll()? {
                let wait = self.time_to_sleep();
                self.context.ring.enter(wait)?;
            }
            self.context.driver.now = Instant::now();
            let mut handled = 0;
            let every = if self.set.shared.is_precise() { 1 } else { CLOCK };
            while let Some(done) = self.context.ring.next() {
                self.active = true;
                if handled % every == 0 && handled > 0 {
                    self.context.driver.now = Instant::now();
                }
                self.handle(done);
                handled += 1;
            }
            self.ring_alarms();
            self.retry_starved();
            self.serve_acceptors();
            self.wake_partners();
            self.dial();
            self.finish_unlistening();
            if self.continue_drain() {
                return Ok(());
            }
        }
    }

    /// Busy-polls for events after the last one, before the worker sleeps. Returns whether there is
    /// one.
    fn busy_poll(&mut self) -> io::Result<bool> {
        let most = self.set.shared.busy_poll;
        if most.is_zero() || !std::mem::take(&mut self.active) {
            return Ok(false);
        }
        let time = match self.time_to_wait() {
            Wait::Not => return Ok(false),
            Wait::AtMost(time) => time.min(most),
            Wait::Forever => most,
        };
        self.context.ring.enter(Wait::Not)?;
        let start = Instant::now();
        // Without a hint to the processor that this is a spin loop: under a hypervisor the hint may
        // yield the processor.
        while self.context.ring.is_caught_up() && start.elapsed() < time {
            if self.context.ring.needs_enter() {
                self.context.ring.enter(Wait::Not)?;
            }
        }
        self.context.driver.now = Instant::now();
        Ok(!self.context.ring.is_caught_up())
    }

    /// As [`RingWorker::time_to_wait`]. But a worker that keeps precise deadlines and may spin
    /// wakes a little earlier.
    fn time_to_sleep(&mut self) -> Wait {
        let busy_poll = self.set.shared.busy_poll;
        match self.time_to_wait() {
            Wait::AtMost(time) if !busy_poll.is_zero() && self.set.shared.is_precise() => {
                self.active = true;
                Wait::AtMost(time.saturating_sub(busy_poll))
            }
            wait => wait,
        }
    }

    /// How long the worker may wait for a completion.
    fn time_to_wait(&self) -> Wait {
        let now = self.context.driver.now;
        let until = |at: Instant| at.saturating_duration_since(now);
        let cut = self.deadline.filter(|_| self.phase == ShutdownPhase::Draining).map(until);
        let acceptors = if self.acceptors_changed { Some(Duration::ZERO) } else { self.acceptors_at.map(until) };
        let retry = (!self.context.starved.is_empty() && self.context.ring.buffers() > 0).then_some(Duration::ZERO);
        let polls = self.polls_at.filter(|_| !self.polls).map(until);
        let dials = self.dials.as_ref().and_then(|dials| dials.next(now));
        let woken = self.context.wakes.as_ref().is_some_and(|wakes| !wakes.is_empty()).then_some(Duration::ZERO);
        let waits = [self.context.timers.next(now), cut, acceptors, retry, polls, dials, woken];
        match waits.into_iter().flatten().min() {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Not,
            Some(time) => Wait::AtMost(time),
        }
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Received { key, result, more, piece } => {
                self.on(key, |conn, context| conn.received(result, more, piece, context));
            }
            Done::Readable { key, result } => self.on(key, |conn, context| conn.readable(result, context)),
            Done::Failed { key, failed, more } => {
                self.on(key, |conn, context| conn.polled_failure(failed, more, context));
            }
            Done::Sent { key, result, bytes } => self.on(key, |conn, context| conn.sent(result, bytes, context)),
            Done::Accepted { listener, result, more } => {
                self.acceptors_changed = true;
                if let Some(acceptor) = self.acceptors.get_mut(listener as usize) {
                    acceptor.accepted(result, more, self.context.driver.now);
                }
            }
            Done::Connected { number, result } => {
                let (ring, now) = (&mut *self.context.ring, self.context.driver.now);
                let connected = self.dials.as_mut().and_then(|dials| dials.connected(number, result, ring, now));
                if let Some(Connected { socket, conn }) = connected {
                    let permit = self.set.shared.room.take_on(self.index);
                    self.begin(socket, conn, permit);
                }
            }
            Done::Polled { result, more } => {
                self.polls = more;
                // Not at once, or a poll that fails would keep the processor busy. The inbox is
                // read even so.
                self.polls_at = (result < 0).then(|| self.context.driver.now + BACK_OFF);
                let inbox = &self.set.inboxes[self.index];
                inbox.alert().reset();
                for command in inbox.take() {
                    self.handle_command(command);
                }
            }
        }
    }

    fn handle_command(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::Listen(listeners, report) if self.giving_up.is_empty() => self.listen(listeners, report),
            WorkerCommand::Listen(listeners, report) => self.next_listeners.push((listeners, report)),
            WorkerCommand::Unlisten(stopped) => {
                self.giving_up.push(stopped);
                self.acceptors.iter_mut().for_each(|acceptor| acceptor.stop(self.context.ring));
            }
            WorkerCommand::Heartbeat(turned) => drop(turned),
            WorkerCommand::Serve(accepted) => self.serve(accepted),
            WorkerCommand::Wake(conn) => {
                if let Some(key) = self.conns.find(conn) {
                    self.on(key, RingConn::woken);
                }
            }
            WorkerCommand::WakeAll => self.conns.keys().into_iter().for_each(|key| self.on(key, RingConn::woken)),
            WorkerCommand::Beat(asked) => self.set.shared.heartbeats[self.index].beat(asked),
            WorkerCommand::List(request) => {
                let _ = request.reply.send(self.conns.rows(self.index, request.from));
            }
            WorkerCommand::PlaceFreed => self.acceptors_changed = true,
            WorkerCommand::ShortenDeadline(at) => drop(shorten_deadline(&mut self.deadline, at)),
            WorkerCommand::Drain(at) => {
                shorten_deadline(&mut self.deadline, at);
                if self.phase == ShutdownPhase::Serving {
                    self.phase = ShutdownPhase::Unlistening;
                    self.acceptors.iter_mut().for_each(|acceptor| acceptor.stop(self.context.ring));
                }
            }
        }
    }

    fn listen(&mut self, listeners: Vec<Listener>, report: ListenReport) {
        // A listener that another process has served may be in non-blocking mode, and then an
        // accept would not wait.
        report(listeners.iter().try_for_each(|listener| listener.socket().set_nonblocking(false)));
        let numbered = listeners.into_iter().enumerate();
        let limit = &self.set.shared.room;
        let acceptor = |(number, listener)| RingAcceptor::new(number as u32, listener, limit);
        self.acceptors = numbered.map(acceptor).collect();
        self.acceptors_changed = true;
        if self.phase != ShutdownPhase::Serving {
            // The drain came first.
            self.phase = ShutdownPhase::Unlistening;
            self.acceptors.iter_mut().for_each(|acceptor| acceptor.stop(self.context.ring));
        }
    }

    /// Starts a connection.
    fn serve(&mut self, accepted: AcceptedConnection) {
        let opened = accepted.open(&self.set.shared, self.local.as_ref());
        opened.into_iter().for_each(|(socket, conn, permit)| self.begin(socket, conn, permit));
    }

    fn begin(&mut self, socket: Socket, conn: Conn, permit: ConnectionPermit) {
        let timed = self.set.shared.is_timed(&conn, &socket);
        let input = RingInput::new(self.context.ring.has_few_buffers());
        let key = self.conns.insert(conn.info().id, |key| RingConn::new(key, socket, conn, permit, timed, input));
        self.on(key, RingConn::open);
        if self.phase == ShutdownPhase::Draining {
            // Accepted or dialled just before the drain.
            self.on(key, RingConn::drain);
        }
    }

    /// Passes an event to a connection. A panic in a service ends its own connection only.
    fn on(&mut self, key: Key, act: impl FnOnce(&mut RingConn, &mut WorkerContext<'_, '_>) -> ConnectionFlow) {
        let Some(connection) = self.conns.get(key) else { return };
        let context = &mut self.context;
        match catch_unwind(AssertUnwindSafe(|| act(connection, context))) {
            Ok(ControlFlow::Continue(())) if !connection.is_over() => {}
            Ok(ControlFlow::Continue(())) => self.close_if_idle(key),
            Ok(ControlFlow::Break(end)) => self.finish(key, end),
            Err(_) => self.finish(key, Err(CloseReason::Panicked)),
        }
    }

    fn finish(&mut self, key: Key, end: ConnectionEnd) {
        self.context.driver.clear_output();
        let Some(connection) = self.conns.get(key) else { return };
        connection.finish(end, &mut self.context);
        self.close_if_idle(key);
    }

    /// Closes a connection that is over, once nothing of it is in flight.
    fn close_if_idle(&mut self, key: Key) {
        if self.conns.get(key).is_some_and(|conn| conn.is_over() && !conn.is_in_flight()) {
            drop(self.conns.remove(key));
            if let Some(dials) = &mut self.dials {
                dials.connection_ended(self.context.driver.now);
            }
            self.acceptors_changed = true;
            self.acceptors.iter_mut().for_each(RingAcceptor::try_again);
            if self.index != 0 && self.set.waits_for_place.load(SeqCst) {
                self.set.inboxes[0].send(WorkerCommand::PlaceFreed);
            }
        }
    }

    fn ring_alarms(&mut self) {
        // An alarm that is set again for this instant waits for the sockets' turn.
        let now = self.context.driver.now;
        for _ in 0..ALARMS {
            let Some(key) = self.context.timers.ringing(now) else { break };
            if self.set.shared.is_precise() {
                self.context.driver.now = Instant::now();
            }
            self.on(key, RingConn::alarmed);
        }
    }

    /// Lets connections that found no buffer receive again, but only about as many as will find
    /// one. Otherwise all of them would try each time, and nearly all in vain.
    fn retry_starved(&mut self) {
        let mut room = self.context.ring.buffers() * RECEIVES_PER_BUFFER;
        let mut waiting = std::mem::take(&mut self.context.starved);
        while room > 0
            && let Some(key) = waiting.pop_front()
        {
            room = room.saturating_sub(self.conns.get(key).map_or(0, |conn| conn.buffer_share()));
            self.on(key, RingConn::buffers_available);
        }
        self.context.keep_waiting(waiting);
    }

    /// Hands out accepted connections, and accepts further ones.
    fn serve_acceptors(&mut self) {
        let now = self.context.driver.now;
        if !(std::mem::take(&mut self.acceptors_changed) || self.acceptors_at.is_some_and(|at| at <= now)) {
            return;
        }
        self.acceptors_at = None;
        // First: a place that becomes free from now on is reported.
        let waits = !self.unlistened.is_empty() || self.acceptors.iter().any(RingAcceptor::waits_for_place);
        self.set.waits_for_place.store(waits, SeqCst);
        if waits {
            let drains = self.phase == ShutdownPhase::Draining;
            self.serve_waiting(if drains { PlaceRequest::FreeOn(self.index) } else { PlaceRequest::Free });
            self.acceptors_at = Some(now + BACK_OFF);
        }
        for at in 0..self.acceptors.len() {
            while let Some(accepted) = self.acceptors[at].next() {
                self.hand_out(accepted);
            }
            let again = self.acceptors[at].accept(self.context.ring, now);
            self.acceptors_at = [self.acceptors_at, again].into_iter().flatten().min();
        }
    }

    /// Serves what the listeners had accepted that were given up, where it finds such a place.
    fn serve_waiting(&mut self, request: PlaceRequest) {
        WaitingConnections::pop_all(&mut self.unlistened, request).for_each(|accepted| self.hand_out(accepted));
    }

    /// Wakes the connections of a relay that their partners have woken. They wake each other in
    /// turn: what is left after a few rounds waits for the sockets' turn.
    fn wake_partners(&mut self) {
        let Some(wakes) = self.context.wakes.clone() else { return };
        for _ in 0..ROUNDS {
            // First: each is woken after what was lent to it.
            while let Some(lent) = self.context.lent.pop_front() {
                if let Some(key) = self.conns.find(lent.to) {
                    self.on(key, |conn, context| conn.forward(lent, context));
                }
            }
            wakes.drain(|conn| {
                if let Some(key) = self.conns.find(conn) {
                    self.on(key, RingConn::woken);
                }
            });
        }
        if wakes.take_dials()
            && let Some(dials) = &mut self.dials
        {
            dials.ask(self.context.driver.now);
        }
    }

    /// Dials where that is due.
    fn dial(&mut self) {
        if let Some(dials) = &mut self.dials {
            dials.advance(self.context.ring, self.context.driver.now);
        }
    }

    /// Gives the listeners up, once the ring has released them.
    fn finish_unlistening(&mut self) {
        // A drain takes the backlog as well.
        let is_over = self.phase != ShutdownPhase::Serving;
        if !self.giving_up.is_empty() && (is_over || self.acceptors.iter().all(RingAcceptor::is_stopped)) {
            if !is_over {
                self.unlistened.extend(self.acceptors.drain(..).map(RingAcceptor::unlisten));
                self.acceptors_changed = true;
            }
            self.giving_up.clear();
            for (listeners, report) in std::mem::take(&mut self.next_listeners) {
                self.listen(listeners, report);
            }
        }
    }

    fn hand_out(&mut self, accepted: AcceptedConnection) {
        if let Some(own) = self.set.hand_out(accepted) {
            self.serve(own);
        }
    }

    /// Continues a drain. Returns whether the worker has ended.
    fn continue_drain(&mut self) -> bool {
        let now = self.context.driver.now;
        let unlistened =
            self.phase == ShutdownPhase::Unlistening && self.acceptors.iter().all(RingAcceptor::is_stopped);
        // A connection counts the bytes that its socket holds: those that have left the socket must
        // have been delivered before.
        if unlistened && self.context.ring.is_caught_up() {
            // Everything that has a place is handed out before any connection drains, so none is
            // left out.
            self.unlistened.extend(self.acceptors.drain(..).map(RingAcceptor::take_backlog));
            self.serve_waiting(PlaceRequest::Free);
            self.acceptors_changed = !self.unlistened.is_empty();
            self.phase = ShutdownPhase::Draining;
            if let Some(dials) = &mut self.dials {
                dials.stop(self.context.ring);
            }
            let at = self.deadline.unwrap_or(now);
            if self.index == 0 {
                self.set.drain_others(at);
            }
            if now < at {
                self.conns.keys().into_iter().for_each(|key| self.on(key, RingConn::drain));
            }
        }
        if self.phase == ShutdownPhase::Draining && self.deadline.is_some_and(|deadline| deadline <= now) {
            let recorder = &mut self.context.driver.recorder;
            self.unlistened.drain(..).for_each(|waiting| waiting.cut(&self.set.shared, recorder));
            self.cut(CloseReason::Cut);
            self.deadline = None; // the rest waits for its last completions
        }
        let dialled = self.dials.as_ref().is_none_or(PendingDials::are_done);
        let is_last = self.phase == ShutdownPhase::Draining || self.set.shared.is_precise();
        is_last && dialled && self.conns.is_empty() && self.unlistened.is_empty()
    }

    fn cut(&mut self, reason: CloseReason) {
        for key in self.conns.keys() {
            if self.conns.get(key).is_some_and(|conn| !conn.is_over()) {
                self.finish(key, Err(reason));
            }
        }
    }
}
