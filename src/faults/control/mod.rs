//! `--control`: an HTTP API beside a server or a relay, for tests that set faults and read what
//! they caused.
//!
//! Requests never wait for a worker, and a worker never waits for a client: it appends to a log.

mod api;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use resound_console::Console;

use self::api::ControlApi;
pub(crate) use self::api::{ListedConnection, OpenConnections};
use super::events::EventLog;
use super::setter::FaultSetter;
use crate::http::{HostRule, HttpLimits, HttpListener};
use crate::inherited_sockets::InheritedSockets;

/// 32 clients are served, and another 32 are told that there are too many.
const LIMITS: HttpLimits = HttpLimits { served: 32, connected: 64 };
/// Descriptors that the listener and its clients take.
pub(crate) const DESCRIPTORS: usize = LIMITS.descriptors();

/// The listener of the API, before the program starts.
pub(crate) struct ControlListener(HttpListener);

impl ControlListener {
    pub(crate) fn bind(address: SocketAddr, inherited: &mut InheritedSockets) -> Result<Self> {
        Ok(Self(HttpListener::bind("--control", address, Some(inherited))?))
    }

    /// Prints the address, and a warning if other machines can connect. An address that the system
    /// has chosen is printed on `loud` too.
    pub(crate) fn announce(&self, console: &Console, loud: Option<&Console>) {
        let address = self.0.address;
        console.control(address);
        loud.filter(|_| self.0.is_chosen).into_iter().for_each(|loud| loud.control(address));
        if !address.ip().is_loopback() {
            tracing::warn!("--control {address} can be reached from other machines, and asks for no password");
        }
    }

    /// Answers clients for as long as it is polled, and new ones until another process does.
    pub(crate) async fn serve(self, setter: FaultSetter, log: Arc<EventLog>, connections: OpenConnections) {
        let host = HostRule { names: Vec::new(), flag: None };
        let api = ControlApi { setter, log, connections, host };
        self.0.serve(LIMITS, Arc::new(api)).await;
        std::future::pending().await
    }
}
