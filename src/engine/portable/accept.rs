//! The accept loop: one task per listener, on worker 0.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use socket2::{SockRef, Socket};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::worker::Worker;
use super::{Accepted, Command};
use crate::engine::accept::{AcceptError, BACK_OFF, Complaints};
use crate::engine::listener::Listener;
use crate::engine::room::Room;
use crate::engine::socket::{endpoint, set_accepted_options};
use crate::service::Endpoint;

enum Source {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

pub(super) struct Acceptor {
    source: Source,
    listener: Listener,
    /// Where connections are accepted, if that is the same for all of them.
    local: Option<Endpoint>,
    room: Arc<Room>,
    others: Vec<mpsc::UnboundedSender<Command>>,
    complaints: Complaints,
}

impl Acceptor {
    pub(super) fn new(
        listener: Listener,
        room: Arc<Room>,
        others: Vec<mpsc::UnboundedSender<Command>>,
    ) -> io::Result<Self> {
        let socket = listener.socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let (source, local) = match listener.address() {
            #[cfg(unix)]
            address @ Endpoint::Unix(_) => {
                (Source::Unix(UnixListener::from_std(socket.into())?), Some(address.clone()))
            }
            address => {
                let fixed = matches!(address, Endpoint::Tcp(tcp) if !tcp.ip().is_unspecified());
                (Source::Tcp(TcpListener::from_std(socket.into())?), fixed.then(|| address.clone()))
            }
        };
        Ok(Self { source, listener, local, room, others, complaints: Complaints::default() })
    }

    /// Accepts until `draining` is set, and then whoever is still in the backlog.
    pub(super) async fn run(mut self, worker: Rc<Worker>, mut draining: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = draining.wait_for(|&draining| draining) => break,
                accepted = self.next() => accepted,
            };
            self.hand_out(accepted, &worker);
        }
        while !self.room.is_full() {
            match self.listener.socket().accept() {
                Ok((socket, peer)) => {
                    if socket.set_nonblocking(true).is_ok() {
                        let peer = endpoint(&peer);
                        self.hand_out((socket, peer), &worker);
                    }
                }
                Err(error) if AcceptError::of(&error) == AcceptError::Next => {}
                Err(_) => break,
            }
        }
    }

    /// The next connection that there is room for.
    async fn next(&mut self) -> (Socket, Endpoint) {
        loop {
            if self.room.is_full() {
                self.complaints.full(self.room.most());
                self.room.freed(BACK_OFF).await;
                continue;
            }
            match self.source.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if AcceptError::of(&error) == AcceptError::Next => {}
                Err(error) => {
                    self.complaints.error(&error, self.room.taken());
                    self.room.freed(BACK_OFF).await;
                }
            }
        }
    }

    fn hand_out(&self, (socket, peer): (Socket, Endpoint), worker: &Rc<Worker>) {
        // All accept loops run on this thread, and none has waited since it saw that there was room.
        let Some(place) = self.room.take() else { return };
        set_accepted_options(&SockRef::from(&socket), &peer, worker.limits());
        let accepted = Accepted { socket, peer, local: self.local.clone(), place };
        match accepted.place.worker() {
            0 => worker.serve(accepted),
            other => drop(self.others[other - 1].send(Command::Serve(accepted))),
        }
    }
}

impl Source {
    async fn accept(&self) -> io::Result<(Socket, Endpoint)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::from(stream.into_std()?), peer.into()))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = Endpoint::Unix(peer.as_pathname().map(Into::into));
                Ok((Socket::from(stream.into_std()?), peer))
            }
        }
    }
}
