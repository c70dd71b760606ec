//! The pending dials of one worker.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use resound_proto::Conn;
use socket2::{SockRef, Socket};

use crate::engine::dial_driver::{DialDriver, address, no_answer};
use crate::engine::dial_plan::{DialRequest, NextDial};
use crate::engine::local::WorkerLocal;
use crate::engine::socket::{connect_result, was_accepted};
use crate::engine::sys::Ring;

/// Dials that start before the sockets get their turn.
const AT_ONCE: usize = 64;
/// A connect that is interrupted this often, although not cancelled here, has failed.
const MOST_FAILURES: u8 = 100;

/// A connection that was dialled.
pub(super) struct Connected {
    pub(super) socket: Socket,
    pub(super) conn: Conn,
}

/// A connect in flight.
struct PendingConnect {
    request: DialRequest,
    socket: Socket,
    since: Instant,
    /// When it times out; `None` if that is beyond the clock.
    until: Option<Instant>,
    cancelled: bool,
    failures: u8,
}

pub(super) struct PendingDials {
    driver: DialDriver,
    pending: Vec<Option<PendingConnect>>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// When to ask the plan again; `None` while it waits for an event.
    at: Option<Instant>,
    done: bool,
    /// The plan receives no more results.
    stopped: bool,
}

impl PendingDials {
    pub(super) fn new(driver: DialDriver, now: Instant) -> Self {
        Self {
            driver,
            pending: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            at: Some(now),
            done: false,
            stopped: false,
        }
    }

    /// What the services of a relay share.
    pub(super) fn local(&self) -> Option<WorkerLocal> {
        self.driver.local.clone()
    }

    /// The plan has something to dial.
    pub(super) fn ask(&mut self, now: Instant) {
        self.at = (!self.done).then_some(now);
    }

    /// Returns whether nothing is dialled and nothing will be.
    pub(super) fn are_done(&self) -> bool {
        self.done && self.free.len() == self.pending.len()
    }

    /// The time until the next timeout, or until the plan is asked again.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.at).min().map(|at| at.saturating_duration_since(now))
    }

    /// A connection has ended.
    pub(super) fn connection_ended(&mut self, now: Instant) {
        self.driver.connection_ended();
        self.ask(now);
    }

    /// Dials no more, and cancels the connects in flight.
    pub(super) fn stop(&mut self, ring: &mut Ring<'_>) {
        self.driver.stop();
        (self.done, self.stopped, self.at) = (true, true, None);
        for (_, number) in std::mem::take(&mut self.deadlines) {
            self.cancel(number, ring);
        }
    }

    /// Cancels the connects that have timed out, and asks the plan for further ones.
    pub(super) fn advance(&mut self, ring: &mut Ring<'_>, now: Instant) {
        while let Some(&(_, number)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            self.cancel(number, ring);
        }
        if self.at.is_none_or(|at| now < at) {
            return;
        }
        for _ in 0..AT_ONCE {
            match self.driver.next(now) {
                NextDial::Dial(request) => self.dial(request, ring),
                NextDial::At(at) => return self.at = Some(at),
                NextDial::Wait => return self.at = None,
                NextDial::Done => return (self.done, self.at) = (true, None),
            }
        }
        self.at = Some(now); // the rest follows in the next turn
    }

    fn dial(&mut self, request: DialRequest, ring: &mut Ring<'_>) {
        let (socket, target) = match self.driver.socket(&request) {
            Ok(made) => made,
            Err(error) => return self.driver.failed(&request, &error),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() as u32 - 1
        });
        ring.connect(number, socket.as_fd(), target);
        let since = Instant::now();
        let until = since.checked_add(request.timeout);
        self.deadlines.extend(until.map(|at| (at, number)));
        self.pending[number as usize] =
            Some(PendingConnect { request, socket, since, until, cancelled: false, failures: 0 });
    }

    fn cancel(&mut self, number: u32, ring: &mut Ring<'_>) {
        if let Some(pending) = &mut self.pending[number as usize] {
            pending.cancelled = true;
            ring.cancel_connect(number);
        }
    }

    /// A connect has succeeded or failed.
    pub(super) fn connected(
        &mut self,
        number: u32,
        result: i32,
        ring: &mut Ring<'_>,
        now: Instant,
    ) -> Option<Connected> {
        let slot = self.pending.get_mut(number as usize)?;
        let PendingConnect { request, socket, since, until, cancelled, failures } = slot.take()?;
        if result == -libc::EALREADY && !cancelled {
            // An interrupted connect goes on by itself, and was repeated meanwhile. The socket is
            // writable once it is decided.
            ring.poll_connect(number, socket.as_fd());
            *slot = Some(PendingConnect { request, socket, since, until, cancelled, failures });
            return None;
        }
        let interrupted = matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
        if interrupted
            && !cancelled
            && failures < MOST_FAILURES
            && let Ok(target) = address(&request.target)
        {
            // It was not cancelled here, so it is repeated.
            ring.connect(number, socket.as_fd(), target);
            *slot = Some(PendingConnect { request, socket, since, until, cancelled, failures: failures + 1 });
            return None;
        }
        self.free.push(number);
        if self.stopped {
            return None;
        }
        if let Some(until) = until {
            self.deadlines.remove(&(until, number));
        }
        self.ask(now);
        let error = match result {
            0 => None,
            // A repeated connect may find the connection established.
            result if result > 0 || result == -libc::EISCONN => decided(&socket).err(),
            _ if cancelled => Some(no_answer()),
            result => Some(io::Error::from_raw_os_error(-result)),
        };
        if let Some(error) = error {
            drop(socket); // the plan may want its descriptor
            self.driver.failed(&request, &error);
            return None;
        }
        let conn = self.driver.answered(&request, since, &SockRef::from(&socket))?;
        Some(Connected { socket, conn })
    }
}

/// The result of a connect that has gone on by itself. If its error was reported before, the socket
/// is not connected.
fn decided(socket: &Socket) -> io::Result<()> {
    connect_result(&SockRef::from(socket))?;
    if was_accepted(&SockRef::from(socket)) { Ok(()) } else { socket.peer_addr().map(drop) }
}
