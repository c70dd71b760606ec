//! [`AcceptQueue`]: what every engine does with the connections that a listener accepts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::{Conn, Endpoint};
use socket2::{SockRef, Socket};

use super::accept::{AcceptError, RateLimitedLog};
use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::listener::{BACKLOG, Listener};
use super::local::WorkerLocal;
use super::shared::Shared;
use super::socket::{ResetOnDrop, endpoint, set_accepted_options};

/// A connection on its way from the listener to its worker.
pub(crate) struct AcceptedConnection {
    socket: ResetOnDrop,
    peer: Endpoint,
    local: Option<Endpoint>,
    pub(crate) permit: ConnectionPermit,
}

impl AcceptedConnection {
    /// Makes the state machine of the connection, and with it the service.
    pub(crate) fn open(
        self,
        shared: &Shared,
        worker: Option<&WorkerLocal>,
    ) -> Option<(Socket, Conn, ConnectionPermit)> {
        let Self { socket, peer, local, permit } = self;
        let socket = socket.serve()?;
        let inherits = !shared.limits.has_changed();
        set_accepted_options(&SockRef::from(&socket), &peer, &shared.limits.get(), inherits, shared.is_relay());
        let local = local.unwrap_or_else(|| socket.local_addr().map_or(Endpoint::Unknown, |a| endpoint(&a)));
        let conn = shared.accepted(peer, local, &permit, worker)?;
        Some((socket, conn, permit))
    }
}

/// A listener, and the connections it has accepted that have no place yet.
pub(crate) struct AcceptQueue {
    listener: Listener,
    rest: WaitingConnections,
}

/// Accepted connections that have no place yet. They outlive a listener that was given up.
pub(crate) struct WaitingConnections {
    /// The number of the listener that has accepted them.
    listener: u16,
    limit: Arc<ConnectionLimit>,
    /// The local address, if all connections have the same.
    local: Option<Endpoint>,
    waiting: VecDeque<(ResetOnDrop, Endpoint, ConnectionPermit)>,
    log: RateLimitedLog,
    /// The log has reported that the first one waits.
    is_full: bool,
}

impl AcceptQueue {
    pub(crate) fn new(listener: Listener, limit: Arc<ConnectionLimit>) -> Self {
        let local = match listener.address() {
            Endpoint::Tcp(tcp) if tcp.ip().is_unspecified() => None,
            address => Some(address.clone()),
        };
        let (number, waiting, log) = (listener.number, VecDeque::new(), RateLimitedLog::default());
        Self { listener, rest: WaitingConnections { listener: number, limit, local, waiting, log, is_full: false } }
    }

    /// Closes the listener, as far as this server is concerned, and keeps what it has accepted.
    pub(crate) fn unlisten(self) -> WaitingConnections {
        self.rest
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(crate) fn limit(&self) -> &Arc<ConnectionLimit> {
        &self.rest.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Queues an accepted socket, if its peer is allowed to connect, or resets it.
    pub(crate) fn push(&mut self, socket: Socket, peer: Endpoint) {
        self.rest.log.went_well();
        self.rest.admit(socket, peer);
    }

    /// Logs that accepting failed. Returns whether to wait before the next try.
    pub(crate) fn must_wait(&mut self, error: &io::Error) -> bool {
        self.rest.log.must_wait(error, self.rest.limit.taken())
    }

    /// What has been accepted.
    pub(crate) fn waiting(&mut self) -> &mut WaitingConnections {
        &mut self.rest
    }

    /// The next connection, with a place; `None` if no connection waits or the limit is reached.
    pub(crate) fn pop(&mut self) -> Option<AcceptedConnection> {
        self.rest.pop()
    }

    /// At the drain: the next connection, also from the backlog of the system, which may hold
    /// `tries` more. The listener must not block.
    pub(crate) fn pop_last(&mut self, tries: &mut usize) -> Option<AcceptedConnection> {
        while self.rest.is_empty() {
            *tries = tries.checked_sub(1)?;
            match self.listener.socket().accept() {
                Ok((socket, peer)) => self.rest.admit(socket, endpoint(&peer)),
                Err(error) if AcceptError::of(&error) == AcceptError::Next => {}
                Err(_) => return None,
            }
        }
        self.pop()
    }
}

impl WaitingConnections {
    fn admit(&mut self, socket: Socket, peer: Endpoint) {
        let socket = ResetOnDrop::new(socket);
        if let Some(permit) = self.limit.admit(self.listener, &peer, Instant::now()) {
            self.waiting.push_back((socket, peer, permit));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Logs that a connection cannot be served for want of a thread.
    pub(crate) fn log_error(&mut self, error: &io::Error) {
        self.log.error(error, self.limit.taken());
    }

    /// The next connection, with a place; `None` if no connection waits or the limit is reached.
    pub(crate) fn pop(&mut self) -> Option<AcceptedConnection> {
        if !self.waiting.front_mut()?.2.take_place() {
            if !std::mem::replace(&mut self.is_full, true) {
                self.log.full(self.limit.most());
            }
            return None;
        }
        self.is_full = false;
        let (socket, peer, permit) = self.waiting.pop_front()?;
        Some(AcceptedConnection { socket, peer, local: self.local.clone(), permit })
    }
}

/// Connections and errors that a drain takes from a backlog at most: it never holds more.
pub(crate) const LAST_TRIES: usize = BACKLOG as usize;
