//! [`EngineConfig`]: the settings that servers and dialers share.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use resound_proto::ConnId;

use super::Engine;
use super::connection_limit::ConnectionLimit;
#[cfg(feature = "fault-injection")]
use super::fault_config::RingFaultConfig;
use super::heartbeat::Heartbeat;
use super::live_limits::LiveLimits;
use super::shared::{ConnectionOrigin, Observers, Shared};
#[cfg(target_os = "linux")]
use super::sys::Setup;
#[cfg(target_os = "linux")]
use super::uring;
use crate::error::Error;
use crate::metrics::Counters;

/// The most workers of a server: more than any machine can use, and few enough that their event
/// queues find descriptors.
pub const MAX_WORKERS: usize = 1024;

pub(crate) struct EngineConfig {
    pub(crate) engine: Engine,
    pub(crate) workers: NonZeroUsize,
    pub(crate) limits: LiveLimits,
    pub(crate) observers: Box<Observers>,
    pub(crate) congestion: Option<String>,
    busy_poll: Duration,
    pub(crate) kernel_times: bool,
    #[cfg(target_os = "linux")]
    pub(crate) setup: Setup,
}

impl EngineConfig {
    /// [`Engine::Auto`], one worker per core, default limits, and no observer.
    pub(crate) fn new() -> Self {
        Self {
            engine: Engine::default(),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: LiveLimits::default(),
            observers: Box::new(|_| Box::new(())),
            congestion: None,
            busy_poll: Duration::ZERO,
            kernel_times: false,
            #[cfg(target_os = "linux")]
            setup: Setup::default(),
        }
    }

    pub(crate) fn busy_poll(&mut self, time: Duration) {
        self.busy_poll = time;
        #[cfg(target_os = "linux")]
        {
            self.setup.flags_pending = !time.is_zero();
        }
    }

    #[cfg(feature = "fault-injection")]
    pub(crate) fn inject_ring_faults(&mut self, faults: RingFaultConfig) {
        #[cfg(target_os = "linux")]
        {
            self.setup.faults = faults;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = faults;
    }

    /// The engine to start; and why it is not io_uring, if [`Engine::Auto`] has not chosen that.
    pub(crate) fn choose(&self) -> Result<(Engine, Option<String>), Error> {
        match (self.engine, self.probe()) {
            (Engine::Uring, Err(error)) => Err(Error::Uring(error)),
            (Engine::Auto, Err(error)) => Ok((Engine::Portable, Some(error.to_string()))),
            (Engine::Auto | Engine::Uring, Ok(())) => Ok((Engine::Uring, None)),
            (engine, _) => Ok((engine, None)),
        }
    }

    /// Returns why the system refuses io_uring, if it is wanted.
    fn probe(&self) -> std::io::Result<()> {
        if !matches!(self.engine, Engine::Auto | Engine::Uring) {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        return uring::probe(&self.setup);
        #[cfg(not(target_os = "linux"))]
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "this system has none"))
    }

    /// The state that `workers` workers share, for connections of `listeners` listeners.
    pub(crate) fn share(
        self,
        workers: usize,
        listeners: usize,
        room: ConnectionLimit,
        origin: ConnectionOrigin,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            origin,
            observers: self.observers,
            limits: self.limits,
            room: Arc::new(room),
            counters: (0..workers).map(|_| (0..=listeners).map(|_| Counters::default()).collect()).collect(),
            heartbeats: (0..workers).map(|_| Heartbeat::default()).collect(),
            drains: AtomicBool::new(false),
            next: AtomicU64::new(1),
            next_dialled: AtomicU64::new(ConnId::FIRST_DIALLED),
            busy_poll: self.busy_poll,
            kernel_times: self.kernel_times,
            #[cfg(any(target_os = "linux", target_os = "freebsd"))]
            congestion: self.congestion,
        })
    }
}
