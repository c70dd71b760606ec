//! [`RunMonitor`]: follows a run to its end, and makes its record.

use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use resound::Engine;
use tokio::time::{sleep, sleep_until};

use super::generator::{Phase, RunningLoad};
use super::nanos::nanos;
use super::ramp_progress::RampProgress;
use super::run_config::{Pace, TrafficPattern};
use super::unfinished::RunEnd;
use super::warnings::warnings;
use super::{Counts, Failure, Interval, Latency, Mode, Record, Timeline, stall};

/// How often the number of connections is checked while they are made.
const CONNECT_POLL: Duration = Duration::from_millis(2);
/// The wait for messages in flight when a run is stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// A run without an end of its own is given up after this many connect timeouts without a
/// connection that is served.
const HOPELESS: u32 = 3;

/// The shortest and the longest tick.
const TICKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(86_400)];

impl RunningLoad {
    /// Follows the run until it ends or `cut` is ready; after that, messages in flight get another
    /// second.
    ///
    /// `observe` receives the statistics of each `tick`. Those of the phases measuring and
    /// finishing add up to the result. The record's intervals have the requested length if that is
    /// a multiple of `tick`.
    ///
    /// A `tick` shorter than a millisecond or longer than a day counts as that.
    ///
    /// Must be called within a tokio runtime with time enabled.
    pub async fn watch(
        self,
        tick: Duration,
        cut: impl Future<Output = ()>,
        observe: impl FnMut(Phase, &Interval),
    ) -> Record {
        RunMonitor::new(self, tick.clamp(TICKS[0], TICKS[1]), observe).follow_until(cut).await
    }
}

/// A moment on all clocks of a run.
#[derive(Clone, Copy)]
struct ClockReading {
    at: Instant,
    time_of_day: SystemTime,
    /// Processor time of this process: user and system.
    cpu: (Duration, Duration),
}

impl ClockReading {
    fn now() -> Self {
        Self { at: Instant::now(), time_of_day: SystemTime::now(), cpu: resound::system::processor_time() }
    }
}

/// The time that has been measured so far.
struct MeasuredTime {
    from: Instant,
    upto: Instant,
}

struct RunMonitor<F> {
    run: RunningLoad,
    tick: Duration,
    observe: F,
    timeline: Timeline,
    ramp: Option<RampProgress>,
    total: Interval,
    /// Waits for answers that may be stalls. The median of the whole run decides.
    waits: Latency,
    failures: Vec<Failure>,
    /// The number of open connections.
    open: u64,
    has_opened: bool,
    /// Where measuring began without some connections: how many were open, and after which time.
    incomplete: Option<(u64, Duration)>,
    failed: u64,
    /// Connections and failures before measuring. The first tick includes them.
    before: Interval,
    /// The last measured tick, which includes what arrives later.
    last: Option<Interval>,
    measured: Option<MeasuredTime>,
    /// The clocks when measuring began, and when it ended.
    started: Option<ClockReading>,
    ended: Option<ClockReading>,
    /// Since when connections have failed, and the target has served none.
    unserved_since: Option<Instant>,
    given_up_at: Option<Instant>,
}

impl<F: FnMut(Phase, &Interval)> RunMonitor<F> {
    fn new(mut run: RunningLoad, tick: Duration, observe: F) -> Self {
        Self {
            timeline: Timeline::new(run.load.settings.interval.max(tick)),
            ramp: run.load.settings.ramp.clone().map(|ramp| RampProgress::new(ramp, run.load.breaks.take())),
            run,
            tick,
            observe,
            total: Interval::default(),
            waits: Latency::default(),
            failures: Vec::new(),
            open: 0,
            has_opened: false,
            incomplete: None,
            failed: 0,
            before: Interval::default(),
            last: None,
            measured: None,
            started: None,
            ended: None,
            unserved_since: None,
            given_up_at: None,
        }
    }

    /// Follows the run to its end, or until `cut` is ready.
    async fn follow_until(mut self, cut: impl Future<Output = ()>) -> Record {
        let mut cut = pin!(cut);
        let began = ClockReading::now();
        let was_cut = tokio::select! {
            biased;
            () = &mut cut => true,
            () = self.follow() => false,
        };
        let cut_at = was_cut.then(Instant::now);
        if let Some(now) = cut_at {
            self.run.config.stop(now);
            self.ended.get_or_insert_with(ClockReading::now);
            // The time since the last tick is measured too.
            if self.measured.is_some() {
                self.tick_to(now);
            }
            self.run.handle.drain(LAST_ANSWERS);
            self.run.handle.finished().await;
        }
        let ended = ClockReading { at: Instant::now(), ..self.ended.unwrap_or_else(ClockReading::now) };
        let started = self.started.unwrap_or(ClockReading { at: ended.at, ..began });
        self.finish(started, ended, cut_at)
    }

    async fn follow(&mut self) {
        if self.run.config.start().is_none() && !self.connect().await {
            return;
        }
        let Some(start) = self.run.config.start() else { return };
        let from = start + self.run.load.warm_up;
        self.warm_up(start, from).await;
        self.started = Some(ClockReading::now());
        self.measure(from).await;
        self.ended = Some(ClockReading::now());
        self.await_answers().await;
    }

    /// Waits until all connections are open, or it is clear that they will not be, and starts the
    /// run. Returns `false` if no connection could be made.
    async fn connect(&mut self) -> bool {
        let patience = self.run.connect_patience();
        let until = Instant::now().checked_add(patience);
        let mut observed = Instant::now();
        let mut since = Interval::default();
        loop {
            let tick = self.collect();
            self.before.add(&tick);
            since.add(&tick);
            if observed.elapsed() >= self.tick {
                observed = Instant::now();
                (self.observe)(Phase::Connecting { open: self.open }, &std::mem::take(&mut since));
            }
            let wanted = self.run.connections;
            let have_failed = self.failed >= wanted.min(16);
            // Failed attempts are repeated, unless all of the first have failed.
            if have_failed && !self.has_opened {
                self.run.config.stop(Instant::now());
                self.run.handle.stop();
                self.run.handle.finished().await;
                return false;
            }
            // A target that ends connections as soon as it has them gets what was planned.
            let are_lost = have_failed && self.open == 0;
            let is_late = until.is_some_and(|until| until <= Instant::now());
            if are_lost || self.open >= wanted || is_late || self.run.handle.is_finished() {
                self.incomplete = (is_late && self.open < wanted).then_some((self.open, patience));
                break;
            }
            sleep(CONNECT_POLL).await;
        }
        // A waiting worker of the threads engine looks for wake-ups ten times a second.
        let lead = if self.run.handle.engine() == Engine::Threads { 120 } else { 5 };
        self.run.config.begin(Instant::now() + Duration::from_millis(lead));
        self.run.handle.wake_all();
        true
    }

    async fn warm_up(&mut self, start: Instant, from: Instant) {
        while Instant::now() < from {
            sleep_until((Instant::now() + self.tick).min(from).into()).await;
            let tick = self.collect();
            self.before.add(&tick);
            (self.observe)(Phase::WarmUp { passed: start.elapsed().min(self.run.load.warm_up) }, &tick);
        }
        let rest = self.collect();
        self.before.add(&rest);
    }

    async fn measure(&mut self, from: Instant) {
        let until = self.until();
        // A schedule has its time, even if its last message is answered before that is over.
        let shortest = from.checked_add(self.run.shortest()).unwrap_or(from);
        let (mut ticks, mut ended) = (0_u32, false);
        self.measured = Some(MeasuredTime { from, upto: from });
        loop {
            ticks = ticks.saturating_add(1);
            let step_end = self.ramp.as_ref().map(|ramp| ramp.step_end(from));
            let ends = [until, step_end, ended.then_some(shortest)];
            let next = ends.into_iter().flatten().fold(from + self.tick * ticks, Instant::min);
            tokio::select! {
                _ = self.run.handle.finished(), if !ended => ended = true,
                () = sleep_until(next.into()) => {}
            }
            let now = Instant::now();
            self.tick_to(now);
            if self.ramp.as_mut().is_some_and(|ramp| ramp.finish_steps(from, now, ended)) {
                self.run.config.stop(now);
                return self.run.handle.drain(LAST_ANSWERS);
            }
            if ended && now >= shortest || until.is_some_and(|until| now >= until) {
                return;
            }
            // All connections have been lost, and a new one was not made or was lost at once.
            let is_hopeless = |since| now.saturating_duration_since(since) >= self.hopeless_after();
            if until.is_none() && self.unserved_since.is_some_and(is_hopeless) {
                self.given_up_at = Some(now);
                return self.run.config.stop(now);
            }
        }
    }

    /// Ends the attempts to connect, and waits for the answers to messages in flight.
    async fn await_answers(&mut self) {
        let timeout = self.run.load.timeout;
        self.run.handle.drain(timeout.saturating_add(timeout.max(LAST_ANSWERS)));
        while !self.run.handle.is_finished() {
            let in_flight = self.in_flight();
            tokio::select! {
                _ = self.run.handle.finished() => {}
                () = sleep(self.tick) => {
                    let tick = self.collect();
                    self.add_late(Phase::Finishing { in_flight }, tick);
                }
            }
        }
    }

    /// The requested end, if there is one.
    fn until(&self) -> Option<Instant> {
        let until = self.run.config.until;
        if until == u64::MAX { None } else { self.run.config.instant(until) }
    }

    fn hopeless_after(&self) -> Duration {
        self.run.load.connect_timeout.saturating_mul(HOPELESS)
    }

    /// The time up to now has been measured.
    fn tick_to(&mut self, now: Instant) {
        let mut tick = self.collect();
        tick.add(&std::mem::take(&mut self.before));
        // The run ended on time, even if this thread woke up late.
        let now = self.until().map_or(now, |until| now.min(until));
        if let Some(measured) = &mut self.measured {
            let now = now.max(measured.upto);
            (tick.start, tick.length) = (measured.upto - measured.from, now - measured.upto);
            measured.upto = now;
        }
        if tick.length.is_zero() && self.last.is_some() {
            return self.add_late(Phase::Measuring, tick);
        }
        (self.observe)(Phase::Measuring, &tick);
        self.collect_waits();
        self.keep(tick);
    }

    /// Collects the statistics since the last call, as an interval without a start and a length.
    fn collect(&mut self) -> Interval {
        let (tick, failures) = self.run.config.tallies.collect();
        let room = Record::FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(failures.into_iter().take(room));
        self.open = (self.open + tick.counts.opened).saturating_sub(tick.counts.closed);
        self.has_opened |= tick.counts.opened > 0;
        self.failed += tick.counts.errors();
        if self.is_served(&tick.counts) {
            self.unserved_since = None;
        } else if tick.counts.errors() > 0 {
            self.unserved_since.get_or_insert_with(Instant::now);
        }
        tick
    }

    /// Is a connection of use to the run, by what has happened in the last tick? One that outlives
    /// it may be.
    fn is_served(&self, tick: &Counts) -> bool {
        let Counts { opened, bytes_received, .. } = *tick;
        let is_discarded = self.run.load.settings.mode == Mode::Discard && tick.sent > 0;
        self.open > opened || opened > tick.errors() || bytes_received > 0 || is_discarded
    }

    fn keep(&mut self, tick: Interval) {
        self.total.add(&tick);
        self.ramp.iter_mut().for_each(|ramp| ramp.add(&tick));
        if let Some(last) = self.last.replace(tick) {
            self.timeline.push(&last);
        }
    }

    /// Adds statistics that arrived after the measured time to its last part.
    fn add_late(&mut self, phase: Phase, mut tick: Interval) {
        self.observe_late(phase, &mut tick);
        if let Some(last) = &mut self.last {
            last.add(&tick);
        }
        self.ramp.iter_mut().for_each(|ramp| ramp.add_late(&tick));
    }

    fn observe_late(&mut self, phase: Phase, tick: &mut Interval) {
        if let Some(measured) = &self.measured {
            tick.start = measured.upto - measured.from;
        }
        (self.observe)(phase, tick);
        self.total.add(tick);
    }

    fn in_flight(&self) -> u64 {
        let counts = &self.total.counts;
        counts.sent.saturating_sub(counts.received).saturating_sub(counts.unanswered)
    }

    fn collect_waits(&mut self) {
        let waits = self.run.config.tallies.take_waits();
        self.waits.add(&waits);
        let silences = self.run.config.tallies.take_silences();
        self.ramp.iter_mut().for_each(|ramp| ramp.add_silences(&silences));
    }

    /// Makes the record of a run that ended by itself, or was cut then.
    fn finish(mut self, started: ClockReading, ended: ClockReading, cut_at: Option<Instant>) -> Record {
        let mut rest = self.collect();
        rest.add(&std::mem::take(&mut self.before));
        self.add_late(Phase::Finishing { in_flight: 0 }, rest);
        if let Some(last) = self.last.take() {
            self.timeline.push(&last);
        }
        let elapsed = self.elapsed(started.at, ended.at, cut_at);
        let mut intervals = std::mem::replace(&mut self.timeline, Timeline::new(self.tick)).finish();
        self.settle(elapsed, &mut intervals);
        self.settle_stalls();
        self.total.length = elapsed;
        let hopeless_after = self.given_up_at.map(|_| self.hopeless_after());
        let cpu = (ended.cpu.0.saturating_sub(started.cpu.0), ended.cpu.1.saturating_sub(started.cpu.1));
        let generator = self.run.generator(cpu);
        let mut settings = self.run.load.settings;
        if let (Some(tls), Some(negotiated)) = (&mut settings.tls, self.run.config.negotiated_tls.get()) {
            tls.agreed = Some(negotiated.as_ref().into());
        }
        let mut record = Record {
            settings,
            started: started.time_of_day,
            warm_up: self.run.load.warm_up,
            elapsed,
            intervals,
            total: self.total,
            steps: self.ramp.map(|ramp| ramp.finished).unwrap_or_default(),
            failures: self.failures,
            cut_short: cut_at.is_some(),
            generator,
            warnings: Vec::new(),
        };
        record.warnings = warnings(&record);
        if let Some((open, patience)) = self.incomplete {
            let wanted = super::figures::counted(self.run.connections, "connection");
            let patience = super::figures::latency(patience);
            record.warnings.insert(0, format!("measuring began with {open} of {wanted}, after {patience}"));
        }
        if let Some(time) = hopeless_after {
            let time = super::figures::latency(time);
            record.warnings.insert(0, format!("the run was given up: no connection could be made or kept for {time}"));
        }
        record
    }

    /// How long was measured.
    fn elapsed(&self, started: Instant, ended: Instant, cut_at: Option<Instant>) -> Duration {
        // A ramp ends with the step that broke a threshold.
        if let Some(step) = self.ramp.as_ref().and_then(RampProgress::broken) {
            return step.total.start + step.total.length;
        }
        let config = &self.run.config;
        let stopped_at = cut_at.or(self.given_up_at);
        let from = config.start().map_or(started, |start| start + self.run.load.warm_up);
        // A number of messages ends with the last of them, before the connections are closed.
        let ended = stopped_at.or_else(|| config.instant(config.tallies.last_activity())).unwrap_or(ended);
        let is_whole = stopped_at.is_none() && self.measured.is_some();
        let shortest = if is_whole { self.run.shortest() } else { Duration::ZERO };
        let ended = from.checked_add(shortest).map_or(ended, |shortest| ended.max(shortest));
        let until = match (self.until(), stopped_at) {
            (None, _) => ended,
            (Some(until), Some(stopped)) => until.min(stopped),
            // Its number of messages may have ended the run early.
            (Some(until), None) if self.run.load.settings.messages.is_some() => until.min(ended),
            (Some(until), None) => until,
        };
        until.saturating_duration_since(from)
    }

    /// Decides which waits were stalls, now that the median is known.
    fn settle_stalls(&mut self) {
        self.collect_waits();
        let from = self.total.stall_from();
        self.total.stall = stall::stalled(&self.waits, from);
        if let Some(ramp) = &mut self.ramp {
            ramp.settle_stalls(from);
            ramp.settle_levels(&self.run.load.settings);
        }
    }

    /// Adds the messages that were never sent or answered: they have waited until the end.
    fn settle(&mut self, elapsed: Duration, intervals: &mut [Interval]) {
        let config = &self.run.config;
        let broken = self.ramp.as_ref().and_then(RampProgress::broken);
        let from = config.measure_from;
        let end = RunEnd {
            measure_from: from,
            at: from.saturating_add(nanos(elapsed)),
            // A ramp is meant to reach its limit: unsent messages of that step are no failures.
            withdrawn_from: broken.map(|step| from.saturating_add(nanos(step.total.start))),
            has_responses: config.traffic == TrafficPattern::Answered && matches!(config.pace, Pace::Open { .. }),
        };
        let mut unfinished = config.tallies.take_unfinished();
        let waited = end.waited(&unfinished);
        self.failures.extend(end.unsent_failures(&mut unfinished));
        self.failures.truncate(Record::FAILURES);
        if waited.is_empty() {
            return;
        }
        let mut sum = Interval::default();
        end.settle(&waited, &mut [(Duration::ZERO, &mut sum)]);
        self.observe_late(Phase::Finishing { in_flight: 0 }, &mut sum);
        end.settle(&waited, &mut intervals.iter_mut().map(|it| (it.start, it)).collect::<Vec<_>>());
        self.ramp.iter_mut().for_each(|ramp| ramp.settle(&end, &waited));
    }
}
