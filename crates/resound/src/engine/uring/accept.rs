//! The listeners of worker 0.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};

use super::inbox::AcceptedSocket;
use crate::engine::accept::{AcceptError, BACK_OFF, RateLimitedLog};
use crate::engine::connection_limit::{ConnectionLimit, ConnectionPermit};
use crate::engine::listener::{BACKLOG, Listener};
use crate::engine::socket::{ResetOnDrop, peer};
use crate::engine::sys::Ring;

/// With less room than this left, connections are accepted one by one, or too many would be in hand when there is none.
const AMPLE: usize = 2 * BACKLOG as usize;

#[derive(Clone, Copy, PartialEq, Eq)]
enum AcceptState {
    No,
    /// Until it is stopped.
    Many,
    Once,
    Stopping,
}

/// One listener, and what it has accepted.
pub(super) struct RingAcceptor {
    number: u32,
    listener: Listener,
    /// Where connections are accepted, if that is the same for all of them.
    local: Option<Endpoint>,
    armed: AcceptState,
    /// Accepted, and not yet handed out.
    in_hand: VecDeque<(ResetOnDrop, Endpoint, ConnectionPermit)>,
    /// After a shortage, not before this.
    not_before: Option<Instant>,
    complaints: RateLimitedLog,
    /// Somebody has been told that there is no room.
    full: bool,
    draining: bool,
}

impl RingAcceptor {
    pub(super) fn new(number: u32, listener: Listener) -> Self {
        let local = match listener.address() {
            Endpoint::Tcp(tcp) if tcp.ip().is_unspecified() => None,
            address => Some(address.clone()),
        };
        Self {
            number,
            listener,
            local,
            armed: AcceptState::No,
            in_hand: VecDeque::new(),
            not_before: None,
            complaints: RateLimitedLog::default(),
            full: false,
            draining: false,
        }
    }

    pub(super) fn accepted(
        &mut self,
        result: io::Result<OwnedFd>,
        more: bool,
        room: &Arc<ConnectionLimit>,
        now: Instant,
    ) {
        let stopped = self.armed == AcceptState::Stopping;
        if !more {
            self.armed = AcceptState::No;
        }
        match result {
            Ok(socket) => {
                self.complaints.went_well();
                self.let_in(socket.into(), room);
            }
            Err(error) if stopped && error.raw_os_error() == Some(libc::ECANCELED) => {}
            Err(error) => {
                // Where nobody has stopped it, it is as good as interrupted.
                let cancelled = error.raw_os_error() == Some(libc::ECANCELED);
                let error = if cancelled { io::ErrorKind::Interrupted.into() } else { error };
                if self.complaints.must_wait(&error, room.taken()) {
                    self.not_before = Some(now + BACK_OFF);
                }
            }
        }
    }

    /// Keeps a connection in hand, if it may come in.
    fn let_in(&mut self, socket: Socket, room: &Arc<ConnectionLimit>) {
        // The peer may be gone already: then its first receive will say so.
        let peer = peer(&SockRef::from(&socket));
        let socket = ResetOnDrop::new(socket);
        if let Some(permit) = room.admit(&peer, Instant::now()) {
            self.in_hand.push_back((socket, peer, permit));
        }
    }

    /// A connection with a place; `None` where there is neither.
    pub(super) fn next(&mut self, room: &Arc<ConnectionLimit>) -> Option<AcceptedSocket> {
        if !self.in_hand.front_mut()?.2.take_place() {
            if !std::mem::replace(&mut self.full, true) {
                self.complaints.full(room.most());
            }
            return None;
        }
        self.full = false;
        let (socket, peer, permit) = self.in_hand.pop_front()?;
        Some(AcceptedSocket { socket, peer, local: self.local.clone(), place: permit })
    }

    /// Accepts on, unless somebody is still in hand or it is too early. Says whether it waits for room, and when to try again.
    pub(super) fn go_on(&mut self, ring: &mut Ring<'_>, room: &ConnectionLimit, now: Instant) -> Option<Instant> {
        if self.draining {
            return None;
        }
        if !self.in_hand.is_empty() {
            self.stop(ring);
            return Some(now + BACK_OFF);
        }
        if let Some(at) = self.not_before {
            if now < at {
                return Some(at);
            }
            self.not_before = None;
        }
        let ample = room.left() >= AMPLE;
        match self.armed {
            AcceptState::No => {
                self.armed = if ample { AcceptState::Many } else { AcceptState::Once };
                ring.accept(self.number, self.listener.socket().as_fd(), ample);
            }
            AcceptState::Many if !ample => self.stop(ring),
            _ => {}
        }
        None
    }

    fn stop(&mut self, ring: &mut Ring<'_>) {
        if matches!(self.armed, AcceptState::Many | AcceptState::Once) {
            self.armed = AcceptState::Stopping;
            ring.cancel_accept(self.number);
        }
    }

    pub(super) fn waits_for_room(&self) -> bool {
        !self.in_hand.is_empty()
    }

    /// A descriptor may be free again.
    pub(super) fn try_again(&mut self) {
        self.not_before = None;
    }

    /// Accepts no more by way of the ring.
    pub(super) fn drain(&mut self, ring: &mut Ring<'_>) {
        self.draining = true;
        self.stop(ring);
    }

    /// Has the ring let go of the listener?
    pub(super) fn is_stopped(&self) -> bool {
        self.armed == AcceptState::No
    }

    /// Whoever is still in the backlog, as far as there is room.
    pub(super) fn rest(&mut self, room: &Arc<ConnectionLimit>) -> Vec<AcceptedSocket> {
        let mut rest = Vec::new();
        if self.listener.socket().set_nonblocking(true).is_err() {
            return rest;
        }
        // At most as many as can have been waiting: errors do not count for ever either.
        for _ in 0..BACKLOG {
            if self.in_hand.is_empty() {
                match self.listener.socket().accept() {
                    Ok((socket, _)) => self.let_in(socket, room),
                    Err(error) if AcceptError::of(&error) == AcceptError::Next => continue,
                    Err(_) => break,
                }
                if self.in_hand.is_empty() {
                    continue;
                }
            }
            match self.next(room) {
                Some(accepted) => rest.push(accepted),
                None => break,
            }
        }
        rest
    }
}
