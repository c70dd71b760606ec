//! [`Handle`]: a running server or dialer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use resound_proto::{ConnId, Endpoint, Limits};
use tokio::sync::oneshot;

use super::Engine;
use super::access::Access;
use super::acknowledgement::Acknowledgement;
use super::inspector::Inspector;
use super::listener::Listener;
use super::shared::{EngineControl, Latch, Shared};
use crate::error::Error;
use crate::metrics::Totals;

/// A running [`Server`](crate::Server) or [`Dialer`](crate::Dialer). Dropping the handle stops it
/// at once.
pub struct Handle {
    pub(crate) control: Arc<dyn EngineControl>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) latch: Arc<Latch>,
    pub(crate) addresses: Vec<Endpoint>,
    pub(crate) engine: Engine,
    pub(crate) refusal: Option<String>,
}

impl Handle {
    /// The engine in use: the choice of [`Engine::Auto`], or the one that was asked for.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Why [`Engine::Auto`] has not chosen io_uring, if it has not.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The addresses of a server's listeners, with the port that the system chose for port 0; none
    /// of a dialer. Their texts parse as [`Address`](crate::Address).
    #[must_use]
    pub fn addresses(&self) -> &[Endpoint] {
        &self.addresses
    }

    /// Begins a graceful shutdown, and returns at once: [`Handle::wait`] or [`Handle::finished`]
    /// waits. The server accepts no connection and answers what was received. A connection whose
    /// peer has not sent a FIN then waits for it up to [`Limits::linger`](crate::Limits::linger).
    /// What is still open after `timeout` is cut. Of several calls the earliest deadline holds.
    pub fn drain(&self, timeout: Duration) {
        let now = Instant::now();
        // A year, if the deadline is beyond the clock.
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600));
        self.shared.drains.store(true, Relaxed);
        self.control.drain(deadline);
    }

    /// Shuts down at once, and cuts all connections.
    pub fn stop(&self) {
        self.drain(Duration::ZERO);
    }

    /// Sets the limits of the connections that a server accepts, or a dialer makes, from now on.
    /// Open ones keep theirs.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.limits.set(limits);
    }

    /// Sets how many connections a server serves at once, at least 1, as
    /// [`Server::max_connections`](crate::Server::max_connections) does. Open connections stay even
    /// if they exceed a lower limit, and further ones wait.
    pub fn set_max_connections(&self, most: usize) {
        self.shared.room.set_most(most.max(1));
    }

    /// Sets which peers may connect to a server from now on. Open connections stay; a new limit per
    /// source counts those that were accepted after the first such limit. Whether the rules are for
    /// the clients that PROXY headers name ([`Access::behind_proxies`]) stays as it was with the
    /// first rules.
    pub fn set_access(&self, access: Access) {
        self.shared.room.set_access(access, self.addresses.len(), self.shared.has_handshakes(), Instant::now());
    }

    /// Gives the listeners up, and accepts no further connection. Open ones, and those that were
    /// accepted and wait for a place, are served as before.
    ///
    /// Where a listener has a [share](crate::server::Listener::share), clients that connect wait in
    /// its backlog, for this server ([`Handle::listen`]) or for another process that serves the
    /// same socket. Otherwise they are refused.
    ///
    /// Returns once no connection will be accepted here any more.
    pub async fn unlisten(&self) {
        let (stopped, all) = Acknowledgement::new();
        self.control.unlisten(stopped);
        all.all().await;
    }

    /// Accepts on these listeners again, after [`Handle::unlisten`]. Does nothing once a drain has
    /// begun. A relay must be given the listeners that it was started with.
    ///
    /// # Errors
    /// [`Error::Worker`] if the system refuses what accepting needs.
    pub async fn listen(&self, listeners: Vec<Listener>) -> Result<(), Error> {
        let mut listeners = listeners;
        for listener in &mut listeners {
            let at = self.addresses.iter().position(|address| address == listener.address());
            listener.count_as(at.unwrap_or(self.addresses.len()));
        }
        let (report, reported) = oneshot::channel();
        self.control.listen(listeners, Box::new(|result| drop(report.send(result))));
        // Without a report the server has ended.
        reported.await.unwrap_or(Ok(())).map_err(Error::Worker)
    }

    /// Returns once no connection is left, neither open nor waiting for a place. Further ones may
    /// come as long as the server accepts.
    pub async fn idle(&self) {
        self.shared.room.unused().await;
    }

    /// Returns once each loop of the engine has responded: each worker's or, on the threads engine,
    /// each accepting thread's. A worker that a service blocks does not respond.
    pub async fn heartbeat(&self) {
        let (turned, all) = Acknowledgement::new();
        self.control.heartbeat(&turned);
        drop(turned);
        all.all().await;
    }

    /// Calls [`Service::wake`](crate::Service::wake) of one connection soon. Can be called from any
    /// thread, and does nothing if the connection has ended.
    pub fn wake(&self, conn: ConnId) {
        self.control.wake(conn);
    }

    /// Calls [`Service::wake`](crate::Service::wake) of every connection soon.
    pub fn wake_all(&self) {
        self.control.wake_all();
    }

    /// The connections that are open now, by worker.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.shared.room.per_worker()
    }

    /// The accepted connections that are open now: of a relay, its clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.room.taken()
    }

    /// The counts so far, over all workers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// An inspector of this server or dialer, which does not keep it running.
    #[must_use]
    pub fn inspector(&self) -> Inspector {
        let (control, shared, latch) = (Arc::clone(&self.control), Arc::clone(&self.shared), Arc::clone(&self.latch));
        Inspector { control, shared, latch, addresses: self.addresses[..].into(), engine: self.engine }
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.latch.is_open()
    }

    /// Blocks until it has ended, and returns its counts. A server ends after a
    /// [`drain`](Handle::drain) or a [`stop`](Handle::stop), a dialer also when its plans are done
    /// and its connections have ended. All callbacks have returned then; what the service factories
    /// have captured is dropped at this time or a moment later.
    ///
    /// A service must not call this: its worker would wait for itself.
    pub fn wait(&self) -> Totals {
        self.latch.wait();
        self.totals()
    }

    /// As [`Handle::wait`], for async programs on any runtime.
    pub async fn finished(&self) -> Totals {
        self.latch.opened().await;
        self.totals()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
