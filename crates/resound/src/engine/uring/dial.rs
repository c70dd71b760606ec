//! The calls of one worker: connections that are being made.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use resound_proto::Conn;
use socket2::{SockRef, Socket};

use crate::engine::dial_driver::{DialDriver, address, no_answer};
use crate::engine::dial_plan::{DialRequest, NextDial};
use crate::engine::sys::Ring;

/// Calls that are made before the sockets get their turn.
const AT_ONCE: usize = 64;
/// A call that is interrupted this often, by nobody here, has failed.
const MOST_FAILURES: u8 = 100;

/// A connection that has been made.
pub(super) struct Connected {
    pub(super) socket: Socket,
    pub(super) conn: Conn,
}

/// One that is being made.
struct PendingConnect {
    call: DialRequest,
    socket: Socket,
    since: Instant,
    /// By then it is given up, if the clock reaches that far.
    until: Option<Instant>,
    given_up: bool,
    failures: u8,
}

pub(super) struct PendingDials {
    caller: DialDriver,
    pending: Vec<Option<PendingConnect>>,
    free: Vec<u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// When to ask the plan again; nothing where it waits.
    at: Option<Instant>,
    done: bool,
    /// Nobody wants to hear of those that are left.
    stopped: bool,
}

impl PendingDials {
    pub(super) fn new(caller: DialDriver, now: Instant) -> Self {
        Self {
            caller,
            pending: Vec::new(),
            free: Vec::new(),
            deadlines: BTreeSet::new(),
            at: Some(now),
            done: false,
            stopped: false,
        }
    }

    /// Nobody is called, and nobody will be.
    pub(super) fn are_done(&self) -> bool {
        self.done && self.free.len() == self.pending.len()
    }

    /// How long until something is to be done.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.at).min().map(|at| at.saturating_duration_since(now))
    }

    /// A connection has ended.
    pub(super) fn has_room(&mut self, now: Instant) {
        self.caller.has_room();
        self.at = (!self.done).then_some(now);
    }

    /// Makes no more calls, and gives up those that are under way.
    pub(super) fn stop(&mut self, ring: &mut Ring<'_>) {
        self.caller.stop();
        (self.done, self.stopped, self.at) = (true, true, None);
        for (_, number) in std::mem::take(&mut self.deadlines) {
            self.give_up(number, ring);
        }
    }

    /// Gives up whom nobody has answered, and asks the plan whom to call.
    pub(super) fn mind(&mut self, ring: &mut Ring<'_>, now: Instant) {
        while let Some(&(_, number)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            self.give_up(number, ring);
        }
        if self.at.is_none_or(|at| now < at) {
            return;
        }
        for _ in 0..AT_ONCE {
            match self.caller.next(now) {
                NextDial::Dial(call) => self.dial(call, ring),
                NextDial::At(at) => return self.at = Some(at),
                NextDial::Wait => return self.at = None,
                NextDial::Done => return (self.done, self.at) = (true, None),
            }
        }
        self.at = Some(now); // there is more, in the next turn
    }

    fn dial(&mut self, call: DialRequest, ring: &mut Ring<'_>) {
        let (socket, target) = match self.caller.socket(&call) {
            Ok(made) => made,
            Err(error) => return self.caller.failed(&call, &error),
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() as u32 - 1
        });
        ring.connect(number, socket.as_fd(), target);
        let since = Instant::now();
        let until = since.checked_add(call.timeout);
        self.deadlines.extend(until.map(|at| (at, number)));
        self.pending[number as usize] =
            Some(PendingConnect { call, socket, since, until, given_up: false, failures: 0 });
    }

    fn give_up(&mut self, number: u32, ring: &mut Ring<'_>) {
        if let Some(pending) = &mut self.pending[number as usize] {
            pending.given_up = true;
            ring.cancel_connect(number);
        }
    }

    /// A call is decided.
    pub(super) fn connected(
        &mut self,
        number: u32,
        result: i32,
        ring: &mut Ring<'_>,
        now: Instant,
    ) -> Option<Connected> {
        let slot = self.pending.get_mut(number as usize)?;
        let PendingConnect { call, socket, since, until, given_up, failures } = slot.take()?;
        if result == -libc::EALREADY && !given_up {
            // A call that was interrupted goes on by itself, and was repeated meanwhile: the socket says when it is decided.
            ring.connect_decides(number, socket.as_fd());
            *slot = Some(PendingConnect { call, socket, since, until, given_up, failures });
            return None;
        }
        let interrupted = matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
        if interrupted
            && !given_up
            && failures < MOST_FAILURES
            && let Ok(target) = address(&call.target)
        {
            // Not by us: as if it had not been made yet.
            ring.connect(number, socket.as_fd(), target);
            *slot = Some(PendingConnect { call, socket, since, until, given_up, failures: failures + 1 });
            return None;
        }
        self.free.push(number);
        if self.stopped {
            return None;
        }
        if let Some(until) = until {
            self.deadlines.remove(&(until, number));
        }
        self.at = self.at.or(Some(now)).filter(|_| !self.done);
        let error = match result {
            0 => None,
            // A call that was repeated may find itself answered.
            result if result > 0 || result == -libc::EISCONN => decided(&socket).err(),
            _ if given_up => Some(no_answer()),
            result => Some(io::Error::from_raw_os_error(-result)),
        };
        if let Some(error) = error {
            drop(socket); // the plan may want its descriptor
            self.caller.failed(&call, &error);
            return None;
        }
        let conn = self.caller.answered(&call, since, &SockRef::from(&socket))?;
        Some(Connected { socket, conn })
    }
}

/// How a call has ended that goes on by itself. Who has been told of an error already is told by the socket that it is not connected.
fn decided(socket: &Socket) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)?;
    socket.peer_addr().map(drop)
}
