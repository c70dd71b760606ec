//! One connection's task: the loop that [`Conn`]'s documentation describes, as a future.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::stream::Stream;
use super::worker::{Desk, Slot, Worker};
use crate::engine::room::Place;
use crate::engine::socket::{Farewell, reset_on_close, unread};
use crate::error::CloseReason;
use crate::proto::{Conn, Then, Verdict};

/// Bytes that one poll may move before the other connections get their turn. The runtime looks for new events only after 61 polls
/// (`event_interval`) while there is always one ready, so this bounds how long a flooder keeps the others waiting.
const BUDGET: usize = 64 * 1024;
/// What even the smallest step costs.
const STEP: usize = 4 * 1024;

pub(super) struct Task {
    stream: Stream,
    conn: Conn,
    /// What the system would not take yet; `from` on is unsent. Owns memory only while there is something.
    queue: Vec<u8>,
    from: usize,
    then: Then,
    fin_sent: bool,
    /// What is left of this poll's budget.
    budget: usize,
    opened: bool,
    farewell: Farewell,
    /// Armed lazily: it may be earlier than the connection's deadline, never later.
    alarm: Option<Pin<Box<Sleep>>>,
    slot: Rc<Slot>,
    worker: Rc<Worker>,
    ended: bool,
    _place: Place,
}

/// How a connection ends: as its verdict wanted, or before that.
type End = Result<(), CloseReason>;

impl Task {
    pub(super) fn new(stream: Stream, conn: Conn, slot: Rc<Slot>, worker: Rc<Worker>, place: Place) -> Self {
        Self {
            stream,
            conn,
            queue: Vec::new(),
            from: 0,
            then: Then::Go,
            fin_sent: false,
            budget: BUDGET,
            opened: false,
            farewell: Farewell::default(),
            alarm: None,
            slot,
            worker,
            ended: false,
            _place: place,
        }
    }

    /// Goes on until it must wait (`Pending`) or the connection is over.
    fn advance(&mut self, cx: &mut Context<'_>, desk: &mut Desk) -> Poll<End> {
        let mut now = Instant::now();
        self.budget = BUDGET;
        if !self.opened {
            self.opened = true;
            *self.slot.waker.borrow_mut() = Some(cx.waker().clone());
            let verdict = self.conn.open(now, &mut desk.out, &mut desk.recorder);
            self.carry_out(verdict, now, 0, desk)?;
        }
        if self.slot.signalled.replace(false) {
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
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.spend(0);
            if self.alarm_rang(cx, now) {
                let verdict = self.conn.timed_out(now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, now, 0, desk)?;
                continue;
            }
            if self.farewell.is_due() {
                let verdict = self.conn.drain(now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, now, 0, desk)?;
                continue;
            }
            if !self.conn.wants_read() {
                return Poll::Pending;
            }
            match self.stream.poll_read(cx, &mut desk.wire) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(CloseReason::of(&error))),
                Poll::Ready(Ok(0)) => {
                    let verdict = self.conn.received_eof(now, &mut desk.out, &mut desk.recorder);
                    self.carry_out(verdict, now, 0, desk)?;
                }
                Poll::Ready(Ok(n)) => {
                    self.spend(n);
                    self.farewell.read(n);
                    let verdict = self.conn.received(now, &mut desk.wire[..n], &mut desk.out, &mut desk.recorder);
                    self.carry_out(verdict, now, n, desk)?;
                }
            }
            if self.budget < BUDGET - STEP {
                now = Instant::now();
            }
        }
    }

    /// Sends what a verdict says and reports what has left, until there is nothing more or the system takes no more. `n` bytes of the
    /// wire are what was received.
    fn carry_out(&mut self, verdict: Verdict, now: Instant, n: usize, desk: &mut Desk) -> Result<(), CloseReason> {
        let mut verdict = verdict;
        let mut echo = &desk.wire[..n][verdict.echo.clone()];
        // One with more and more to say (a generator, or input that had been held up) must let others have their turn: what is sent
        // because of what was sent comes out of a budget too.
        let mut budget = BUDGET;
        loop {
            self.then = verdict.then;
            let total = echo.len() + desk.out.len();
            if total == 0 || self.then == Then::Reset {
                break;
            }
            let mut left = 0;
            // Bytes leave in call order: behind a queue there is only queueing.
            while self.queue.is_empty() && left < total && budget > 0 {
                let (first, second) = rest(echo, &desk.out, left);
                match self.stream.try_write(first, second) {
                    Ok(n) => left += n,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(CloseReason::of(&error)),
                }
            }
            let (first, second) = rest(echo, &desk.out, left);
            self.queue.extend_from_slice(first);
            self.queue.extend_from_slice(second);
            echo = &[];
            desk.out.clear();
            if left == 0 {
                self.budget = self.budget.min(budget);
                break;
            }
            verdict = self.conn.sent(now, left, &mut desk.out, &mut desk.recorder);
            budget = budget.saturating_sub(left.max(STEP));
        }
        desk.tidy();
        Ok(())
    }

    /// Sends from the queue as far as the system takes it.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant, desk: &mut Desk) -> Result<(), CloseReason> {
        while !self.queue.is_empty() && self.budget > 0 {
            match self.stream.poll_write(cx, &self.queue[self.from..]) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(CloseReason::of(&error)),
                Poll::Ready(Ok(n)) => {
                    self.from += n;
                    if self.from == self.queue.len() {
                        self.queue = Vec::new();
                        self.from = 0;
                    } else if self.from > self.queue.len() / 2 {
                        self.queue.drain(..self.from);
                        self.from = 0;
                    }
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

    fn signals(&mut self, now: Instant, desk: &mut Desk) -> Result<(), CloseReason> {
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
    fn alarm_rang(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(deadline) = self.conn.deadline() else {
            self.alarm = None;
            return false;
        };
        if deadline <= now {
            return true;
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if alarm.deadline() > deadline.into() {
            alarm.as_mut().reset(deadline.into());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            // It rang for a deadline that has moved.
            if deadline <= Instant::now() {
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

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.worker);
        let mut desk = worker.desk.borrow_mut();
        let end = match self.advance(cx, &mut desk) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(end) => end,
        };
        desk.tidy();
        self.ended = true;
        match end {
            Ok(()) => self.conn.closed(Instant::now(), &mut desk.recorder),
            Err(reason) => self.conn.lost(Instant::now(), reason, &mut desk.recorder),
        }
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            // A service panicked, or the runtime is going down under it.
            if let Ok(mut desk) = self.worker.desk.try_borrow_mut() {
                desk.tidy();
                self.conn.lost(Instant::now(), CloseReason::Panicked, &mut desk.recorder);
            }
        }
        self.worker.leave(self.conn.info().id);
    }
}
