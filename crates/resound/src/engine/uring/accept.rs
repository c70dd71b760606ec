//! The listeners of worker 0.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use socket2::{SockRef, Socket};

use crate::engine::accept::BACK_OFF;
use crate::engine::accept_queue::{AcceptQueue, AcceptedConnection, WaitingConnections};
use crate::engine::connection_limit::ConnectionLimit;
use crate::engine::listener::{BACKLOG, Listener};
use crate::engine::socket::peer;
use crate::engine::sys::Ring;

/// With fewer free places than this, connections are accepted one by one. Otherwise too many would
/// wait here for a place.
const MULTISHOT_MIN_FREE: usize = 2 * BACKLOG as usize;

#[derive(Clone, Copy, PartialEq, Eq)]
enum AcceptState {
    Idle,
    /// Multishot: until it is cancelled.
    Multishot,
    SingleShot,
    Cancelling,
}

/// One listener, and the accept in flight on it.
pub(super) struct RingAcceptor {
    number: u32,
    queue: AcceptQueue,
    state: AcceptState,
    /// After a shortage: the time of the next try.
    not_before: Option<Instant>,
    stops: bool,
}

impl RingAcceptor {
    pub(super) fn new(number: u32, listener: Listener, limit: &Arc<ConnectionLimit>) -> Self {
        let queue = AcceptQueue::new(listener, Arc::clone(limit));
        Self { number, queue, state: AcceptState::Idle, not_before: None, stops: false }
    }

    /// An accept has completed.
    pub(super) fn accepted(&mut self, result: io::Result<OwnedFd>, more: bool, now: Instant) {
        let cancelling = self.state == AcceptState::Cancelling;
        if !more {
            self.state = AcceptState::Idle;
        }
        match result {
            Ok(descriptor) => {
                let socket = Socket::from(descriptor);
                // The peer may be gone already. Then the first receive fails.
                let peer = peer(&SockRef::from(&socket));
                self.queue.push(socket, peer);
            }
            Err(error) => {
                let cancelled = error.raw_os_error() == Some(libc::ECANCELED);
                if cancelled && cancelling {
                    return;
                }
                // A cancellation that this worker did not ask for is an interruption.
                let error = if cancelled { io::ErrorKind::Interrupted.into() } else { error };
                if self.queue.must_wait(&error) {
                    self.not_before = Some(now + BACK_OFF);
                }
            }
        }
    }

    /// The next connection that has a place.
    pub(super) fn next(&mut self) -> Option<AcceptedConnection> {
        self.queue.pop()
    }

    /// Accepts further connections, unless one waits for a place or it is too early. Returns when
    /// to try again.
    pub(super) fn accept(&mut self, ring: &mut Ring<'_>, now: Instant) -> Option<Instant> {
        if self.stops {
            return None;
        }
        if self.waits_for_place() {
            self.cancel(ring);
            return Some(now + BACK_OFF);
        }
        if let Some(at) = self.not_before {
            if now < at {
                return Some(at);
            }
            self.not_before = None;
        }
        let has_room = self.queue.limit().left() >= MULTISHOT_MIN_FREE;
        match self.state {
            AcceptState::Idle => {
                self.state = if has_room { AcceptState::Multishot } else { AcceptState::SingleShot };
                ring.accept(self.number, self.queue.listener().socket().as_fd(), has_room);
            }
            AcceptState::Multishot if !has_room => self.cancel(ring),
            _ => {}
        }
        None
    }

    fn cancel(&mut self, ring: &mut Ring<'_>) {
        if matches!(self.state, AcceptState::Multishot | AcceptState::SingleShot) {
            self.state = AcceptState::Cancelling;
            ring.cancel_accept(self.number);
        }
    }

    pub(super) fn waits_for_place(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A descriptor may be free again.
    pub(super) fn try_again(&mut self) {
        self.not_before = None;
    }

    /// Stops accepting through the ring, at a drain or where the listener is given up.
    pub(super) fn stop(&mut self, ring: &mut Ring<'_>) {
        self.stops = true;
        self.cancel(ring);
    }

    /// Returns whether the ring has released the listener.
    pub(super) fn is_stopped(&self) -> bool {
        self.state == AcceptState::Idle
    }

    /// Closes the listener, as far as this server is concerned, and keeps what it has accepted.
    pub(super) fn unlisten(self) -> WaitingConnections {
        self.queue.unlisten()
    }

    /// The same at a drain: keeps also what waits in the backlog.
    pub(super) fn take_backlog(self) -> WaitingConnections {
        match self.queue.listener().socket().set_nonblocking(true) {
            Ok(()) => self.queue.take_backlog(),
            Err(_) => self.queue.unlisten(),
        }
    }
}
