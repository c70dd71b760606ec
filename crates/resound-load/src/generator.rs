//! [`Load`]: what to generate. [`RunningLoad`]: a load that is being generated.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::check::check_time;
use super::dial_plan::{DialRoute, LoadDialPlan};
use super::length::Lengths;
use super::nanos::nanos;
use super::payload::Payload;
use super::rules::Rules;
use super::run_config::{Pace, RunConfig, TrafficPattern};
use super::schedule::RateCurve;
use super::tally::Tallies;
use super::{Direction, Generator, LoadError, Mode, RampSteps, RampVariable, Settings, Shape, Threshold, Timestamps};
use resound::server::{HandshakeFactory, MAX_WORKERS};
use resound::{Dialer, Engine, Handle};
use resound_proto::{Endpoint, Limits, Reply};

/// The bytes of one bulk message: what a connection sends at once.
pub const BULK: u64 = 64 * 1024;
/// Connections that share a tally on the threads engine, which has a worker per connection.
const THREADS_PER_TALLY: usize = 64;
/// How long an answer or a connect may take, unless the program says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// All connections are waited for as long as this many timeouts of connecting, within these bounds,
/// besides the time that their connect rate takes. One attempt may take two, with its handshake.
const TIMEOUTS: u32 = 6;
const PATIENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// A load to generate. [`Load::start`] starts it.
pub struct Load {
    /// The load itself.
    pub settings: Settings,
    /// Where to connect to.
    pub target: Endpoint,
    /// Are messages lines of printing characters even if the target does not need that? In
    /// [`Mode::Reply`] they always are.
    pub lines: bool,
    /// The time before measuring begins.
    pub warm_up: Duration,
    /// How long an answer may take; after that its connection is reset.
    pub timeout: Duration,
    /// How long connecting may take, and then how long `handshake` may.
    pub connect_timeout: Duration,
    /// The handshake before the messages of each connection: a PROXY header, TLS. `None`: none.
    pub handshake: Option<Box<HandshakeFactory>>,
    /// Local addresses to connect from, in turn. Empty: the system chooses.
    pub sources: Vec<IpAddr>,
    /// The engine.
    pub engine: Engine,
    /// The number of workers; `None` is one per core. The threads engine has one per connection.
    pub workers: Option<NonZeroUsize>,
    /// The congestion control algorithm; `None` is the system's.
    pub congestion: Option<String>,
    /// Ends a ramp ([`Settings::ramp`]) with the step that breaks a threshold.
    pub breaks: Option<Box<Threshold>>,
}

impl Load {
    /// A load on this target, without a warm-up: an answer and a connect may take 10 seconds each,
    /// the system chooses the local addresses, and a worker per core generates.
    #[must_use]
    pub fn new(target: Endpoint, mut settings: Settings) -> Self {
        if settings.target.is_empty() {
            settings.target = target.to_string();
        }
        Self {
            settings,
            target,
            lines: false,
            warm_up: Duration::ZERO,
            timeout: TIMEOUT,
            connect_timeout: TIMEOUT,
            handshake: None,
            sources: Vec::new(),
            engine: Engine::Auto,
            workers: None,
            congestion: None,
            breaks: None,
        }
    }

    /// Checks the settings, as [`Load::start`] does.
    ///
    /// # Errors
    /// [`LoadError::Setting`] for the first that is wrong.
    pub fn check(&self) -> Result<(), LoadError> {
        self.settings.check()?;
        let times = [
            ("warm_up", self.warm_up, false),
            ("timeout", self.timeout, true),
            ("connect_timeout", self.connect_timeout, true),
        ];
        times.into_iter().try_for_each(|(setting, time, is_needed)| check_time(setting, time, is_needed))
    }

    /// Starts to connect.
    ///
    /// # Errors
    /// Those of [`Load::check`] and of [`Dialer::start`].
    pub fn start(self) -> Result<RunningLoad, LoadError> {
        self.start_with(Dialer::new())
    }

    /// Starts to connect, with faults injected into the io_uring engine, for tests.
    ///
    /// # Errors
    /// Those of [`Load::start`].
    #[cfg(feature = "fault-injection")]
    pub fn start_with_faults(self, faults: resound::RingFaultConfig) -> Result<RunningLoad, LoadError> {
        self.start_with(Dialer::new().inject_ring_faults(faults))
    }

    fn start_with(mut self, dialer: Dialer) -> Result<RunningLoad, LoadError> {
        self.check()?;
        let last_level = self.ramp_of(RampVariable::Connections).map(|ramp| ramp.level(ramp.count() - 1));
        let connections = last_level.map_or(self.settings.connections, |level| level.round() as u64);
        let workers = self.worker_count(connections);
        let count = workers.get();
        let config = Arc::new(self.run_config(connections, count));
        let now = Instant::now();
        // If connections are made one by one, the run does not wait for all of them.
        if self.settings.shape == Shape::Connect || self.ramp_of(RampVariable::Connections).is_some() {
            config.begin(now);
        }
        let route = self.dial_route(now);
        let dialer = self.dialer(dialer, workers, config.traffic);
        let (shared, messages) = (Arc::clone(&config), self.settings.messages);
        let handle = dialer
            .start(move |worker| LoadDialPlan::new(Arc::clone(&shared), route.clone(), worker, count, messages))?;
        if handle.engine() == Engine::Portable || config.traffic != TrafficPattern::Answered {
            self.settings.timestamps = Timestamps::Clock;
        }
        Ok(RunningLoad { load: self, connections, workers: count, config, handle })
    }

    /// The ramp, if it raises this.
    fn ramp_of(&self, variable: RampVariable) -> Option<&RampSteps> {
        self.settings.ramp.as_ref().filter(|ramp| ramp.of == variable)
    }

    fn worker_count(&self, connections: u64) -> NonZeroUsize {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let workers = match self.engine {
            Engine::Threads => connections,
            _ => {
                let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
                self.workers.map_or_else(cores, NonZeroUsize::get).min(MAX_WORKERS).min(connections)
            }
        };
        NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN)
    }

    /// The time between two connections.
    fn dial_gap(&self) -> Duration {
        self.settings.connect_rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate))
    }

    fn dial_route(&mut self, from: Instant) -> DialRoute {
        DialRoute {
            target: self.target.clone(),
            sources: self.sources.clone(),
            timeout: self.connect_timeout,
            gap: self.dial_gap(),
            from,
            ramp: self.ramp_of(RampVariable::Connections).cloned(),
            warm_up: self.warm_up,
            handshake: self.handshake.take().map(Arc::from),
        }
    }

    fn dialer(&self, dialer: Dialer, workers: NonZeroUsize, traffic: TrafficPattern) -> Dialer {
        let dialer = dialer
            .engine(self.engine)
            .workers(workers)
            .busy_poll(self.settings.busy_poll)
            // Without answers there are no service times.
            .kernel_times(self.settings.timestamps == Timestamps::Kernel && traffic == TrafficPattern::Answered)
            // The connection itself limits its unsent bytes; the engine would stop reading answers.
            .limits(Limits {
                high_water: usize::MAX,
                write_timeout: Some(self.timeout),
                opening_timeout: Some(self.connect_timeout),
                ..Limits::default()
            });
        match &self.congestion {
            Some(algorithm) => dialer.congestion(algorithm),
            None => dialer,
        }
    }

    fn run_config(&self, connections: u64, workers: usize) -> RunConfig {
        let settings = &self.settings;
        let (traffic, lines, prefix) = match settings.mode {
            Mode::Echo => (TrafficPattern::Answered, self.lines, &b""[..]),
            Mode::Reply => (TrafficPattern::Answered, true, Reply::PREFIX.as_bytes()),
            Mode::Discard => (TrafficPattern::Swallowed, self.lines, &b""[..]),
            Mode::Chargen => (TrafficPattern::Pattern, false, &b""[..]),
        };
        let tallies = match self.engine {
            Engine::Threads => workers.div_ceil(THREADS_PER_TALLY).min(16),
            _ => workers,
        };
        let duration = settings.ramp.as_ref().map(|ramp| ramp.every * ramp.count()).or(settings.duration);
        let lengths = Lengths::new(&settings.size);
        let payload = Payload::new(settings.seed, lines, prefix, lengths.longest());
        let measure_from = nanos(self.warm_up);
        let until = duration.map_or(u64::MAX, |duration| measure_from.saturating_add(nanos(duration)));
        RunConfig {
            rules: Arc::new(Rules { payload, lengths, verify: settings.verify }),
            traffic,
            pace: self.pace(),
            connections,
            seed: settings.seed,
            timeout: nanos(self.timeout),
            measure_from,
            until,
            end: AtomicU64::new(until),
            per_connection: settings.messages_per_connection,
            keeps_silences: self.ramp_of(RampVariable::Connections).is_some(),
            tallies: Tallies::new(tallies),
            start: OnceLock::new(),
            negotiated_tls: OnceLock::new(),
        }
    }

    fn pace(&self) -> Pace {
        let settings = &self.settings;
        let depth = usize::try_from(settings.depth).unwrap_or(usize::MAX);
        let ramp = self.ramp_of(RampVariable::Rate);
        let ramp = ramp.map(|ramp| RateCurve::steps(ramp.from, ramp.by, self.warm_up + ramp.every, ramp.every));
        let rate = ramp.or(settings.rate.map(RateCurve::constant));
        match rate {
            Some(rate) => Pace::Open { rate, arrivals: settings.arrivals, depth },
            None if settings.shape == Shape::Stream => Pace::Bulk,
            None => Pace::Closed { depth, think: nanos(settings.think_time) },
        }
    }
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are being made.
    Connecting {
        /// The number of open connections.
        open: u64,
    },
    /// Messages are sent, and not measured yet.
    WarmUp {
        /// The part of the warm-up that has passed.
        passed: Duration,
    },
    /// Messages are sent and measured.
    Measuring,
    /// No more messages are sent; answers are awaited.
    Finishing {
        /// The number of messages in flight.
        in_flight: u64,
    },
}

/// A load that is being generated.
pub struct RunningLoad {
    pub(super) load: Load,
    pub(super) connections: u64,
    pub(super) workers: usize,
    pub(super) config: Arc<RunConfig>,
    pub(super) handle: Handle,
}

impl RunningLoad {
    /// The clock of the service times: the requested one, where it is available.
    #[must_use]
    pub fn timestamps(&self) -> Timestamps {
        self.load.settings.timestamps
    }

    /// Looks into the generator while it runs.
    #[must_use]
    pub fn inspector(&self) -> resound::inspect::Inspector {
        self.handle.inspector()
    }

    /// The engine, and why it is not io_uring if that was unavailable.
    #[must_use]
    pub fn engine(&self) -> (Engine, Option<&str>) {
        (self.handle.engine(), self.handle.refusal())
    }

    /// The longest time to wait for all connections.
    pub(super) fn connect_patience(&self) -> Duration {
        let dialling = self.load.dial_gap() * u32::try_from(self.connections).unwrap_or(u32::MAX);
        let [least, most] = PATIENCE;
        self.load.connect_timeout.saturating_mul(TIMEOUTS).clamp(least, most).saturating_add(dialling)
    }

    /// The shortest length of a run with a number of messages: that of its schedule, which lasts
    /// longer than its last message.
    pub(super) fn shortest(&self) -> Duration {
        let settings = &self.load.settings;
        let Some(messages) = settings.messages else { return Duration::ZERO };
        let schedule = settings.rate.map(|rate| messages as f64 / rate);
        let connections = settings.messages_per_connection.map(|each| messages.div_ceil(each.max(1)) as f64);
        let dialling = settings.connect_rate.zip(connections).map(|(rate, connections)| connections / rate);
        let seconds = schedule.into_iter().chain(dialling).fold(0.0, f64::max);
        let shortest = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        settings.duration.map_or(shortest, |duration| shortest.min(duration))
    }

    pub(super) fn generator(&self, cpu: (Duration, Duration)) -> Generator {
        Generator {
            version: env!("CARGO_PKG_VERSION").into(),
            host: host(),
            engine: self.handle.engine().name().into(),
            workers: self.workers as u64,
            cpu_user: cpu.0,
            cpu_system: cpu.1,
        }
    }
}

/// The direction of bulk data, by the target's mode.
#[must_use]
pub fn direction(mode: Mode) -> Direction {
    match mode {
        Mode::Discard => Direction::Send,
        Mode::Chargen => Direction::Receive,
        Mode::Echo | Mode::Reply => Direction::Both,
    }
}

fn host() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
