//! The accept loop: one task per listener, on worker 0.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use resound_proto::Endpoint;
#[cfg(unix)]
use socket2::SockRef;
use socket2::Socket;
#[cfg(unix)]
use tokio::io::Interest;
#[cfg(not(unix))]
use tokio::net::TcpListener as Watch;
#[cfg(unix)]
use tokio::net::TcpStream as Watch;
use tokio::sync::{Notify, watch};

use super::context::PortableWorker;
use super::task;
use crate::engine::accept::BACK_OFF;
use crate::engine::accept_queue::{AcceptQueue, AcceptedConnection, WaitingConnections};
use crate::engine::listener::Listener;
#[cfg(unix)]
use crate::engine::socket::endpoint;
use crate::engine::workers::WorkerSet;

/// A listening socket, registered with the runtime.
///
/// On Unix it is registered as a stream, which is never read. Tokio's listeners would register each
/// accepted connection with this worker's runtime, although the connection may be refused or belong
/// to another worker; and only `unsafe` code can make an `AsyncFd`.
struct WatchedListener(Watch);

pub(super) struct AsyncAcceptor {
    source: WatchedListener,
    queue: AcceptQueue,
    set: Arc<WorkerSet<Notify>>,
}

/// Until when an acceptor accepts.
#[derive(Clone)]
pub(super) struct AcceptStops {
    pub(super) draining: watch::Receiver<bool>,
    /// The listeners are given up.
    pub(super) unlistened: watch::Receiver<bool>,
}

impl AsyncAcceptor {
    pub(super) fn new(listener: Listener, set: &Arc<WorkerSet<Notify>>) -> io::Result<Self> {
        let socket = listener.socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let source = WatchedListener(Watch::from_std(socket.into())?);
        let queue = AcceptQueue::new(listener, Arc::clone(&set.shared.room));
        Ok(Self { source, queue, set: Arc::clone(set) })
    }

    /// Accepts until the server drains, or until the listener is given up. Returns what has no
    /// place yet: what has been accepted, and at a drain also the backlog.
    pub(super) async fn run(mut self, worker: Rc<PortableWorker>, mut stops: AcceptStops) -> WaitingConnections {
        loop {
            tokio::select! {
                biased;
                _ = stops.draining.wait_for(|&draining| draining) => return self.queue.take_backlog(),
                _ = stops.unlistened.wait_for(|&unlistened| unlistened) => return self.queue.unlisten(),
                accepted = self.next() => hand_out(accepted, &self.set, &worker),
            }
        }
    }

    /// The next connection that has a place. May be cancelled and called again.
    async fn next(&mut self) -> AcceptedConnection {
        while self.queue.is_empty() {
            match self.source.accept().await {
                Ok((socket, peer)) => self.queue.push(socket, peer),
                Err(error) => {
                    if self.queue.must_wait(&error) {
                        self.queue.limit().freed(BACK_OFF).await;
                    }
                }
            }
        }
        loop {
            if let Some(accepted) = self.queue.pop() {
                return accepted;
            }
            self.queue.limit().freed(BACK_OFF).await;
        }
    }
}

/// Starts the task of a connection, or sends it to its worker.
pub(super) fn hand_out(accepted: AcceptedConnection, set: &Arc<WorkerSet<Notify>>, worker: &Rc<PortableWorker>) {
    if let Some(own) = set.hand_out(accepted) {
        task::serve(own, worker);
    }
}

impl WatchedListener {
    async fn accept(&self) -> io::Result<(Socket, Endpoint)> {
        #[cfg(unix)]
        {
            let accept = || SockRef::from(&self.0).accept();
            let (socket, peer) = self.0.async_io(Interest::READABLE, accept).await?;
            Ok((socket, endpoint(&peer)))
        }
        #[cfg(not(unix))]
        {
            let (stream, peer) = self.0.accept().await?;
            Ok((Socket::from(stream.into_std()?), peer.into()))
        }
    }
}
