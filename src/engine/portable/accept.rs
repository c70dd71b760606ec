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
use crate::engine::listener::{BACKLOG, Listener};
use crate::engine::room::{Place, Room};
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
    /// Accepted, and not yet handed out.
    accepted: Option<(Socket, Endpoint)>,
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
        Ok(Self { source, listener, local, room, others, complaints: Complaints::default(), accepted: None })
    }

    /// Accepts until `draining` is set, and then whoever is still in the backlog.
    pub(super) async fn run(mut self, worker: Rc<Worker>, mut draining: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                _ = draining.wait_for(|&draining| draining) => break,
                place = self.next() => self.hand_out(place, &worker),
            }
        }
        // At most as many as can have been waiting: errors do not count for ever either.
        for _ in 0..BACKLOG {
            if self.accepted.is_none() {
                match self.listener.socket().accept() {
                    Ok((socket, peer)) if socket.set_nonblocking(true).is_ok() => {
                        self.accepted = Some((socket, endpoint(&peer)));
                    }
                    Ok(_) => continue,
                    Err(error) if AcceptError::of(&error) == AcceptError::Next => continue,
                    Err(_) => break,
                }
            }
            let Some(place) = self.room.take() else { break };
            self.hand_out(place, &worker);
        }
    }

    /// Accepts the next connection, and finds a place for it. May be given up and called again.
    async fn next(&mut self) -> Place {
        while self.accepted.is_none() {
            match self.source.accept().await {
                Ok(accepted) => {
                    self.complaints.went_well();
                    self.accepted = Some(accepted);
                }
                Err(error) => {
                    if self.complaints.must_wait(&error, self.room.taken()) {
                        self.room.freed(BACK_OFF).await;
                    }
                }
            }
        }
        let mut waits = false;
        loop {
            if let Some(place) = self.room.take() {
                return place;
            }
            if !waits {
                waits = true;
                self.complaints.full(self.room.most());
            }
            self.room.freed(BACK_OFF).await;
        }
    }

    fn hand_out(&mut self, place: Place, worker: &Rc<Worker>) {
        let Some((socket, peer)) = self.accepted.take() else { return };
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
