//! [`Handle`]: a server or a dialer that runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_proto::{ConnId, Endpoint};

use super::Engine;
use super::shared::{EngineControl, Latch, Shared};
use crate::metrics::Totals;

/// A [`Server`](crate::Server) or a [`Dialer`](crate::Dialer) that runs. Dropping it stops that at once.
pub struct Handle {
    pub(crate) control: Arc<dyn EngineControl>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) latch: Arc<Latch>,
    pub(crate) addresses: Vec<Endpoint>,
    pub(crate) engine: Engine,
    pub(crate) refusal: Option<String>,
}

impl Handle {
    /// The engine at work: what [`Engine::Auto`] has become, or what was asked for.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Why [`Engine::Auto`] has not become io_uring, where it has not.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Where a server listens, with the ports that were chosen for port 0; a dialer listens nowhere.
    #[must_use]
    pub fn addresses(&self) -> &[Endpoint] {
        &self.addresses
    }

    /// Shuts down gracefully: no new connections, what was received is answered, idle connections are closed at once, and what is still
    /// open after `timeout` is cut. Returns at once; [`Handle::wait`] or [`Handle::finished`] waits. Of several calls the earliest
    /// deadline holds.
    pub fn drain(&self, timeout: Duration) {
        let now = Instant::now();
        // A deadline too far away for the clock: a year will do.
        let deadline = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600));
        self.control.drain(deadline);
    }

    /// Shuts down at once: connections are cut.
    pub fn stop(&self) {
        self.drain(Duration::ZERO);
    }

    /// Calls [`Service::wake`](crate::Service::wake) of one connection soon, from any thread. Does nothing where the connection has ended.
    pub fn wake(&self, conn: ConnId) {
        self.control.wake(conn);
    }

    /// Calls [`Service::wake`](crate::Service::wake) of every connection soon.
    pub fn wake_all(&self) {
        self.control.wake_all();
    }

    /// Connections that are open now, of each worker.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.shared.room.per_worker()
    }

    /// What was counted so far, over all workers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// Has it ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.latch.is_open()
    }

    /// Blocks until it has ended, and returns what it counted. A server's end takes a [`drain`](Handle::drain) or a
    /// [`stop`](Handle::stop); a dialer's comes by itself once there is nothing more to dial.
    pub fn wait(&self) -> Totals {
        self.latch.wait();
        self.totals()
    }

    /// As [`Handle::wait`], for async programs, on any runtime.
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
