//! [`AcceptQueue`]: what every engine does with the connections that a listener accepts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::{CloseReason, Closed, Conn, ConnInfo, Endpoint, Observer};
use socket2::{SockRef, Socket};

use super::accept::{AcceptError, RateLimitedLog};
use super::connection_limit::{ConnectionLimit, ConnectionPermit, PlaceRequest};
use super::listener::{BACKLOG, Listener};
use super::local::WorkerLocal;
use super::recorder::Recorder;
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
    /// Each with the time when it was accepted.
    waiting: VecDeque<(ResetOnDrop, Endpoint, ConnectionPermit, Instant)>,
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
        self.rest.log.record_success();
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
        self.rest.pop(PlaceRequest::Free)
    }

    /// At the drain: closes the listener, and keeps also what waits in its backlog, for the system
    /// would reset that. The listener must not block.
    ///
    /// A listener that another process has passed on may outlive this process: what has no place
    /// here stays in its backlog, for the next process.
    pub(crate) fn take_backlog(mut self) -> WaitingConnections {
        let limit = Arc::clone(&self.rest.limit);
        for _ in 0..LAST_TRIES {
            if self.listener.is_inherited() && self.rest.waiting.len() >= limit.left() {
                break;
            }
            match self.listener.socket().accept() {
                Ok((socket, peer)) => self.rest.admit(socket, endpoint(&peer)),
                Err(error) if AcceptError::of(&error) == AcceptError::Next => {}
                Err(_) => break,
            }
        }
        self.rest
    }
}

impl WaitingConnections {
    fn admit(&mut self, socket: Socket, peer: Endpoint) {
        let socket = ResetOnDrop::new(socket);
        let now = Instant::now();
        if let Some(permit) = self.limit.admit(self.listener, &peer, now) {
            self.waiting.push_back((socket, peer, permit, now));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next connections of several listeners, with such places. Only what still waits stays.
    pub(crate) fn pop_all(
        lists: &mut Vec<Self>,
        request: PlaceRequest,
    ) -> impl Iterator<Item = AcceptedConnection> + use<> {
        let ready: Vec<_> = lists.iter_mut().flat_map(|list| std::iter::from_fn(|| list.pop(request))).collect();
        lists.retain(|list| !list.is_empty());
        ready.into_iter()
    }

    /// At the end of a drain: resets what has found no place, and reports it as cut.
    pub(crate) fn cut(self, shared: &Shared, recorder: &mut Recorder) {
        for (socket, peer, permit, since) in self.waiting {
            let info = ConnInfo::new(shared.next_number(), peer, self.local.clone().unwrap_or(Endpoint::Unknown));
            let (reason, lasted) = (CloseReason::Cut, since.elapsed());
            recorder.select(permit.listener());
            recorder.started();
            recorder.unopened(&info, &Closed { reason, bytes_in: 0, bytes_out: 0, messages: 0, lasted });
            drop(socket);
        }
    }

    /// Logs that a connection cannot be served for want of a thread.
    pub(crate) fn log_error(&mut self, error: &io::Error) {
        self.log.error(error, self.limit.taken());
    }

    /// The next connection, with a place; `None` if no connection waits or there is no such place.
    pub(crate) fn pop(&mut self, request: PlaceRequest) -> Option<AcceptedConnection> {
        if !self.waiting.front_mut()?.2.take_place(request) {
            if !std::mem::replace(&mut self.is_full, true) {
                self.log.full(self.limit.most());
            }
            return None;
        }
        self.is_full = false;
        let (socket, peer, permit, _) = self.waiting.pop_front()?;
        Some(AcceptedConnection { socket, peer, local: self.local.clone(), permit })
    }
}

/// Connections and errors that a drain takes from a backlog at most: it never holds more.
const LAST_TRIES: usize = BACKLOG as usize;
