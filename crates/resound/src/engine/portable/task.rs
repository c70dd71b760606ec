//! One connection's task: the loop that [`Conn`]'s documentation describes, as a future.

use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use resound_proto::{CloseReason, Conn, Then, Verdict};
use socket2::SockRef;
use tokio::time::Sleep;

use super::context::{PortableWorker, TaskContext, TaskSignals, WIRE};
use super::watched::WatchedSocket;
use crate::engine::accept_queue::AcceptedConnection;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::queue::Queue;
use crate::engine::shared::{ConnectionEnd, bury};
use crate::engine::socket::{DrainBarrier, at_eof, holds_nothing, reset_on_close, tell_unacknowledged, unread};

/// Bytes that one poll may move before the other connections get their turn.
const BUDGET: usize = 64 * 1024;
/// What even the smallest step costs.
const STEP: usize = 4 * 1024;
/// Pieces that one write takes at most.
const PIECES: usize = 16;

/// Starts the task of a connection that was accepted.
pub(super) fn serve(accepted: AcceptedConnection, worker: &Rc<PortableWorker>) {
    let Some((socket, conn, permit)) = accepted.open(&worker.shared) else { return };
    // An error here concerns this connection only.
    if socket.set_nonblocking(true).is_err() {
        return reset_on_close(&SockRef::from(&socket));
    }
    if let Ok(stream) = WatchedSocket::new(socket, &conn.info().peer) {
        begin(stream, conn, permit, worker);
    }
}

/// Starts the task of a connection.
pub(super) fn begin(stream: WatchedSocket, conn: Conn, permit: ConnectionPermit, worker: &Rc<PortableWorker>) {
    let signals = worker.add(conn.info().id);
    tokio::task::spawn_local(ConnectionTask::new(stream, conn, signals, Rc::clone(worker), permit));
}

// In this order in memory, for the sake of `Conn`'s.
#[repr(C)]
pub(super) struct ConnectionTask {
    stream: WatchedSocket,
    worker: Rc<PortableWorker>,
    /// Of [`PortableWorker::signals`], when the slot was last looked into.
    signals_seen: u64,
    then: Then,
    fin_sent: bool,
    opened: bool,
    /// What is left of this poll's budget.
    budget: usize,
    /// What the system would not take yet.
    queue: Queue,
    /// Armed lazily: it may be earlier than the connection's deadline, never later.
    alarm: Option<Pin<Box<Sleep>>>,
    /// The same on a precise clock.
    #[cfg(target_os = "linux")]
    precise_alarm: Option<Instant>,
    conn: Conn,
    farewell: DrainBarrier,
    slot: Rc<TaskSignals>,
    _place: ConnectionPermit,
}

impl ConnectionTask {
    pub(super) fn new(
        stream: WatchedSocket,
        mut conn: Conn,
        slot: Rc<TaskSignals>,
        worker: Rc<PortableWorker>,
        place: ConnectionPermit,
    ) -> Self {
        conn.allow_shares();
        Self {
            stream,
            conn,
            queue: Queue::default(),
            then: Then::Go,
            fin_sent: false,
            budget: BUDGET,
            opened: false,
            farewell: DrainBarrier::default(),
            alarm: None,
            #[cfg(target_os = "linux")]
            precise_alarm: None,
            slot,
            signals_seen: 0,
            worker,
            _place: place,
        }
    }

    /// Goes on until it must wait (`PendingHandshake`) or the connection is over.
    fn advance(&mut self, cx: &mut Context<'_>, desk: &mut TaskContext) -> Poll<ConnectionEnd> {
        let mut now = Instant::now();
        self.worker.note_activity(now);
        self.budget = BUDGET;
        if !self.opened {
            self.opened = true;
            *self.slot.waker.borrow_mut() = Some(cx.waker().clone());
            let verdict = self.conn.open(now, &mut desk.out, &mut desk.recorder);
            self.carry_out(verdict, now, 0, desk)?;
        }
        let signals = self.worker.signals.get();
        if self.signals_seen != signals {
            self.signals_seen = signals;
            self.signals(now, desk)?;
        }
        loop {
            if !self.queue.is_empty() {
                self.flush(cx, now, desk)?;
            }
            match self.then {
                Then::Go => {}
                Then::Close => return Poll::Ready(Ok(())),
                Then::Reset => {
                    reset_on_close(&self.stream.socket());
                    return Poll::Ready(Ok(()));
                }
                Then::HalfClose if self.queue.is_empty() && !self.fin_sent => {
                    self.fin_sent = true;
                    // A peer that is gone makes this fail; the next read says so.
                    let _ = self.stream.socket().shutdown(std::net::Shutdown::Write);
                }
                Then::HalfClose => {}
            }
            if self.budget == 0 {
                return self.step_aside(cx);
            }
            self.spend(0);
            let mut waits = true;
            if self.conn.wants_read() {
                waits = self.read(cx, &mut now, desk)?.is_pending();
            }
            // Behind the read: what has arrived in time is not late because we are. And once a turn: a service whose deadlines come
            // faster than they can be met must not keep its own connection waiting.
            if self.alarm_rang(cx, &mut now) {
                let may_be_late = waits || self.conn.is_silence_due(now);
                if may_be_late && self.conn.wants_read() && unread(&self.stream.socket()) > 0 {
                    // The timers were looked at before the sockets, as after a long stop: the runtime is to look there first.
                    return self.step_aside(cx);
                }
                waits = false;
                tell_unacknowledged(&mut self.conn, now, &self.stream.socket());
                let verdict = self.conn.timed_out(now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, now, 0, desk)?;
            }
            if waits && self.farewell.waits_for_input() && holds_nothing(&self.stream.socket()) {
                self.farewell.emptied();
            }
            let (stream, conn) = (&self.stream, &self.conn);
            if self.farewell.is_due(conn.is_paused(), || at_eof(&stream.socket())) {
                waits = false;
                let verdict = self.conn.drain(now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, now, 0, desk)?;
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Goes on in the next poll, but not before the runtime has looked for new events, the others' among them.
    fn step_aside(&self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Poll::Pending
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: &mut Instant,
        desk: &mut TaskContext,
    ) -> Result<Poll<()>, CloseReason> {
        let most = self.conn.read_limit().min(WIRE);
        let n = match self.stream.poll_read(cx, &mut desk.wire[..most]) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => return Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => return Err(CloseReason::of(&error)),
            Poll::Ready(Ok(n)) => n,
        };
        if self.budget < BUDGET - STEP {
            // Not the first of this poll: time has passed.
            *now = Instant::now();
        }
        let now = *now;
        self.spend(n);
        self.farewell.read(n);
        let verdict = match n {
            0 => self.conn.received_eof(now, &mut desk.out, &mut desk.recorder),
            n => self.conn.received(now, &mut desk.wire[..n], &mut desk.out, &mut desk.recorder),
        };
        self.carry_out(verdict, now, n, desk)?;
        Ok(Poll::Ready(()))
    }

    /// Sends what a verdict says and reports what has left, until there is nothing more or the system takes no more. `n` bytes of the
    /// wire are what was received.
    fn carry_out(
        &mut self,
        verdict: Verdict,
        now: Instant,
        n: usize,
        desk: &mut TaskContext,
    ) -> Result<(), CloseReason> {
        let mut verdict = verdict;
        let mut echo = &desk.wire[..n][verdict.echo.clone()];
        // The answer itself is always tried. What is sent because of what was sent (a generator's, or held input's) must let others
        // have their turn.
        let mut first = true;
        loop {
            self.then = verdict.then;
            let total = echo.len() + desk.out.len();
            if self.then == Then::Reset {
                break;
            }
            let shares = self.conn.take_shares();
            if !shares.is_empty() {
                // They leave from the queue, which is looked at before anybody waits.
                self.queue.push(echo);
                self.queue.push_all(&desk.out, shares);
                break;
            }
            if total == 0 {
                break;
            }
            let mut left = 0;
            // Bytes leave in call order: behind a queue there is only queueing.
            while self.queue.is_empty() && left < total && (first || self.budget > 0) {
                let (first, second) = rest(echo, &desk.out, left);
                match self.stream.try_write(first, second) {
                    Ok(n) => left += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(CloseReason::of(&error)),
                }
            }
            if left < total {
                let (first, second) = rest(echo, &desk.out, left);
                self.queue.push(first);
                self.queue.push(second);
            }
            echo = &[];
            desk.out.clear();
            if left == 0 {
                break;
            }
            if !first {
                self.spend(left);
            }
            first = false;
            verdict = self.conn.sent(now, left, &mut desk.out, &mut desk.recorder);
        }
        desk.clear_output();
        Ok(())
    }

    /// Sends from the queue as far as the system takes it.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant, desk: &mut TaskContext) -> Result<(), CloseReason> {
        while !self.queue.is_empty() && self.budget > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let pieces = self.queue.slices(&mut slices);
            match self.stream.poll_write_vectored(cx, &slices[..pieces]) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(CloseReason::of(&error)),
                Poll::Ready(Ok(n)) => {
                    self.queue.consume(n);
                    let verdict = self.conn.sent(now, n, &mut desk.out, &mut desk.recorder);
                    self.spend(n);
                    self.carry_out(verdict, now, 0, desk)?;
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_sub(bytes.max(STEP));
    }

    fn signals(&mut self, now: Instant, desk: &mut TaskContext) -> Result<(), CloseReason> {
        if self.slot.cut.get() {
            return Err(CloseReason::Cut);
        }
        if self.slot.draining.get() && !self.farewell.has_begun() {
            self.farewell.begin(unread(&self.stream.socket()));
        }
        if self.slot.woken.replace(false) {
            let verdict = self.conn.woken(now, &mut desk.out, &mut desk.recorder);
            self.carry_out(verdict, now, 0, desk)?;
        }
        Ok(())
    }

    /// Has the connection's deadline passed? If not, sees to it that this task wakes by then.
    fn alarm_rang(&mut self, cx: &mut Context<'_>, now: &mut Instant) -> bool {
        let Some(deadline) = self.conn.deadline() else {
            self.alarm = None;
            return false;
        };
        if deadline <= *now {
            return true;
        }
        #[cfg(target_os = "linux")]
        if let Some(clock) = &self.worker.clock {
            // One that has rung is set no more.
            let set = self.precise_alarm.filter(|set| set > now);
            if set.is_none_or(|set| deadline < set) {
                clock.set(self.conn.info().id, self.precise_alarm, deadline, cx.waker());
                self.precise_alarm = Some(deadline);
            }
            return false;
        }
        let alarm = match &mut self.alarm {
            // It is set, and earlier than needed: there is nothing to ask it for.
            Some(alarm) if alarm.deadline() > (*now).into() && alarm.deadline() <= deadline.into() => return false,
            Some(alarm) => alarm,
            none => none.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
        };
        if alarm.deadline() > deadline.into() {
            alarm.as_mut().reset(deadline.into());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            // It rang for a deadline that has moved.
            *now = Instant::now();
            if deadline <= *now {
                return true;
            }
            alarm.as_mut().reset(deadline.into());
        }
        false
    }
}

/// What is left of `first` and `second` when `n` bytes of both together are gone.
fn rest<'a>(first: &'a [u8], second: &'a [u8], n: usize) -> (&'a [u8], &'a [u8]) {
    match n.checked_sub(first.len()) {
        None => (&first[n..], second),
        Some(n) => (&[], &second[n..]),
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.worker);
        let mut desk = worker.task_context.borrow_mut();
        // A panic in a service ends its own connection only.
        let advanced = catch_unwind(AssertUnwindSafe(|| self.advance(cx, &mut desk)));
        let end = match advanced.unwrap_or(Poll::Ready(Err(CloseReason::Panicked))) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(end) => end,
        };
        desk.clear_output();
        let Self { stream, conn, .. } = &mut *self;
        bury(conn, end, &stream.socket(), &mut desk.recorder);
        Poll::Ready(())
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(clock) = &self.worker.clock {
            clock.forget(self.conn.info().id, self.precise_alarm);
        }
        self.worker.remove(self.conn.info().id);
    }
}
