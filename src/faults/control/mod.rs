//! `--control`: an HTTP API beside a server or a relay, for tests that set faults and read what
//! they caused.
//!
//! It runs on the runtime that supervises the program, with a task for each client. Requests never
//! wait for a worker, and a worker never waits for a client: it appends to a log.

mod api;
mod http;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use resound_console::Console;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::api::{ApiAnswer, ControlApi};
pub(crate) use self::api::{ListedConnection, OpenConnections};
use self::http::{HttpReply, HttpRequest, HttpStream, Incoming};
use super::events::{EventLog, LogReader};
use super::setter::FaultSetter;
use crate::advice;
use crate::http_host::HostRule;
use crate::inheritance::Inheritance;
use crate::upgrade::HandedOver;

/// Clients at once.
const MOST_CLIENTS: usize = 32;
/// Clients at once that are refused, for there are too many. Beyond that they are disconnected.
const MOST_REFUSED: usize = 32;
/// Descriptors that the listener, its copy for another process and its clients take.
pub(crate) const DESCRIPTORS: usize = MOST_CLIENTS + MOST_REFUSED + 2;
/// How long the listener rests when it cannot accept, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// The listener of the API, before the program starts.
pub(crate) struct ControlListener {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    handed_over: HandedOver,
}

impl ControlListener {
    pub(crate) fn bind(address: SocketAddr, inheritance: &mut Inheritance) -> Result<Self> {
        let key = format!("--control {address}");
        let mut bind = || {
            let (listener, handed_over) = inheritance.beside(&key, || TcpListener::bind(address))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            anyhow::Ok(Self { listener, address, handed_over })
        };
        bind().map_err(|error| advice::unbound(&key, &error))
    }

    /// Prints the address, and a warning if other machines can connect.
    pub(crate) fn announce(&self, console: &Console) {
        console.control(self.address);
        if !self.address.ip().is_loopback() {
            let address = self.address;
            tracing::warn!("--control {address} can be reached from other machines, and asks for no password");
        }
    }

    /// Answers clients for as long as the program runs, and new ones until another process does.
    pub(crate) async fn serve(mut self, setter: FaultSetter, log: Arc<EventLog>, connections: OpenConnections) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("--control {}: {error}", self.address);
                return std::future::pending().await;
            }
        };
        let host = HostRule { names: Vec::new() };
        let api = Arc::new(ControlApi { setter, log, connections, host });
        let (places, refusals) = (Arc::new(Semaphore::new(MOST_CLIENTS)), Arc::new(Semaphore::new(MOST_REFUSED)));
        // A client whose task panics is alone in that.
        let mut clients = JoinSet::new();
        loop {
            let stream = tokio::select! {
                _ = self.handed_over.wait_for(|&handed_over| handed_over) => break,
                accepted = listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
            };
            let Ok((stream, _)) = stream else {
                tokio::time::sleep(REST).await;
                continue;
            };
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let api = Arc::clone(&api);
                clients.spawn(async move {
                    converse(stream, &api).await;
                    drop(place);
                });
            } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                clients.spawn(async move {
                    refuse(stream).await;
                    drop(place);
                });
            }
        }
        drop(listener);
        while clients.join_next().await.is_some() {}
        std::future::pending().await
    }
}

/// Answers the requests of a client.
async fn converse(stream: TcpStream, api: &ControlApi) {
    let _ = stream.set_nodelay(true);
    let mut stream = HttpStream::new(stream);
    loop {
        let request = match stream.request().await {
            Incoming::Request(request) => request,
            Incoming::Refused(reply) => {
                let _ = stream.reply(&reply, false).await;
                return stream.finish().await;
            }
            Incoming::End => return,
        };
        let sent = match api.answer(&request) {
            ApiAnswer::Reply(reply) => stream.reply(&reply, request.keeps_alive).await,
            ApiAnswer::Events(reader) => events(&mut stream, reader, &request).await,
        };
        if sent.is_err() {
            return;
        }
        if !request.keeps_alive {
            return stream.finish().await;
        }
    }
}

/// Sends events until there are no more, or the client has left.
async fn events(stream: &mut HttpStream, mut reader: LogReader, request: &HttpRequest) -> std::io::Result<()> {
    stream.begin("application/x-ndjson", request).await?;
    loop {
        let log = reader.log();
        let mut news = std::pin::pin!(log.news());
        // Before the log is read, so that no event comes between.
        news.as_mut().enable();
        match reader.next() {
            None => return stream.end(request).await,
            Some(lines) if lines.is_empty() => tokio::select! {
                () = news => {}
                () = stream.left() => return Err(std::io::ErrorKind::NotConnected.into()),
            },
            Some(lines) => stream.part(&lines, request).await?,
        }
    }
}

/// Answers a client for whom there is no place.
async fn refuse(stream: TcpStream) {
    let mut stream = HttpStream::new(stream);
    if !matches!(stream.request().await, Incoming::End) {
        let _ = stream.reply(&HttpReply::error(503, "32 clients are connected already"), false).await;
        stream.finish().await;
    }
}
