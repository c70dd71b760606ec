//! [`HandoverSockets`]: the listening sockets of this process, for one that replaces it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use resound::server::Listener;
use tokio::sync::watch;

use super::HandedOver;

/// The listening sockets of this process, each under what was typed.
#[derive(Default)]
pub(crate) struct HandoverSockets {
    /// Those that the engine serves.
    served: Vec<(String, Vec<Listener>)>,
    /// Those of what runs beside it.
    beside: Vec<(String, OwnedFd)>,
    handed_over: watch::Sender<bool>,
}

impl HandoverSockets {
    /// Passes on listeners that the engine serves.
    pub(crate) fn pass_on(&mut self, key: String, listeners: &[Listener]) {
        self.served.push((key, listeners.iter().map(Listener::share).collect()));
    }

    /// Passes on a listener of what runs beside the engine.
    pub(crate) fn pass_beside(&mut self, key: &str, listener: &TcpListener) -> io::Result<()> {
        self.beside.push((key.into(), listener.as_fd().try_clone_to_owned()?));
        Ok(())
    }

    pub(crate) fn handed_over(&self) -> HandedOver {
        self.handed_over.subscribe()
    }

    pub(super) fn served(&self) -> impl Iterator<Item = &Listener> {
        self.served.iter().flat_map(|(_, listeners)| listeners)
    }

    /// Removes the files of unix sockets that this process has made.
    pub(super) fn remove_files(&self) {
        self.served().filter_map(Listener::owned_file).for_each(|path| drop(std::fs::remove_file(path)));
    }

    /// Lets the files of unix sockets go with them. Those of sockets that are not listened on any
    /// more are removed.
    pub(super) fn own(&mut self, files: &[(String, PathBuf)]) {
        for (key, path) in files {
            if !self.served.iter().any(|(other, _)| other == key) {
                let _ = std::fs::remove_file(path);
            }
            let of_key = self.served.iter_mut().filter(|(other, _)| other == key);
            for listener in of_key.flat_map(|(_, listeners)| listeners) {
                if let Err(error) = listener.own_file(path) {
                    tracing::warn!("unix:{} will be left behind: {error}", path.display());
                }
            }
        }
    }

    /// All sockets, by what was typed, with the file that goes with a unix socket.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&str, Vec<BorrowedFd<'_>>, Option<PathBuf>)> {
        let served = self.served.iter().map(|(key, listeners)| {
            let file = listeners.iter().find_map(Listener::owned_file).map(PathBuf::from);
            (key.as_str(), listeners.iter().map(AsFd::as_fd).collect(), file)
        });
        served.chain(self.beside.iter().map(|(key, socket)| (key.as_str(), vec![socket.as_fd()], None)))
    }

    /// Another process serves all of them.
    pub(super) fn hand_over(self) {
        self.handed_over.send_replace(true);
    }
}
