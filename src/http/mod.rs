//! The HTTP servers of `--admin` and `--control`: hyper, with limits on clients, time and bytes.
//!
//! They run on the runtime that supervises the program, with a task for each client. A worker never
//! waits for a client.

mod activity;
mod answer;
mod clients;
mod host;
mod replacement;
mod request;
mod stream;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

pub(crate) use self::answer::HttpAnswer;
use self::clients::HttpClients;
pub(crate) use self::clients::{HttpApi, HttpLimits};
pub(crate) use self::host::HostRule;
pub(crate) use self::replacement::Replacement;
pub(crate) use self::request::read_body;
use crate::advice;
use crate::inherited_sockets::InheritedSockets;

/// How long the listener rests when it cannot accept, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// The listener of a server, before the program starts.
pub(crate) struct HttpListener {
    listener: TcpListener,
    /// The flag and its address, for messages.
    key: String,
    pub(crate) address: SocketAddr,
    /// The system has chosen its port.
    pub(crate) is_chosen: bool,
    pub(crate) replacement: Replacement,
}

impl HttpListener {
    /// Listens on the address of a flag. `inherited` has the listener of a process that this one
    /// replaces, and passes it on; a load has none.
    pub(crate) fn bind(flag: &str, address: SocketAddr, inherited: Option<&mut InheritedSockets>) -> Result<Self> {
        let key = format!("{flag} {address}");
        let bind = || {
            let (listener, replacement) = match inherited {
                Some(inherited) => {
                    let (listener, handed_over) = inherited.beside(&key, || TcpListener::bind(address))?;
                    (listener, Replacement::of(handed_over))
                }
                None => (TcpListener::bind(address)?, Replacement::default()),
            };
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            anyhow::Ok((listener, bound, replacement))
        };
        let (listener, bound, replacement) = bind().map_err(|error| advice::unbound(&key, &error))?;
        Ok(Self {
            listener,
            key: format!("{flag} {bound}"),
            address: bound,
            is_chosen: address.port() == 0,
            replacement,
        })
    }

    /// Answers clients, and new ones until another process does. Completes when that one does and
    /// all clients here have their answers.
    pub(crate) async fn serve(self, limits: HttpLimits, api: Arc<impl HttpApi>) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("{}: {error}", self.key);
                return std::future::pending().await;
            }
        };
        let mut replacement = self.replacement;
        let mut clients = HttpClients::new(limits, replacement.clone());
        loop {
            let stream = tokio::select! {
                biased;
                // First: from then on no client is accepted here.
                () = replacement.completed() => break,
                () = clients.ended() => continue,
                accepted = listener.accept() => accepted,
            };
            match stream {
                Ok((stream, _)) => {
                    clients.serve(stream, &api);
                    // One that was disconnected closes its socket when its task runs.
                    tokio::task::yield_now().await;
                }
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
        drop(listener);
        clients.finish().await;
    }
}
