//! [`Server`]: the settings of a server, and its start.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_faults::{FaultEvent, Role};
use resound_proto::{ConnInfo, Endpoint, Handshake, Limits, Observer, Service};

use super::Engine;
use super::access::{Access, AccessControl};
use super::address::{Address, Family};
use super::config::EngineConfig;
use super::connection_limit::ConnectionLimit;
use super::descriptors::for_a_runtime;
#[cfg(feature = "fault-injection")]
use super::fault_config::RingFaultConfig;
use super::faults::{ClosedListeners, LiveFaults, ServerFaults};
use super::handle::Handle;
use super::launch::{Launched, PendingLaunch, launch};
use super::listener::Listener;
use super::live_limits::LiveLimits;
use super::shared::{ConnectionOrigin, Factory, HandshakeFactory};
use crate::error::Error;
use crate::metrics::Totals;

/// The settings of a server. [`Server::serve`] starts it.
///
/// ```
/// use resound::{Echo, Server};
///
/// # fn main() -> Result<(), resound::Error> {
/// let handle = Server::new().listen("127.0.0.1:0")?.serve(|_conn| Echo)?;
/// println!("listening on {}", handle.addresses()[0]);
/// # handle.stop();
/// handle.wait(); // until another thread calls `drain` or `stop`
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves once `serve` is called"]
pub struct Server {
    config: EngineConfig,
    max_connections: usize,
    listeners: Vec<Listener>,
    handshakes: Option<Box<HandshakeFactory>>,
    access: Access,
    saves_syns: bool,
    faults: Option<ServerFaults>,
    /// Faults have closed them.
    has_closed_listeners: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// [`Engine::Auto`], one worker per core, default [`Limits`], no limit of connections, and no
    /// listener yet.
    pub fn new() -> Self {
        Self {
            config: EngineConfig::new(),
            max_connections: usize::MAX,
            listeners: Vec::new(),
            handshakes: None,
            access: Access::new(),
            saves_syns: false,
            faults: None,
            has_closed_listeners: false,
        }
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.config.engine = engine;
        self
    }

    /// Sets the number of threads that serve, at most [`MAX_WORKERS`](crate::server::MAX_WORKERS).
    /// The threads engine has one per connection instead, and counts all of them as one worker.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.config.workers = workers;
        self
    }

    /// Lets a worker poll for events for this long after the last one, before it sleeps: answers
    /// come sooner, and a processor is busy meanwhile. With zero, the default, it sleeps at once,
    /// as the threads engine always does.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.config.busy_poll(time);
        self
    }

    /// Sets the congestion control of TCP connections, such as `cubic` (tcp(7), `TCP_CONGESTION`),
    /// on Linux and FreeBSD. The default is the system's.
    pub fn congestion(mut self, algorithm: impl Into<String>) -> Self {
        self.config.congestion = Some(algorithm.into());
        self
    }

    /// Injects faults into the io_uring engine, for tests.
    #[cfg(feature = "fault-injection")]
    pub fn inject_ring_faults(mut self, faults: RingFaultConfig) -> Self {
        self.config.inject_ring_faults(faults);
        self
    }

    /// Sets the limits of each connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = LiveLimits::new(limits);
        self
    }

    /// Limits the connections that are served at once, to at least 1. Further ones wait until one
    /// ends: a few accepted ones at each listener, the others in the system's backlog.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most.max(1);
        self
    }

    /// Sets which peers may connect; by default all.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// With `true`, the system keeps the SYN of each TCP connection for the service's first report
    /// ([`Cx::report_socket`](crate::Cx::report_socket)), on Linux: see [`Listener::save_syns`].
    pub fn save_syns(mut self, wanted: bool) -> Self {
        self.saves_syns = wanted;
        self
    }

    /// Listens on an address such as `127.0.0.1:8888`, `[::]:0` or `unix:/run/echo.sock`. Can be
    /// called several times. See [`Listener::bind`].
    ///
    /// # Errors
    /// As [`Listener::bind`], and [`Error::Address`] for an invalid address.
    pub fn listen(self, address: &str) -> Result<Self, Error> {
        let listeners = Listener::bind(&address.parse::<Address>()?, Family::Any)?;
        Ok(listeners.into_iter().fold(self, Self::listener))
    }

    /// Lets connections suffer from faults on purpose, which may change while the server runs.
    /// `observer` receives each injection, on the thread that drives the connection, and must not
    /// block.
    ///
    /// What a client sends passes `up` through the faults to its service, and what that sends
    /// passes `down`, as through a relay: the same seed gives the same events. A server without
    /// this call is not concerned.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use resound::faults::LiveFaults;
    /// use resound::{Echo, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let faults = LiveFaults::of_server();
    /// faults.set("1: reset @3B".parse()?, 7)?;
    /// let server = Server::new().faults(&faults, |_conn, event| println!("{}", event.detail));
    /// let handle = server.listen("127.0.0.1:0")?.serve(|_| Echo)?;
    ///
    /// let mut client = std::net::TcpStream::connect(handle.addresses()[0].to_string())?;
    /// client.write_all(b"abcd")?;
    /// let mut answer = Vec::new();
    /// assert!(client.read_to_end(&mut answer).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn faults(
        mut self,
        faults: &LiveFaults,
        observer: impl Fn(&ConnInfo, &FaultEvent) + Send + Sync + 'static,
    ) -> Self {
        self.faults = Some(ServerFaults { live: faults.clone(), observer: Arc::new(observer) });
        self
    }

    pub(super) fn take_faults(&mut self) -> Option<ServerFaults> {
        self.faults.take()
    }

    /// Takes the listeners out that faults close.
    pub(super) fn close_listeners(&mut self, faults: &LiveFaults) -> ClosedListeners {
        let had_some = !self.listeners.is_empty();
        let closed = ClosedListeners::of(&mut self.listeners, faults);
        self.has_closed_listeners = had_some && self.listeners.is_empty();
        closed
    }

    pub(super) fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// Adds a listener that is bound already.
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets the observers: `observers` is called with the number of a worker, on the thread that
    /// uses the observer, at least once for each worker (on the threads engine once per connection,
    /// with number 0).
    pub fn observe<O: Observer + 'static>(mut self, observers: impl Fn(usize) -> O + Send + Sync + 'static) -> Self {
        self.config.observers = Box::new(move |worker| Box::new(observers(worker)));
        self
    }

    /// Sets the handshake before the service of each connection, such as TLS
    /// ([`Handshake::tls_server`]); by default there is none.
    /// `handshake` is called when a connection is accepted, and the factory of the service after
    /// that handshake.
    pub fn handshake(mut self, handshake: impl Fn(&ConnInfo) -> Handshake + Send + Sync + 'static) -> Self {
        self.handshakes = Some(Box::new(handshake));
        self
    }

    /// Starts to serve, on threads of its own. `service` is called for each connection that opens,
    /// on the thread that drives it.
    ///
    /// # Errors
    /// [`Error::NoListener`]; [`Error::Worker`] if the system refuses a thread or an event queue;
    /// [`Error::Uring`] if it refuses that engine, and the engine was asked for; and
    /// [`Error::Congestion`].
    pub fn serve<S: Service + 'static>(
        mut self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Result<Handle, Error> {
        let (factory, starting) = self.accepting(service)?;
        let mut launched = self.launch(accepting(factory), false)?;
        // Before the first client comes.
        starting.into_iter().for_each(|starting| starting.started(&mut launched.handle));
        launched.start()
    }

    /// Serves until the server has ended, and returns its counts. Worker 0 of the portable engine
    /// runs on this thread; the other engines have threads of their own. `supervise` is called with
    /// the handle before the first connection is accepted. The future that it returns runs beside
    /// the server on a tokio runtime, and decides when to drain. Dropping the handle stops the
    /// server.
    ///
    /// With one worker of the portable engine this is the only thread. Each system call then costs
    /// a little less than in a process whose threads share descriptors.
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Panics
    /// Within a tokio runtime, which cannot be blocked (use [`Server::serve`] there); and if the
    /// future beside the server panics.
    pub fn run<S: Service + 'static, F: Future<Output = ()> + 'static>(
        mut self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
        supervise: impl FnOnce(Handle) -> F,
    ) -> Result<Totals, Error> {
        let (factory, starting) = self.accepting(service)?;
        self.run_from(accepting(factory), |mut handle| {
            starting.into_iter().for_each(|starting| starting.started(&mut handle));
            supervise(handle)
        })
    }

    /// As [`Server::run`], with connections from this origin.
    pub(super) fn run_from<F: Future<Output = ()> + 'static>(
        self,
        origin: impl FnOnce(Option<Box<HandshakeFactory>>) -> ConnectionOrigin,
        supervise: impl FnOnce(Handle) -> F,
    ) -> Result<Totals, Error> {
        let Launched { handle, pending } = self.launch(origin, true)?;
        let (shared, latch) = (Arc::clone(&handle.shared), Arc::clone(&handle.latch));
        let control = Arc::clone(&handle.control);
        let supervise = supervise(handle);
        match pending {
            PendingLaunch::First(first, listeners) => {
                // Without worker 0 the other workers are of no use, even if the handle lives on.
                first
                    .run(listeners, Box::pin(supervise), latch)
                    .inspect_err(|_| control.drain(Instant::now()))
                    .map_err(Error::Worker)?;
            }
            PendingLaunch::Start(start) => {
                let runtime = for_a_runtime()
                    .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
                    .map_err(Error::Worker)?;
                start()?;
                runtime.block_on(async {
                    tokio::select! {
                        // First, so that it gets its turn even if the server ends at once.
                        biased;
                        () = supervise => latch.opened().await,
                        () = latch.opened() => {}
                    }
                });
            }
        }
        Ok(shared.totals())
    }

    /// Starts the engine. Worker 0 of the portable engine may be left to run `here`.
    pub(super) fn launch(
        mut self,
        origin: impl FnOnce(Option<Box<HandshakeFactory>>) -> ConnectionOrigin,
        here: bool,
    ) -> Result<Launched, Error> {
        let has_handshakes = self.handshakes.is_some();
        let origin = origin(self.handshakes.take());
        let is_relay = matches!(origin, ConnectionOrigin::Relay { .. });
        if self.listeners.is_empty() && !self.has_closed_listeners {
            return Err(Error::NoListener);
        }
        for listener in &self.listeners {
            listener.prepare(&self.config.limits.get())?;
            if self.saves_syns {
                listener.save_syns().map_err(|error| Error::listen(listener.address(), error))?;
            }
            if let Some(algorithm) = &self.config.congestion {
                listener.set_congestion(algorithm)?;
            }
        }
        let gate = AccessControl::new(self.access, self.listeners.len(), has_handshakes, Instant::now());
        if is_relay {
            self.listeners.iter().try_for_each(Listener::read_urgent_inline)?;
        }
        let limit = |workers| ConnectionLimit::new(self.max_connections, workers, gate);
        launch(self.config, origin, self.listeners, limit, here)
    }

    /// Makes the services of the connections; and what the faults need once the engine has started.
    fn accepting<S: Service + 'static>(
        &mut self,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Result<(Arc<Factory>, Option<StartingServer>), Error> {
        let Some(faults) = self.take_faults() else {
            return Ok((Arc::new(move |info| Box::new(service(info))), None));
        };
        faults.live.check_for(Role::Server)?;
        let addresses = self.listeners.iter().map(|listener| listener.address().clone()).collect();
        let starting = StartingServer { faults: faults.live.clone(), addresses };
        let (closed, limits) = (self.close_listeners(&faults.live), self.config.limits.clone());
        let factory = move |info: &ConnInfo| {
            let _ = &closed; // as long as the server
            faults.before(Box::new(service(info)), info, &limits.get())
        };
        Ok((Arc::new(factory), Some(starting)))
    }
}

/// Connections that a listener accepts, each with a service of its own.
fn accepting(factory: Arc<Factory>) -> impl FnOnce(Option<Box<HandshakeFactory>>) -> ConnectionOrigin {
    |handshakes| ConnectionOrigin::Accept { factory, handshakes }
}

/// What a server with faults needs once its engine has started.
struct StartingServer {
    faults: LiveFaults,
    addresses: Vec<Endpoint>,
}

impl StartingServer {
    fn started(self, handle: &mut Handle) {
        self.faults.run(&handle.shared);
        handle.addresses = self.addresses;
    }
}
