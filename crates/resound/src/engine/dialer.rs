//! [`Dialer`]: the settings of a dialer, and its start.

use std::num::NonZeroUsize;
use std::time::Duration;

use resound_proto::{Limits, Observer};

use super::Engine;
use super::config::EngineConfig;
use super::connection_limit::ConnectionLimit;
use super::dial_plan::DialPlan;
#[cfg(feature = "fault-injection")]
use super::fault_config::RingFaultConfig;
use super::handle::Handle;
use super::launch::launch;
use super::live_limits::LiveLimits;
use super::shared::ConnectionOrigin;
use crate::error::Error;

/// Dials connections instead of accepting them, on the same engines as a [`Server`](crate::Server).
/// A plan of each worker ([`DialPlan`]) decides which target to dial, and when, and makes the
/// services. [`Dialer::start`] starts it.
///
/// A dialer measures times: unlike a server, it reads [`Cx::now`](crate::Cx::now) anew for each
/// event, and keeps a deadline of [`Cx::wake_at`](crate::Cx::wake_at) to less than a tenth of a
/// millisecond, as far as the system wakes its threads in time.
///
/// ```
/// use std::time::{Duration, Instant};
/// use resound::client::{DialPlan, DialRequest, DialTiming, NextDial};
/// use resound::{ConnInfo, Cx, Dialer, Echo, Server, Service};
///
/// /// One dial, one greeting, one answer.
/// struct Once(Option<DialRequest>);
/// struct Greeting;
///
/// impl DialPlan for Once {
///     fn next(&mut self, _now: Instant) -> NextDial {
///         self.0.take().map_or(NextDial::Done, NextDial::Dial)
///     }
///     fn answered(
///         &mut self,
///         _request: &DialRequest,
///         took: DialTiming,
///         conn: &ConnInfo,
///     ) -> Box<dyn Service> {
///         println!("{} answered after {:?}", conn.peer, took.connect);
///         Box::new(Greeting)
///     }
///     fn failed(&mut self, request: &DialRequest, error: &std::io::Error, _now: Instant) {
///         panic!("{}: {error}", request.target);
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
/// let timeout = Duration::from_secs(5);
/// let request = move || DialRequest { number: 0, target: target.clone(), source: None, timeout };
/// let dialer = Dialer::new().start(move |worker| Once((worker == 0).then(&request)))?;
/// assert_eq!(dialer.wait().opened, 1); // ends by itself: the plan is done
/// # Ok(())
/// # }
/// ```
#[must_use = "a dialer dials once `start` is called"]
pub struct Dialer {
    config: EngineConfig,
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialer {
    /// [`Engine::Auto`], one worker per core, and default [`Limits`].
    pub fn new() -> Self {
        Self { config: EngineConfig::new() }
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.config.engine = engine;
        self
    }

    /// Sets the number of workers, each a thread with a plan of its own, at most
    /// [`MAX_WORKERS`](crate::server::MAX_WORKERS). On the threads engine a worker has one
    /// connection at a time, so this is the number of connections at once, and not limited.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.config.workers = workers;
        self
    }

    /// Lets a worker poll for events for this long after the last one, and before the next
    /// deadline: it reacts sooner, and a processor is busy meanwhile. With zero, the default, it
    /// sleeps at once, as the threads engine always does.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.config.busy_poll(time);
        self
    }

    /// Turns on the kernel's timestamps of arriving and leaving bytes
    /// ([`Cx::arrived`](crate::Cx::arrived), [`Cx::departures`](crate::Cx::departures)): on Linux
    /// 6.3 and later, over TCP, on the io_uring and threads engines, for connections without a
    /// handshake. Elsewhere it has no effect. Each message costs a few system calls more.
    pub fn kernel_times(mut self, wanted: bool) -> Self {
        self.config.kernel_times = wanted;
        self
    }

    /// Sets the congestion control of TCP connections, as
    /// [`Server::congestion`](crate::Server::congestion).
    pub fn congestion(mut self, algorithm: impl Into<String>) -> Self {
        self.config.congestion = Some(algorithm.into());
        self
    }

    /// Sets the limits of each connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = LiveLimits::new(limits);
        self
    }

    /// Sets the observers, as [`Server::observe`](crate::Server::observe).
    pub fn observe<O: Observer + 'static>(mut self, observers: impl Fn(usize) -> O + Send + Sync + 'static) -> Self {
        self.config.observers = Box::new(move |worker| Box::new(observers(worker)));
        self
    }

    /// Injects faults into the io_uring engine, for tests.
    #[cfg(feature = "fault-injection")]
    pub fn inject_ring_faults(mut self, faults: RingFaultConfig) -> Self {
        self.config.inject_ring_faults(faults);
        self
    }

    /// Starts to dial, on threads of its own, with one plan per worker: `plans` is called with the
    /// number of each worker, from 0, on its thread.
    ///
    /// The dialer ends when every plan is done and its connections have ended, or after its handle
    /// has drained or stopped it: a drain dials no more, calls
    /// [`Service::drained`](crate::Service::drained), and cuts the rest at its deadline.
    ///
    /// # Errors
    /// [`Error::Worker`] if the system refuses a thread or an event queue; [`Error::Uring`] if it
    /// refuses that engine, and the engine was asked for; and [`Error::Congestion`].
    pub fn start<D: DialPlan + 'static>(
        self,
        plans: impl Fn(usize) -> D + Send + Sync + 'static,
    ) -> Result<Handle, Error> {
        if let Some(algorithm) = &self.config.congestion {
            try_congestion(algorithm).map_err(|source| Error::Congestion { algorithm: algorithm.clone(), source })?;
        }
        let origin = ConnectionOrigin::Dial(Box::new(move |worker| Box::new(plans(worker))));
        let limit = |workers| ConnectionLimit::new(usize::MAX, workers, None);
        launch(self.config, origin, Vec::new(), limit, false)?.start()
    }
}

/// Reports at the start the error that every dial would report.
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
