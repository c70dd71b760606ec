//! [`Server`]: what to serve and how.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_proto::{ConnInfo, Handshake, Limits, Observer, Service};

use super::Engine;
use super::access::{Access, AccessControl};
use super::address::{Address, Family};
use super::config::EngineConfig;
use super::connection_limit::ConnectionLimit;
use super::descriptors::for_a_runtime;
#[cfg(feature = "fault-injection")]
use super::fault_config::FaultConfig;
use super::handle::Handle;
use super::launch::{Launched, launch};
use super::listener::Listener;
use super::shared::{ConnectionOrigin, Factory, HandshakeFactory};
use crate::error::Error;
use crate::metrics::Totals;

/// What to serve and how. [`Server::serve`] starts it.
///
/// ```
/// use resound::{Echo, Server};
///
/// # fn main() -> Result<(), resound::Error> {
/// let handle = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Echo)?;
/// println!("listening on {}", handle.addresses()[0]);
/// # handle.stop();
/// handle.wait(); // until somebody calls `drain` or `stop`
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves once `serve` is called"]
pub struct Server {
    basis: EngineConfig,
    max_connections: usize,
    listeners: Vec<Listener>,
    openings: Option<Box<HandshakeFactory>>,
    access: Access,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// The engine chosen by the system, with one worker per core, default [`Limits`], no cap on connections, and no listener yet.
    pub fn new() -> Self {
        Self {
            basis: EngineConfig::new(),
            max_connections: usize::MAX,
            listeners: Vec::new(),
            openings: None,
            access: Access::new(),
        }
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.basis.engine = engine;
        self
    }

    /// How many threads serve, [`MAX_WORKERS`](crate::server::MAX_WORKERS) at most. The threads engine has one per connection instead, and counts all of them as one worker.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.basis.workers = workers;
        self
    }

    /// A worker looks for events in a loop for this long after the last one, before it sleeps: answers come sooner, and a processor is busy
    /// meanwhile. Zero, the default, sleeps at once. The threads engine always does.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.basis.busy_poll(time);
        self
    }

    /// The congestion control of TCP connections, such as `cubic` (tcp(7), `TCP_CONGESTION`), where the system has a choice: Linux and
    /// FreeBSD. By default the system's.
    pub fn congestion(mut self, algorithm: impl Into<String>) -> Self {
        self.basis.congestion = Some(algorithm.into());
        self
    }

    /// Injects faults into the io_uring engine, for tests.
    #[cfg(feature = "fault-injection")]
    pub fn inject_faults(mut self, faults: FaultConfig) -> Self {
        self.basis.inject_faults(faults);
        self
    }

    /// What one connection may cost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.basis.limits = limits;
        self
    }

    /// How many connections are served at once. Further ones wait until one ends: one in hand for each listener, the others in the
    /// system's backlog. At least 1.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most.max(1);
        self
    }

    /// Who may connect; by default everybody.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Listens on an address such as `127.0.0.1:8888`, `[::]:0` or `unix:/run/echo.sock`; may be called again. See [`Listener::bind`].
    ///
    /// # Errors
    /// As [`Listener::bind`], and [`Error::Address`] for a text that is no address.
    pub fn listen(self, address: &str) -> Result<Self, Error> {
        let listeners = Listener::bind(&address.parse::<Address>()?, Family::Any)?;
        Ok(listeners.into_iter().fold(self, Self::listener))
    }

    /// Serves a listener that the caller has bound.
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets who watches: `observers` is called with a worker's number, on the thread that will use the observer, at least once for each
    /// worker (the threads engine asks once per connection, with number 0).
    pub fn observe<O: Observer + 'static>(mut self, observers: impl Fn(usize) -> O + Send + Sync + 'static) -> Self {
        self.basis.observers = Box::new(move |worker| Box::new(observers(worker)));
        self
    }

    /// Sets what comes before the service of each connection; by default nothing does. `opening` is called when a connection is accepted, and
    /// the service's factory once that is over.
    pub fn opening(mut self, opening: impl Fn(&ConnInfo) -> Handshake + Send + Sync + 'static) -> Self {
        self.openings = Some(Box::new(opening));
        self
    }

    /// Starts serving, on threads of the server's own. `service` is called for each connection that opens, on the thread that will drive it.
    ///
    /// # Errors
    /// [`Error::NoListener`], [`Error::Worker`] where no thread or event queue can be had, [`Error::Uring`] where that engine was asked for
    /// and is refused, and [`Error::Congestion`].
    pub fn serve<S: Service + 'static>(
        self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Result<Handle, Error> {
        self.launch(service, false)?.start()
    }

    /// Serves until the server has ended, and returns what it counted. The portable engine's first worker runs on this thread; the other
    /// engines have threads of their own. `supervise` is called with the handle before the
    /// first connection is accepted, and what it returns runs beside the server on a tokio runtime: it decides when to drain. When it
    /// drops the handle, the server stops.
    ///
    /// With one worker of the portable engine this is the only thread: the system then spares each call a little work that it
    /// has to do where threads share their descriptors.
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Panics
    /// Within a tokio runtime, which cannot be blocked (use [`Server::serve`] there), and where what runs beside the server panics.
    pub fn run<S: Service + 'static, F: Future<Output = ()> + 'static>(
        self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
        supervise: impl FnOnce(Handle) -> F,
    ) -> Result<Totals, Error> {
        let Launched { handle, pending } = self.launch(service, true)?;
        let (shared, latch) = (Arc::clone(&handle.shared), Arc::clone(&handle.latch));
        let control = Arc::clone(&handle.control);
        // Without worker 0 the other workers are of no use, even if the handle lives on.
        let rest = pending.run(supervise(handle), &latch).inspect_err(|_| control.drain(Instant::now()))?;
        if let Some(supervise) = rest {
            let runtime = for_a_runtime()
                .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
                .map_err(Error::Worker)?;
            runtime.block_on(async {
                tokio::select! {
                    // First, so that it gets its turn even if the server ends at once.
                    biased;
                    () = supervise => latch.opened().await,
                    () = latch.opened() => {}
                }
            });
        }
        Ok(shared.totals())
    }

    /// Starts the engine. Worker 0 of the portable engine may be left to run `here`.
    fn launch<S: Service + 'static>(
        self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
        here: bool,
    ) -> Result<Launched, Error> {
        if self.listeners.is_empty() {
            return Err(Error::NoListener);
        }
        for listener in &self.listeners {
            listener.prepare(&self.basis.limits)?;
            if let Some(algorithm) = &self.basis.congestion {
                listener.set_congestion(algorithm)?;
            }
        }
        let gate = AccessControl::new(self.access, self.openings.is_some(), Instant::now());
        let factory: Arc<Factory> = Arc::new(move |info| Box::new(service(info)));
        let origin = ConnectionOrigin::Accept { factory, openings: self.openings };
        let limit = |workers| ConnectionLimit::new(self.max_connections, workers, gate);
        launch(self.basis, origin, self.listeners, limit, here)
    }
}
