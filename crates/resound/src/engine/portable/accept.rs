//! The accept loop: one task per listener, on worker 0.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};
#[cfg(unix)]
use tokio::io::Interest;
#[cfg(not(unix))]
use tokio::net::TcpListener as Watch;
#[cfg(unix)]
use tokio::net::TcpStream as Watch;
use tokio::sync::{mpsc, watch};

use super::worker::PortableWorker;
use super::{AcceptedStream, WorkerCommand};
use crate::engine::accept::{AcceptError, BACK_OFF, RateLimitedLog};
use crate::engine::connection_limit::{ConnectionLimit, ConnectionPermit};
use crate::engine::listener::{BACKLOG, Listener};
use crate::engine::socket::{ResetOnDrop, endpoint};

/// A listening socket with what wakes its task. On Unix that is a stream of tokio's, which is not read: its listeners would register each
/// connection with this worker's runtime, though it may be refused, or be another worker's; nor its `AsyncFd`, which only `unsafe` code can make.
struct WatchedListener(Watch);

pub(super) struct AsyncAcceptor {
    source: WatchedListener,
    listener: Listener,
    /// Where connections are accepted, if that is the same for all of them.
    local: Option<Endpoint>,
    room: Arc<ConnectionLimit>,
    others: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    complaints: RateLimitedLog,
    /// Accepted, and not yet handed out.
    accepted: Option<(ResetOnDrop, Endpoint, ConnectionPermit)>,
}

impl AsyncAcceptor {
    pub(super) fn new(
        listener: Listener,
        room: Arc<ConnectionLimit>,
        others: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    ) -> io::Result<Self> {
        let socket = listener.socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let source = WatchedListener(Watch::from_std(socket.into())?);
        let local = match listener.address() {
            Endpoint::Tcp(tcp) if tcp.ip().is_unspecified() => None,
            address => Some(address.clone()),
        };
        Ok(Self { source, listener, local, room, others, complaints: RateLimitedLog::default(), accepted: None })
    }

    /// Accepts until `draining` is set, and then whoever is still in the backlog.
    pub(super) async fn run(mut self, worker: Rc<PortableWorker>, mut draining: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                _ = draining.wait_for(|&draining| draining) => break,
                () = self.next() => self.hand_out(&worker),
            }
        }
        // At most as many as can have been waiting: errors do not count for ever either.
        for _ in 0..BACKLOG {
            if self.accepted.is_none() {
                match self.listener.socket().accept() {
                    Ok((socket, peer)) => self.let_in(socket, endpoint(&peer)),
                    Err(error) if AcceptError::of(&error) == AcceptError::Next => continue,
                    Err(_) => break,
                }
                if self.accepted.is_none() {
                    continue;
                }
            }
            if !self.takes_place() {
                break;
            }
            self.hand_out(&worker);
        }
    }

    /// Accepts the next connection, and finds a place for it. May be given up and called again.
    async fn next(&mut self) {
        while self.accepted.is_none() {
            match self.source.accept().await {
                Ok((socket, peer)) => {
                    self.complaints.went_well();
                    self.let_in(socket, peer);
                }
                Err(error) => {
                    if self.complaints.must_wait(&error, self.room.taken()) {
                        self.room.freed(BACK_OFF).await;
                    }
                }
            }
        }
        let mut waits = false;
        while !self.takes_place() {
            if !waits {
                waits = true;
                self.complaints.full(self.room.most());
            }
            self.room.freed(BACK_OFF).await;
        }
    }

    /// Keeps a connection in hand, if it may come in.
    fn let_in(&mut self, socket: Socket, peer: Endpoint) {
        let is_ready = socket.set_nonblocking(true).is_ok();
        let socket = ResetOnDrop::new(socket);
        if let Some(permit) = self.room.admit(&peer, Instant::now()).filter(|_| is_ready) {
            self.accepted = Some((socket, peer, permit));
        }
    }

    /// Has the connection in hand a place, or does it get one now?
    fn takes_place(&mut self) -> bool {
        self.accepted.as_mut().is_some_and(|(_, _, permit)| permit.take_place())
    }

    fn hand_out(&mut self, worker: &Rc<PortableWorker>) {
        let Some((socket, peer, permit)) = self.accepted.take() else { return };
        let accepted = AcceptedStream { socket, peer, local: self.local.clone(), place: permit };
        match accepted.place.worker() {
            0 => worker.serve(accepted),
            other => drop(self.others[other - 1].send(WorkerCommand::Serve(accepted))),
        }
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
