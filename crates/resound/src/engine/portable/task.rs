//! One connection's task: the loop that [`Conn`](crate::conn::Conn)'s documentation describes, as a
//! future.

use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use resound_proto::{CloseReason, Conn};
use socket2::SockRef;
use tokio::time::Sleep;

use super::context::{CUT, DESCRIBED, DRAINING, PortableWorker, TaskContext, WIRE, WOKEN};
use super::lending::LentBuffer;
use super::task_set::TaskHandle;
use super::watched::WatchedSocket;
use crate::engine::accept_queue::AcceptedConnection;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::driver::{ConnectionEnd, Driver, DriverContext};
use crate::engine::local::ReadStreak;
use crate::engine::socket::{at_eof, failure, holds_nothing, reset_on_close, unread};

/// Bytes that one poll may move before the other connections get their turn.
const BUDGET: usize = 64 * 1024;
/// The cost of even the smallest step.
const STEP: usize = 4 * 1024;
/// The most pieces of one write.
const PIECES: usize = 16;

/// Starts the task of a connection that was accepted.
pub(super) fn serve(accepted: AcceptedConnection, worker: &Rc<PortableWorker>) {
    let Some((socket, conn, permit)) = accepted.open(&worker.shared, worker.local.as_ref()) else { return };
    // An error here concerns this connection only.
    if socket.set_nonblocking(true).is_err() {
        return reset_on_close(&SockRef::from(&socket));
    }
    if let Ok(stream) = WatchedSocket::new(socket, &conn.info().peer, &worker.watcher) {
        begin(stream, conn, permit, worker);
    }
}

/// Starts the task of a connection.
pub(super) fn begin(stream: WatchedSocket, conn: Conn, permit: ConnectionPermit, worker: &Rc<PortableWorker>) {
    worker.start(conn.info().id, |handle| ConnectionTask {
        stream,
        worker: Rc::clone(worker),
        signals_seen: 0,
        opened: false,
        streak: ReadStreak::default(),
        budget: BUDGET,
        driver: Driver::new(conn, permit.listener()),
        sleep: None,
        handle,
        _permit: permit,
    });
}

// In this order in memory: what each event needs is next to the front of the driver.
#[repr(C)]
struct ConnectionTask {
    stream: WatchedSocket,
    worker: Rc<PortableWorker>,
    /// [`PortableWorker::signals`] when this task last looked at its own.
    signals_seen: u64,
    opened: bool,
    streak: ReadStreak,
    /// The rest of this poll's budget.
    budget: usize,
    driver: Driver,
    /// Tokio's timer, on a worker without a clock. Exists only while there is a deadline.
    sleep: Option<Pin<Box<Sleep>>>,
    handle: Arc<TaskHandle>,
    _permit: ConnectionPermit,
}

impl ConnectionTask {
    /// Runs until the connection must wait or is over.
    fn advance(&mut self, cx: &mut Context<'_>, context: &mut TaskContext) -> Poll<ConnectionEnd> {
        context.driver.now = Instant::now();
        self.worker.note_activity(context.driver.now);
        self.budget = BUDGET;
        if !self.opened {
            self.opened = true;
            self.driver.allow_lending(self.worker.local.is_some());
            self.driver.open(&mut context.driver);
            self.send(0..0, context)?;
        }
        let signals = self.worker.signals.get();
        if self.signals_seen != signals {
            self.signals_seen = signals;
            self.take_signals(context)?;
        }
        loop {
            if !self.driver.queue.is_empty() {
                self.flush(cx, context)?;
            }
            let wants_report = match self.driver.apply_action(false, || self.stream.socket(), &mut context.driver) {
                ControlFlow::Break(end) => return Poll::Ready(end),
                ControlFlow::Continue(wants_report) => wants_report,
            };
            if self.budget == 0 && (self.driver.conn().wants_read() || !self.driver.queue.is_empty()) {
                return self.step_aside(cx);
            }
            self.spend(0);
            let mut waits = true;
            if wants_report {
                self.driver.report_socket(&self.stream.socket(), &mut context.driver);
                self.send(0..0, context)?;
            }
            if self.driver.conn().wants_read() {
                waits = self.read(cx, context)?.is_pending();
            } else if !self.driver.is_reset_by_peer() && self.stream.poll_failed(cx) {
                waits = false;
                self.fail(context)?;
            }
            // After the read, so that input which arrived in time does not count as late. Once per
            // turn, so that a service with very short deadlines still reads.
            if self.is_due(cx, context) {
                let may_be_late = waits || self.driver.conn().is_silence_due(context.driver.now);
                if may_be_late && self.driver.conn().wants_read() && unread(&self.stream.socket()) > 0 {
                    // The runtime fired the timers before it polled the sockets, as after a long
                    // stop. It polls them first.
                    return self.step_aside(cx);
                }
                waits = false;
                self.driver.timed_out(&self.stream.socket(), &mut context.driver);
                self.send(0..0, context)?;
            }
            if waits && self.driver.waits_for_input() && holds_nothing(&self.stream.socket()) {
                self.driver.input_is_complete();
            }
            let stream = &self.stream;
            if self.driver.drain_if_due(|| at_eof(&stream.socket()), &mut context.driver) {
                waits = false;
                self.send(0..0, context)?;
            }
            if waits && !wants_report {
                return Poll::Pending;
            }
        }
    }

    /// Continues in the next poll, but not before the runtime has polled for new events.
    fn step_aside(&self, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>, context: &mut TaskContext) -> Result<Poll<()>, CloseReason> {
        let streak = if self.worker.local.is_some() { self.streak.limit() } else { WIRE };
        let most = self.driver.conn().read_limit().min(WIRE).min(streak);
        let n = match self.stream.poll_read(cx, &mut context.wire[..most]) {
            // The error was reported to the send.
            Poll::Ready(Ok(0)) if self.driver.is_reset_by_peer() => return Err(CloseReason::Reset),
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => return Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => return Err(CloseReason::of(&error)),
            Poll::Ready(Ok(n)) => n,
        };
        if self.budget < BUDGET - STEP {
            // Not the first of this poll: time has passed.
            context.driver.now = Instant::now();
        }
        self.spend(n);
        self.streak.read(n);
        let Self { worker, driver, budget, .. } = self;
        let local = worker.local.as_ref().filter(|_| worker.lending.takes(n));
        driver.allow_lending(local.is_some());
        let echo = driver.received(&mut context.wire[..n], &mut context.driver);
        if let Some(local) = local
            && driver.take_lent()
            && let Some(to) = local.wakes.take_lent_to()
        {
            worker.lend(to, &mut context.wire, n);
            // The partner sends them first: what is read before that is copied.
            *budget = 0;
        }
        self.send(echo, context)?;
        Ok(Poll::Ready(()))
    }

    /// Sends the output of an event. The answer itself is always tried; what its departure produces
    /// (a generator's output, or that of input held back) leaves the others their turn.
    fn send(&mut self, echo: Range<usize>, context: &mut TaskContext) -> Result<(), CloseReason> {
        let TaskContext { wire, driver } = context;
        self.send_from(&wire[echo], driver)
    }

    /// Sends bytes and then the output.
    fn send_from(&mut self, bytes: &[u8], cx: &mut DriverContext) -> Result<(), CloseReason> {
        if self.driver.is_reset_by_peer() {
            drop(self.driver.take_shares());
            cx.clear_output();
            return Ok(());
        }
        let Self { driver, stream, budget, streak, .. } = self;
        let mut is_first = true;
        let sent = driver.send(bytes, cx, |first, second| {
            streak.sent();
            if is_first {
                is_first = false;
                return stream.try_write(first, second);
            }
            if *budget == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = stream.try_write(first, second)?;
            *budget = budget.saturating_sub(n.max(STEP));
            Ok(n)
        });
        sent.or_else(|reason| {
            // The next connection of this worker must not send it.
            cx.clear_output();
            self.breaks(reason, cx)
        })
    }

    /// Sends what the partner has received.
    fn forward(&mut self, part: LentBuffer, context: &mut TaskContext) -> Result<(), CloseReason> {
        let worker = Rc::clone(&self.worker);
        let n = self.driver.forward(part.bytes().len(), &context.driver);
        let sent = self.send_from(&part.bytes()[..n], &mut context.driver);
        worker.lending.give_back(part);
        sent?;
        let wakes = worker.local.as_ref().map(|local| &local.wakes);
        wakes.inspect(|wakes| wakes.note_forwarded());
        self.driver.woken(&mut context.driver);
        // A service that has ended is not woken.
        wakes.map(|wakes| wakes.take_forwarded());
        self.send(0..0, context)
    }

    /// The connection has failed, and no read is to meet that.
    fn fail(&mut self, context: &mut TaskContext) -> Result<(), CloseReason> {
        if self.worker.local.is_some() && self.driver.may_read() {
            // The error stays, for the read after the last byte.
            self.driver.handle_peer_reset(&mut context.driver);
            return Ok(());
        }
        self.stream.clear_failed();
        failure(&self.stream.socket()).map_or(Ok(()), Err)
    }

    /// The socket takes no more. A relay still passes on what the peer sent before its reset.
    fn breaks(&mut self, reason: CloseReason, cx: &mut DriverContext) -> Result<(), CloseReason> {
        if self.worker.local.is_none() || !self.driver.may_read() {
            return Err(reason);
        }
        self.driver.handle_peer_reset(cx);
        Ok(())
    }

    /// Sends from the queue as far as the system takes it.
    fn flush(&mut self, cx: &mut Context<'_>, context: &mut TaskContext) -> Result<(), CloseReason> {
        while !self.driver.queue.is_empty() && self.budget > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let pieces = self.driver.queue.slices(&mut slices);
            match self.stream.poll_write_vectored(cx, &slices[..pieces]) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return self.breaks(CloseReason::of(&error), &mut context.driver),
                Poll::Ready(Ok(n)) => {
                    self.streak.sent();
                    self.driver.sent_queued(n, &mut context.driver);
                    self.spend(n);
                    self.send(0..0, context)?;
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_sub(bytes.max(STEP));
    }

    fn take_signals(&mut self, context: &mut TaskContext) -> Result<(), CloseReason> {
        if self.handle.has(CUT) {
            return Err(CloseReason::Cut);
        }
        if self.handle.take(DESCRIBED) {
            self.worker.described(&self.driver, &self.stream.socket());
        }
        if self.handle.has(DRAINING) {
            self.driver.begin_drain(0, &self.stream.socket());
        }
        if self.handle.take(WOKEN) {
            if let Some(part) = self.worker.lending.take(self.driver.conn().info().id) {
                self.forward(part, context)?;
            }
            self.driver.woken(&mut context.driver);
            self.send(0..0, context)?;
        }
        Ok(())
    }

    /// Returns whether the deadline has passed. Sees to it otherwise that this task wakes by then.
    fn is_due(&mut self, cx: &mut Context<'_>, context: &mut TaskContext) -> bool {
        let now = &mut context.driver.now;
        let Some(deadline) = self.driver.conn().deadline() else {
            if self.sleep.take().is_some() {
                self.driver.replace_alarm(None);
            }
            return false;
        };
        if deadline <= *now {
            return true;
        }
        let Some(before) = self.driver.next_alarm(deadline, *now) else { return false };
        #[cfg(target_os = "linux")]
        if let Some(clock) = &self.worker.clock {
            clock.set(self.driver.conn().info().id, before, deadline, cx.waker());
            return false;
        }
        let _ = before;
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(deadline.into());
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
        };
        while sleep.as_mut().poll(cx).is_ready() {
            *now = Instant::now();
            if deadline <= *now {
                return true;
            }
            sleep.as_mut().reset(deadline.into());
        }
        false
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.worker);
        let mut context = worker.task_context.borrow_mut();
        // A panic in a service ends its own connection only.
        let advanced = catch_unwind(AssertUnwindSafe(|| self.advance(cx, &mut context)));
        let end = match advanced.unwrap_or(Poll::Ready(Err(CloseReason::Panicked))) {
            Poll::Pending => {
                worker.wake_partners();
                return Poll::Pending;
            }
            Poll::Ready(end) => end,
        };
        context.driver.clear_output();
        let Self { stream, driver, .. } = &mut *self;
        driver.report_closed(end, &stream.socket(), &mut context.driver);
        worker.wake_partners();
        Poll::Ready(())
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        let id = self.driver.conn().info().id;
        #[cfg(target_os = "linux")]
        if let Some(clock) = &self.worker.clock {
            clock.forget(id, self.driver.replace_alarm(None));
        }
        self.worker.remove(id);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_task_takes_little_memory() {
        // With the 8 bytes before it, a multiple of 16: the allocator wastes nothing.
        let size = size_of::<super::ConnectionTask>();
        assert!(size <= 440, "{size} bytes");
    }
}
