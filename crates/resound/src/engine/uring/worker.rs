//! One worker: a thread with its ring, and the connections on it.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn, Endpoint};
use socket2::Socket;

use super::accept::RingAcceptor;
use super::context::WorkerContext;
use super::dial::{Connected, PendingDials};
use super::inbox::{AcceptedSocket, Inbox, RingCommand};
use super::link::{Link, LinkFlow};
use super::links::Links;
use crate::engine::accept::BACK_OFF;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::dial_driver::DialDriver;
use crate::engine::shared::{ConnectionEnd, RunGuard, Shared};
use crate::engine::socket::endpoint;
use crate::engine::sys::{Done, Key, Ring, Setup, Wait};
use crate::metrics::Writers;

/// What the others' connections have to end in when a worker has failed.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// Completions between two looks at the clock.
const CLOCK: usize = 64;
/// Alarms that may ring before the sockets get their turn.
const ALARMS: usize = 256;

/// What all workers know.
pub(super) struct WorkerSet {
    pub(super) shared: Arc<Shared>,
    pub(super) inboxes: Vec<Inbox>,
    /// Worker 0 has a connection in hand, and no place for it.
    pub(super) waits_for_room: AtomicBool,
}

/// How far a worker's end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShutdownPhase {
    Serving,
    /// The ring is letting go of the listeners.
    Unlistening,
    Draining,
}

struct RingWorker<'a, 'r> {
    index: usize,
    crew: &'a WorkerSet,
    desk: WorkerContext<'a, 'r>,
    links: Links,
    acceptors: Vec<RingAcceptor>,
    /// Something has changed that concerns them.
    mind_acceptors: bool,
    /// When to look at them anyway.
    acceptors_at: Option<Instant>,
    /// Of a dialer.
    calls: Option<PendingDials>,
    phase: ShutdownPhase,
    deadline: Option<Instant>,
    /// The event counter is looked at.
    polls: bool,
    /// After a failure, not before this.
    polls_at: Option<Instant>,
    /// Something has happened since anybody last slept.
    active: bool,
}

/// Runs a worker until it is drained.
pub(super) fn run(index: usize, crew: &WorkerSet, setup: &Setup, running: Arc<RunGuard>, mut report: StartReport) {
    let mut leaves = WorkerExit { crew, index, in_order: false };
    crew.shared.sharpen();
    let result = Ring::with(setup, |ring| {
        let desk = WorkerContext::new(ring, crew.shared.recorder(index, Writers::One));
        let calls = DialDriver::new(&crew.shared, index).map(|caller| PendingDials::new(caller, desk.now));
        let mut worker = RingWorker {
            index,
            crew,
            desk,
            links: Links::default(),
            acceptors: Vec::new(),
            mind_acceptors: false,
            acceptors_at: None,
            calls,
            phase: ShutdownPhase::Serving,
            deadline: None,
            polls: false,
            polls_at: None,
            active: false,
        };
        report.say(Ok(()));
        match worker.work() {
            Ok(()) => leaves.in_order = true,
            Err(error) => {
                tracing::error!("worker {index} has failed, and its connections with it; the server ends: {error}");
                worker.cut(CloseReason::Failed(error.kind()));
            }
        }
    });
    if let Err(error) = result {
        report.say(Err(error));
    }
    drop(running);
}

/// Tells whoever starts the workers how it went, a panic included.
pub(super) struct StartReport(pub(super) Option<Sender<io::Result<()>>>);

impl StartReport {
    fn say(&mut self, result: io::Result<()>) {
        if let Some(starter) = self.0.take() {
            let _ = starter.send(result);
        }
    }
}

impl Drop for StartReport {
    fn drop(&mut self) {
        self.say(Err(io::Error::other("a worker has panicked")));
    }
}

/// However a worker ends, nobody is to wait for it. And without one of them the others would serve a part of those who come only, or nobody: so
/// the server ends then.
struct WorkerExit<'a> {
    crew: &'a WorkerSet,
    index: usize,
    in_order: bool,
}

impl Drop for WorkerExit<'_> {
    fn drop(&mut self) {
        self.crew.inboxes[self.index].close();
        if !self.in_order {
            self.crew.drain_all(Instant::now() + LAST_ANSWERS);
        }
    }
}

impl WorkerSet {
    /// Tells each worker by itself to end.
    pub(super) fn drain_all(&self, deadline: Instant) {
        for inbox in &self.inboxes {
            inbox.send(RingCommand::Drain(deadline));
        }
    }
}

impl RingWorker<'_, '_> {
    fn work(&mut self) -> io::Result<()> {
        loop {
            if !self.polls && self.polls_at.is_none_or(|at| at <= self.desk.now) {
                self.polls = true;
                self.desk.ring.poll(self.crew.inboxes[self.index].counter());
            }
            if !self.finds_something()? {
                let wait = self.sleep();
                self.desk.ring.enter(wait)?;
            }
            self.desk.now = Instant::now();
            let mut handled = 0;
            let every = if self.crew.shared.is_precise() { 1 } else { CLOCK };
            while let Some(done) = self.desk.ring.next() {
                self.active = true;
                if handled % every == 0 && handled > 0 {
                    self.desk.now = Instant::now();
                }
                self.handle(done);
                handled += 1;
            }
            self.ring_alarms();
            self.feed();
            self.mind_acceptors();
            self.mind_calls();
            if self.mind_the_end() {
                return Ok(());
            }
        }
    }

    /// Looks for events, for as long as is wanted after the last one, before anybody sleeps. Says whether there is one.
    fn finds_something(&mut self) -> io::Result<bool> {
        let busy_poll = self.crew.shared.busy_poll;
        if busy_poll.is_zero() || !std::mem::take(&mut self.active) {
            return Ok(false);
        }
        let time = match self.patience() {
            Wait::Not => return Ok(false),
            Wait::AtMost(time) => time.min(busy_poll),
            Wait::Forever => busy_poll,
        };
        self.desk.ring.enter(Wait::Not)?;
        let start = Instant::now();
        // Without a hint to the processor that this is a spin loop: under a hypervisor the hint may give the processor away.
        while self.desk.ring.has_told_all() && start.elapsed() < time {
            if self.desk.ring.looks_busy() {
                self.desk.ring.enter(Wait::Not)?;
            }
        }
        self.desk.now = Instant::now();
        Ok(!self.desk.ring.has_told_all())
    }

    /// As [`RingWorker::patience`], but who keeps deadlines precisely and may spin wakes a little early for it.
    fn sleep(&mut self) -> Wait {
        let Shared { busy_poll, .. } = *self.crew.shared;
        match self.patience() {
            Wait::AtMost(time) if !busy_poll.is_zero() && self.crew.shared.is_precise() => {
                self.active = true;
                Wait::AtMost(time.saturating_sub(busy_poll))
            }
            wait => wait,
        }
    }

    /// How long the kernel may let us wait.
    fn patience(&self) -> Wait {
        let now = self.desk.now;
        let until = |at: Instant| at.saturating_duration_since(now);
        let cut = self.deadline.filter(|_| self.phase == ShutdownPhase::Draining).map(until);
        let acceptors = if self.mind_acceptors { Some(Duration::ZERO) } else { self.acceptors_at.map(until) };
        let fed = (!self.desk.starved.is_empty() && self.desk.ring.has_buffers()).then_some(Duration::ZERO);
        let polls = self.polls_at.filter(|_| !self.polls).map(until);
        let calls = self.calls.as_ref().and_then(|calls| calls.next(now));
        let waits = [self.desk.timers.next(now), cut, acceptors, fed, polls, calls];
        match waits.into_iter().flatten().min() {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Not,
            Some(time) => Wait::AtMost(time),
        }
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Received { key, result, more, piece } => {
                self.on(key, |link, desk| link.received(result, more, piece, desk));
            }
            Done::Readable { key, result } => self.on(key, |link, desk| link.readable(result, desk)),
            Done::Sent { key, result, load } => self.on(key, |link, desk| link.sent(result, load, desk)),
            Done::Accepted { listener, result, more } => {
                self.mind_acceptors = true;
                if let Some(acceptor) = self.acceptors.get_mut(listener as usize) {
                    acceptor.accepted(result, more, &self.crew.shared.room, self.desk.now);
                }
            }
            Done::Connected { call, result } => {
                let calls = self.calls.as_mut();
                let answered = calls.and_then(|c| c.connected(call, result, self.desk.ring, self.desk.now));
                if let Some(Connected { socket, conn }) = answered {
                    let place = self.crew.shared.room.take_on(self.index);
                    self.begin(socket, conn, place);
                }
            }
            Done::Polled { result, more } => {
                self.polls = more;
                // Not at once, or a counter that cannot be looked at would keep the processor busy. What is in the inbox is taken even so.
                self.polls_at = (result < 0).then(|| self.desk.now + BACK_OFF);
                for command in self.crew.inboxes[self.index].take() {
                    self.obey(command);
                }
            }
        }
    }

    fn obey(&mut self, command: RingCommand) {
        match command {
            RingCommand::Listen(listeners) => {
                let numbered = listeners.into_iter().enumerate();
                self.acceptors =
                    numbered.map(|(number, listener)| RingAcceptor::new(number as u32, listener)).collect();
                self.mind_acceptors = true;
                if self.phase != ShutdownPhase::Serving {
                    // The drain was quicker.
                    self.phase = ShutdownPhase::Unlistening;
                    self.acceptors.iter_mut().for_each(|acceptor| acceptor.drain(self.desk.ring));
                }
            }
            RingCommand::Serve(accepted) => self.serve(accepted),
            RingCommand::Wake(conn) => {
                if let Some(key) = self.links.find(conn) {
                    self.on(key, Link::woken);
                }
            }
            RingCommand::WakeAll => self.links.keys().into_iter().for_each(|key| self.on(key, Link::woken)),
            RingCommand::Room => self.mind_acceptors = true,
            RingCommand::Hasten(at) => self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at))),
            RingCommand::Drain(at) => {
                self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at)));
                if self.phase == ShutdownPhase::Serving {
                    self.phase = ShutdownPhase::Unlistening;
                    self.acceptors.iter_mut().for_each(|acceptor| acceptor.drain(self.desk.ring));
                }
            }
        }
    }

    /// Starts a connection.
    fn serve(&mut self, accepted: AcceptedSocket) {
        let AcceptedSocket { socket, peer, local, place } = accepted;
        let Some(socket) = socket.serve() else { return };
        let local = local.unwrap_or_else(|| socket.local_addr().map_or(Endpoint::Unknown, |a| endpoint(&a)));
        if let Some(conn) = self.crew.shared.accepted(peer, local, &place) {
            self.begin(socket, conn, place);
        }
    }

    fn begin(&mut self, socket: Socket, conn: Conn, place: ConnectionPermit) {
        let timed = self.crew.shared.is_timed(&conn, &socket);
        let key = self.links.insert(conn.info().id, |key| Link::new(key, socket, conn, place, timed));
        self.on(key, Link::open);
        if self.phase == ShutdownPhase::Draining {
            // Handed over, or answered, just before the drain.
            self.on(key, Link::drain);
        }
    }

    /// Lets a connection do something. A panic in a service ends its own connection only.
    fn on(&mut self, key: Key, act: impl FnOnce(&mut Link, &mut WorkerContext<'_, '_>) -> LinkFlow) {
        let Some(link) = self.links.get(key) else { return };
        let desk = &mut self.desk;
        let step = catch_unwind(AssertUnwindSafe(|| act(link, desk)));
        match step {
            Ok(ControlFlow::Continue(())) if !link.is_over() => {}
            Ok(ControlFlow::Continue(())) => self.let_go(key),
            Ok(ControlFlow::Break(end)) => self.finish(key, end),
            Err(_) => self.finish(key, Err(CloseReason::Panicked)),
        }
    }

    fn finish(&mut self, key: Key, end: ConnectionEnd) {
        self.desk.tidy();
        let Some(link) = self.links.get(key) else { return };
        link.finish(end, &mut self.desk);
        self.let_go(key);
    }

    /// Closes a connection that is over, once nothing of it is in flight.
    fn let_go(&mut self, key: Key) {
        if self.links.get(key).is_some_and(|link| link.is_over() && !link.is_in_flight()) {
            drop(self.links.remove(key));
            if let Some(calls) = &mut self.calls {
                calls.has_room(self.desk.now);
            }
            self.mind_acceptors = true;
            self.acceptors.iter_mut().for_each(RingAcceptor::try_again);
            if self.index != 0 && self.crew.waits_for_room.load(SeqCst) {
                self.crew.inboxes[0].send(RingCommand::Room);
            }
        }
    }

    fn ring_alarms(&mut self) {
        // An alarm that is set again for now waits for the sockets' turn.
        let now = self.desk.now;
        for _ in 0..ALARMS {
            let Some(key) = self.desk.timers.ringing(now) else { break };
            if self.crew.shared.is_precise() {
                self.desk.now = Instant::now();
            }
            self.on(key, Link::alarmed);
        }
    }

    /// Those who found no buffer to receive into try again.
    fn feed(&mut self) {
        if !self.desk.starved.is_empty() && self.desk.ring.has_buffers() {
            for key in std::mem::take(&mut self.desk.starved) {
                self.on(key, Link::fed);
            }
        }
    }

    /// Hands out what was accepted, and accepts on.
    fn mind_acceptors(&mut self) {
        let now = self.desk.now;
        if !(std::mem::take(&mut self.mind_acceptors) || self.acceptors_at.is_some_and(|at| at <= now)) {
            return;
        }
        self.acceptors_at = None;
        // Said first: a place that becomes free from now on is told.
        let waiting = |acceptors: &[RingAcceptor]| acceptors.iter().any(RingAcceptor::waits_for_room);
        self.crew.waits_for_room.store(waiting(&self.acceptors), SeqCst);
        for at in 0..self.acceptors.len() {
            while let Some(accepted) = self.acceptors[at].next(&self.crew.shared.room) {
                self.hand_out(accepted);
            }
            let again = self.acceptors[at].go_on(self.desk.ring, &self.crew.shared.room, now);
            self.acceptors_at = [self.acceptors_at, again].into_iter().flatten().min();
        }
    }

    /// Makes the calls that are due.
    fn mind_calls(&mut self) {
        if let Some(calls) = &mut self.calls {
            calls.mind(self.desk.ring, self.desk.now);
        }
    }

    fn hand_out(&mut self, accepted: AcceptedSocket) {
        match accepted.place.worker() {
            0 => self.serve(accepted),
            other => drop(self.crew.inboxes[other].send(RingCommand::Serve(accepted))),
        }
    }

    /// Takes the next step of a drain, and says whether it was the last.
    fn mind_the_end(&mut self) -> bool {
        let now = self.desk.now;
        let unlistened =
            self.phase == ShutdownPhase::Unlistening && self.acceptors.iter().all(RingAcceptor::is_stopped);
        // A connection asks its socket what is still to be read: it must have been given what has left the socket.
        if unlistened && self.desk.ring.has_told_all() {
            // Everything accepted is handed out before anybody is told to drain, so no connection slips through.
            for at in 0..self.acceptors.len() {
                for accepted in self.acceptors[at].rest(&self.crew.shared.room) {
                    self.hand_out(accepted);
                }
            }
            self.acceptors.clear();
            self.phase = ShutdownPhase::Draining;
            if let Some(calls) = &mut self.calls {
                calls.stop(self.desk.ring);
            }
            let at = self.deadline.unwrap_or(now);
            if self.index == 0 {
                for other in &self.crew.inboxes[1..] {
                    other.send(RingCommand::Drain(at));
                }
            }
            if now < at {
                self.links.keys().into_iter().for_each(|key| self.on(key, Link::drain));
            }
        }
        if self.phase == ShutdownPhase::Draining && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.cut(CloseReason::Cut);
            self.deadline = None; // what is left waits for its last completions
        }
        let called = self.calls.as_ref().is_none_or(PendingDials::are_done);
        (self.phase == ShutdownPhase::Draining || self.calls.is_some()) && called && self.links.is_empty()
    }

    fn cut(&mut self, reason: CloseReason) {
        for key in self.links.keys() {
            if self.links.get(key).is_some_and(|link| !link.is_over()) {
                self.finish(key, Err(reason));
            }
        }
    }
}
