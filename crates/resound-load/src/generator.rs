//! [`Load`]: what to generate; [`RunningLoad`]: a load that is being generated, and what comes of it.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::answers::Rules;
use super::dial_plan::{ConnectionGroups, DialRoute, LoadDialPlan};
use super::length::Lengths;
use super::monitor::RunMonitor;
use super::payload::Payload;
use super::run_config::{Pace, RunConfig, TrafficPattern, nanos};
use super::schedule::RateCurve;
use super::settings::count;
use super::tally::Tallies;
use super::{Arrivals, Direction, Generator, Interval, Mode, RampVariable, Record, Settings, Shape, Timestamps};
use resound::server::{HandshakeFactory, MAX_WORKERS};
use resound::{Dialer, Engine, Error, Handle};
use resound_proto::{Endpoint, Limits, Reply};

/// Messages in flight on one connection of an open loop, where nothing else is said: what is not answered by then waits in the plan.
pub const MOST_IN_FLIGHT: u64 = 65_536;
/// One message of bulk: what a connection sends at once.
pub const BULK: u64 = 64 * 1024;
/// On the threads engine each connection has a worker; so many of them share what they write to.
const THREADS_TO_A_TALLY: usize = 64;
/// A step of a ramp that was answered at less than this share of its rate has not held.
const KEPT: f64 = 0.9;
/// Nor has a step of connections of whose time nothing was answered in a larger share.
const SILENT: f64 = 0.5;
/// What a machine that does something else may take of a step. A shorter one shows no rate.
const MOMENT: Duration = Duration::from_millis(250);
/// A run that waits for its connections waits no longer than this for the rest of them.
const CONNECTING: Duration = Duration::from_secs(30);

/// A load to generate. [`Load::start`] starts it.
pub struct Load {
    /// What is to be done.
    pub settings: Settings,
    /// Whom to connect to.
    pub target: Endpoint,
    /// Are messages lines of printing characters even where the far end does not need that? In [`Mode::Reply`] they always are.
    pub lines: bool,
    /// What comes first and is in none of the figures.
    pub warm_up: Duration,
    /// How long an answer may take before its connection is given up.
    pub timeout: Duration,
    /// How long connecting may take, and then what `opening` makes of it.
    pub connect_timeout: Duration,
    /// What comes before the messages of each connection: a PROXY header, TLS. `None` is nothing.
    pub opening: Option<Box<HandshakeFactory>>,
    /// Addresses of this machine to connect from, in turns; none leaves it to the system.
    pub sources: Vec<IpAddr>,
    /// Which engine.
    pub engine: Engine,
    /// How many workers; `None` is one per core. The threads engine has one per connection.
    pub workers: Option<NonZeroUsize>,
    /// Congestion control; `None` is the system's.
    pub congestion: Option<String>,
    /// For tests, as [`Dialer::hamper`].
    #[doc(hidden)]
    pub hampered: String,
    /// Of [`Shape::Ramp`].
    pub ramp: Option<Ramp>,
}

/// What a ramp raises, and until when.
pub struct Ramp {
    /// What is raised.
    pub of: RampVariable,
    /// The first step's level, messages per second or connections.
    pub from: f64,
    /// How much higher each step is than the one before.
    pub by: f64,
    /// The last level.
    pub to: f64,
    /// How long a step is.
    pub every: Duration,
    /// What a step may not show: names the threshold that it broke, with the value. The ramp ends there.
    pub breaks: Box<Threshold>,
}

/// Names the threshold that a step broke, if any.
pub type Threshold = dyn Fn(&Interval) -> Option<String> + Send;

impl Ramp {
    /// How many steps there are.
    #[must_use]
    pub fn steps(&self) -> u32 {
        count(self.from, self.to, self.by)
    }

    /// The level of a step, counted from 0.
    #[must_use]
    pub fn level(&self, step: u32) -> f64 {
        self.from + f64::from(step) * self.by
    }

    /// By how much a step missed its level, where it did. Messages that are on their way when a step
    /// ends are answered in the next.
    pub(super) fn shortfall(&self, level: f64, step: &Interval, settings: &Settings) -> Option<String> {
        let seconds = step.length.as_secs_f64();
        if self.of == RampVariable::Connections {
            let silent = step.outage.saturating_add(step.stall).as_secs_f64() / level;
            let is_kept = silent <= (seconds * SILENT).max(MOMENT.as_secs_f64());
            let share = 100.0 * silent / seconds;
            return (!is_kept).then(|| format!("for {share:.0} % of the time nothing was answered"));
        }
        let usual = step.service.without(&step.bounds.service).percentile(50.0).unwrap_or_default();
        let on_their_way = level * (2.0 * usual.as_secs_f64() + MOMENT.as_secs_f64());
        let planned = level * seconds;
        let chance = if settings.arrivals == Arrivals::Poisson { 3.0 * planned.sqrt() } else { 2.0 };
        let done = if settings.mode == Mode::Discard { step.counts.sent } else { step.counts.in_time() } as f64;
        let rate = |n: f64| super::figures::rate(n / seconds);
        let is_kept = done >= planned * KEPT - on_their_way - chance;
        (!is_kept).then(|| format!("reached only {} of {} msg/s", rate(done), rate(planned)))
    }
}

impl Load {
    /// Starts dialling.
    ///
    /// # Errors
    /// As [`Dialer::start`].
    pub fn start(mut self) -> Result<RunningLoad, Error> {
        let connections = match &self.ramp {
            Some(ramp) if ramp.of == RampVariable::Connections => ramp.level(ramp.steps() - 1).round() as u64,
            _ => self.settings.connections,
        };
        let workers = match self.engine {
            // Each has one connection.
            Engine::Threads => usize::try_from(connections).unwrap_or(usize::MAX),
            _ => {
                let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
                let asked = self.workers.map_or_else(cores, NonZeroUsize::get);
                asked.min(MAX_WORKERS).min(usize::try_from(connections).unwrap_or(usize::MAX))
            }
        };
        let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
        let course = Arc::new(self.course(connections, workers.get()));
        // Where connections come one by one there is no moment at which all of them are there.
        let is_gradual = self.settings.shape == Shape::Connect || self.raises(RampVariable::Connections);
        let now = Instant::now();
        if is_gradual {
            course.begin(now);
        }
        let groups =
            self.ramp.as_ref().filter(|ramp| ramp.of == RampVariable::Connections).map(|ramp| ConnectionGroups {
                first: ramp.from.round() as u64,
                each: ramp.by.round() as u64,
                warm_up: self.warm_up,
                every: ramp.every,
            });
        let route = DialRoute {
            target: self.target.clone(),
            sources: self.sources.clone(),
            timeout: self.connect_timeout,
            gap: self.settings.connect_rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate)),
            from: now,
            groups,
            opening: self.opening.take().map(Arc::from),
        };
        let mut dialer = Dialer::new()
            .engine(self.engine)
            .workers(workers)
            .busy_poll(self.settings.busy_poll)
            // Where nothing is answered there is no service time.
            .kernel_times(self.settings.timestamps == Timestamps::Kernel && course.traffic == TrafficPattern::Answered)
            .hamper(&self.hampered)
            // What waits to be sent is limited where it is sent; here it would keep answers from being read.
            .limits(Limits {
                high_water: usize::MAX,
                write_timeout: Some(self.timeout),
                opening_timeout: Some(self.connect_timeout),
                ..Limits::default()
            });
        if let Some(algorithm) = &self.congestion {
            dialer = dialer.congestion(algorithm);
        }
        let messages = self.settings.messages;
        let theirs = Arc::clone(&course);
        let count = workers.get();
        let handle = dialer
            .start(move |worker| LoadDialPlan::new(Arc::clone(&theirs), route.clone(), worker, count, messages))?;
        if handle.engine() == Engine::Portable || course.traffic != TrafficPattern::Answered {
            self.settings.timestamps = Timestamps::Clock;
        }
        Ok(RunningLoad { load: self, connections, workers: count, course, handle })
    }

    fn raises(&self, what: RampVariable) -> bool {
        self.ramp.as_ref().is_some_and(|ramp| ramp.of == what)
    }

    fn course(&self, connections: u64, workers: usize) -> RunConfig {
        let settings = &self.settings;
        let (traffic, lines, prefix) = match settings.mode {
            Mode::Echo => (TrafficPattern::Answered, self.lines, &b""[..]),
            Mode::Reply => (TrafficPattern::Answered, true, Reply::PREFIX.as_bytes()),
            Mode::Discard => (TrafficPattern::Swallowed, self.lines, &b""[..]),
            Mode::Chargen => (TrafficPattern::Pattern, false, &b""[..]),
        };
        let depth = usize::try_from(settings.depth).unwrap_or(usize::MAX);
        let arrivals = settings.arrivals;
        let ramp = self.ramp.as_ref().filter(|ramp| ramp.of == RampVariable::Rate);
        let pace = match (ramp, settings.rate) {
            (Some(ramp), _) => {
                let rate = RateCurve::Steps {
                    from: ramp.from,
                    by: ramp.by,
                    every: ramp.every,
                    first: self.warm_up + ramp.every,
                };
                Pace::Open { rate, arrivals, depth }
            }
            (None, Some(rate)) => Pace::Open { rate: RateCurve::Constant(rate), arrivals, depth },
            _ if settings.shape == Shape::Stream => Pace::Bulk,
            _ => Pace::Closed { depth, think: nanos(settings.think_time) },
        };
        let tallies = match self.engine {
            Engine::Threads => workers.div_ceil(THREADS_TO_A_TALLY).min(16),
            _ => workers,
        };
        let duration = match &self.ramp {
            Some(ramp) => Some(ramp.every * ramp.steps()),
            None => settings.duration,
        };
        let lengths = Lengths::new(&settings.size);
        let payload = Payload::new(settings.seed, lines, prefix, lengths.longest());
        let rules = Rules { payload, lengths, verify: settings.verify };
        let measure_from = nanos(self.warm_up);
        let until = duration.map_or(u64::MAX, |duration| measure_from.saturating_add(nanos(duration)));
        RunConfig {
            rules: Arc::new(rules),
            traffic,
            pace,
            connections,
            seed: settings.seed,
            timeout: nanos(self.timeout),
            measure_from,
            until,
            end: AtomicU64::new(until),
            per_connection: settings.messages_per_connection,
            tallies: Tallies::new(tallies),
            start: OnceLock::new(),
            agreed: OnceLock::new(),
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are being made: so many are open.
    Connecting {
        /// So many.
        open: u64,
    },
    /// Not measured yet.
    WarmUp {
        /// So much of the warm-up has passed.
        passed: Duration,
    },
    /// Measured.
    Measuring,
    /// Nothing is sent any more; answers are awaited.
    Finishing {
        /// So many.
        in_flight: u64,
    },
}

/// A load that is being generated.
pub struct RunningLoad {
    pub(super) load: Load,
    pub(super) connections: u64,
    pub(super) workers: usize,
    pub(super) course: Arc<RunConfig>,
    pub(super) handle: Handle,
}

impl RunningLoad {
    /// Whose clock takes the service times: as asked for, where that can be had.
    #[must_use]
    pub fn timestamps(&self) -> Timestamps {
        self.load.settings.timestamps
    }

    /// The engine at work, and why it is not io_uring where that was to be found out.
    #[must_use]
    pub fn engine(&self) -> (Engine, Option<&str>) {
        (self.handle.engine(), self.handle.refusal())
    }

    /// Watches the run until it has ended, or `cut` is ready: then what is on its way may take another second. `observe` is told every
    /// `tick` what has happened since it was told before; what it is told while measuring and finishing adds up to the result. Intervals
    /// have the length that was asked for where a whole number of ticks makes one.
    ///
    /// Must be called within a tokio runtime with time enabled.
    pub async fn watch(
        self,
        tick: Duration,
        cut: impl Future<Output = ()>,
        observe: impl FnMut(Phase, &Interval),
    ) -> Record {
        RunMonitor::new(self, tick, observe).until(cut).await
    }

    /// Waits no longer for connections than this.
    pub(super) fn connecting(&self) -> Duration {
        let gap = self.load.settings.connect_rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        CONNECTING + gap * u32::try_from(self.connections).unwrap_or(u32::MAX)
    }

    /// How long a run takes at least: as long as its plan says, which the last message does not
    /// end.
    pub(super) fn least(&self) -> Duration {
        let settings = &self.load.settings;
        let Some(messages) = settings.messages else { return Duration::ZERO };
        let plan = settings.rate.map(|rate| messages as f64 / rate);
        let connections = settings.messages_per_connection.map(|each| messages.div_ceil(each.max(1)) as f64);
        let dialled = settings.connect_rate.zip(connections).map(|(rate, connections)| connections / rate);
        let least = plan.into_iter().chain(dialled).fold(0.0, f64::max);
        let least = Duration::try_from_secs_f64(least).unwrap_or(Duration::MAX);
        settings.duration.map_or(least, |duration| least.min(duration))
    }

    pub(super) fn generator(&self, cpu: (Duration, Duration)) -> Generator {
        let engine = match self.handle.engine() {
            Engine::Uring => "uring",
            Engine::Threads => "threads",
            _ => "portable",
        };
        Generator {
            version: env!("CARGO_PKG_VERSION").into(),
            host: host(),
            engine: engine.into(),
            workers: self.workers as u64,
            cpu_user: cpu.0,
            cpu_system: cpu.1,
        }
    }
}

/// The direction in which bulk goes by the far end's mode.
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

/// A moment, on both clocks.
#[derive(Clone, Copy)]
pub(super) struct ClockPair {
    pub(super) at: Instant,
    pub(super) of_day: SystemTime,
    pub(super) cpu: (Duration, Duration),
}

impl ClockPair {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), of_day: SystemTime::now(), cpu: resound::system::processor_time() }
    }
}
