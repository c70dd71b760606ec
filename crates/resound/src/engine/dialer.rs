//! [`Dialer`]: connections that are made instead of accepted, on the same engines.

use std::num::NonZeroUsize;
use std::time::Duration;

use resound_proto::{Limits, Observer};

use super::Engine;
use super::config::EngineConfig;
use super::connection_limit::ConnectionLimit;
use super::dial_plan::DialPlan;
#[cfg(feature = "fault-injection")]
use super::fault_config::FaultConfig;
use super::handle::Handle;
use super::launch::launch;
use super::shared::ConnectionOrigin;
use crate::error::Error;

/// Connections that are made instead of accepted: the other side of a [`Server`](crate::Server), on the same engines. Who is dialled,
/// when, and what is said then is decided by a plan of each worker's ([`DialPlan`]). [`Dialer::start`] starts it.
///
/// What it does for those who time things and a server does not: [`Cx::now`](crate::Cx::now) is read anew for each event, and a deadline
/// asked for with [`Cx::wake_at`](crate::Cx::wake_at) is kept to less than a tenth of a millisecond, as far as the system wakes us in time.
///
/// ```
/// use std::time::{Duration, Instant};
/// use resound::client::{DialPlan, DialRequest, DialTiming, NextDial};
/// use resound::{ConnInfo, Cx, Dialer, Echo, Server, Service};
///
/// /// One call, one greeting, one answer.
/// struct Once(Option<DialRequest>);
/// struct Greeting;
///
/// impl DialPlan for Once {
///     fn next(&mut self, _now: Instant) -> NextDial {
///         self.0.take().map_or(NextDial::Done, NextDial::Dial)
///     }
///     fn answered(&mut self, _call: &DialRequest, took: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
///         println!("{} answered after {:?}", conn.peer, took.connect);
///         Box::new(Greeting)
///     }
///     fn failed(&mut self, call: &DialRequest, error: &std::io::Error, _now: Instant) {
///         panic!("{}: {error}", call.target);
///     }
/// }
///
/// impl Service for Greeting {
///     fn open(&mut self, cx: &mut Cx<'_>) {
///         cx.send(b"hello");
///     }
///     fn data(&mut self, answer: &[u8], cx: &mut Cx<'_>) {
///         assert!(b"hello".starts_with(answer));
///         cx.close();
///     }
/// }
///
/// # fn main() -> Result<(), resound::Error> {
/// let server = Server::new().listen("127.0.0.1:0")?.serve(|_| Echo)?;
/// let target = server.addresses()[0].clone();
/// let call = move || DialRequest { number: 0, target: target.clone(), source: None, timeout: Duration::from_secs(5) };
/// let dialer = Dialer::new().start(move |worker| Once((worker == 0).then(&call)))?;
/// assert_eq!(dialer.wait().opened, 1); // ends by itself: there is no more to dial
/// # Ok(())
/// # }
/// ```
#[must_use = "a dialer dials once `start` is called"]
pub struct Dialer {
    basis: EngineConfig,
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialer {
    /// The engine chosen by the system, with one worker per core and default [`Limits`].
    pub fn new() -> Self {
        Self { basis: EngineConfig::new() }
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.basis.engine = engine;
        self
    }

    /// How many workers there are, each with a plan of its own: threads, [`MAX_WORKERS`](crate::server::MAX_WORKERS) at most. On the threads
    /// engine a worker has one connection at a time, so there are as many of them as connections are wanted at once; that
    /// is not limited.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.basis.workers = workers;
        self
    }

    /// A worker looks for events in a loop for this long after the last one and before the next deadline, before it sleeps: it is
    /// sooner to hear, and a processor is busy meanwhile. Zero, the default, sleeps at once. The threads engine always does.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.basis.busy_poll(time);
        self
    }

    /// Asks the kernel when bytes arrive and leave ([`Cx::arrived`](crate::Cx::arrived), [`Cx::departures`](crate::Cx::departures)): Linux 6.3
    /// and later, over TCP, on the io_uring and threads engines, for calls without an opening. Elsewhere there is nothing to ask, and this changes nothing. Each message costs
    /// a few calls more.
    pub fn kernel_times(mut self, wanted: bool) -> Self {
        self.basis.kernel_times = wanted;
        self
    }

    /// The congestion control of TCP connections, as [`Server::congestion`](crate::Server::congestion).
    pub fn congestion(mut self, algorithm: impl Into<String>) -> Self {
        self.basis.congestion = Some(algorithm.into());
        self
    }

    /// What one connection may cost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.basis.limits = limits;
        self
    }

    /// Sets who watches, as [`Server::observe`](crate::Server::observe).
    pub fn observe<O: Observer + 'static>(mut self, observers: impl Fn(usize) -> O + Send + Sync + 'static) -> Self {
        self.basis.observers = Box::new(move |worker| Box::new(observers(worker)));
        self
    }

    /// Injects faults into the io_uring engine, for tests.
    #[cfg(feature = "fault-injection")]
    pub fn inject_faults(mut self, faults: FaultConfig) -> Self {
        self.basis.inject_faults(faults);
        self
    }

    /// Starts dialling, on threads of the dialer's own. `plans` is called with each worker's number, on the worker's thread.
    ///
    /// It ends when every plan is done and its connections have ended, or when its handle drains or stops it: a drain makes no
    /// more calls, tells the services, and cuts what is left at its deadline.
    ///
    /// # Errors
    /// [`Error::Worker`] where no thread or event queue can be had, [`Error::Uring`] where that engine was asked for and is refused, and
    /// [`Error::Congestion`].
    pub fn start<D: DialPlan + 'static>(
        self,
        plans: impl Fn(usize) -> D + Send + Sync + 'static,
    ) -> Result<Handle, Error> {
        if let Some(algorithm) = &self.basis.congestion {
            try_congestion(algorithm).map_err(|source| Error::Congestion { algorithm: algorithm.clone(), source })?;
        }
        let origin = ConnectionOrigin::Dial(Box::new(move |worker| Box::new(plans(worker))));
        let limit = |workers| ConnectionLimit::new(usize::MAX, workers, None);
        launch(self.basis, origin, Vec::new(), limit, false)?.start()
    }
}

/// Says now what every call would say.
fn try_congestion(algorithm: &str) -> std::io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    return socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?
        .set_tcp_congestion(algorithm.as_bytes());
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        let _ = algorithm;
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
