//! [`RunMonitor`]: follows a run, and makes its record.

use std::pin::pin;
use std::time::{Duration, Instant};

use resound::Engine;
use tokio::time::{sleep, sleep_until};

use super::generator::{ClockPair, Phase, RunningLoad};
use super::run_config::{Pace, TrafficPattern, nanos};
use super::unfinished::RunEnd;
use super::warnings::warnings;
use super::{Failure, Interval, Latency, RampStep, Record, Timeline, stall};

/// How often the connections are looked after while they are made.
const LOOK: Duration = Duration::from_millis(2);
/// What is on its way when a run is cut short.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// A run that only its messages end is given up where for so many times as long as a connection may
/// take there is none.
const ALONE: u32 = 3;

pub(super) struct RunMonitor<F> {
    run: RunningLoad,
    tick: Duration,
    observe: F,
    timeline: Timeline,
    /// Waits for answers, of the run and of each step that is over or goes on: which of them are
    /// stalls is known at the end.
    waits: Latency,
    step_waits: Vec<Latency>,
    total: Interval,
    steps: Vec<RampStep>,
    /// Of the step that goes on.
    step: Interval,
    failures: Vec<Failure>,
    /// Connections that are open.
    open: u64,
    failed: u64,
    /// What happened before measuring began: connections and failures, which stand in its first part.
    before: Interval,
    /// The last tick that was measured, to which what comes late belongs.
    last: Option<Interval>,
    /// From when to when it has been measured so far.
    from: Option<Instant>,
    upto: Option<Instant>,
    /// The end of what is measured: what it has cost is known then.
    measured: Option<ClockPair>,
    /// Since when there has been no connection and none came about.
    alone_since: Option<Instant>,
    /// When that was so for too long.
    given_up: Option<Instant>,
}

impl<F: FnMut(Phase, &Interval)> RunMonitor<F> {
    pub(super) fn new(run: RunningLoad, tick: Duration, observe: F) -> Self {
        Self {
            timeline: Timeline::new(run.load.settings.interval.max(tick)),
            waits: Latency::default(),
            step_waits: vec![Latency::default()],
            run,
            tick,
            observe,
            total: Interval::default(),
            steps: Vec::new(),
            step: Interval::default(),
            failures: Vec::new(),
            open: 0,
            failed: 0,
            before: Interval::default(),
            last: None,
            from: None,
            upto: None,
            measured: None,
            alone_since: None,
            given_up: None,
        }
    }

    /// Follows the run to its end, or until `cut` is ready.
    pub(super) async fn until(mut self, cut: impl Future<Output = ()>) -> Record {
        let mut cut = pin!(cut);
        let began = ClockPair::now();
        let mut measured = None;
        let cut_short = tokio::select! {
            biased;
            () = &mut cut => true,
            () = self.follow(&mut measured) => false,
        };
        let stopped = cut_short.then(Instant::now);
        if let Some(stopped) = stopped {
            self.run.course.stop(stopped);
            self.measured.get_or_insert_with(ClockPair::now);
            // What has been measured since the last tick has its time as well.
            if self.upto.is_some() {
                self.tick_to(stopped);
            }
            self.run.handle.drain(LAST_ANSWERS);
            self.run.handle.finished().await;
        }
        let end = ClockPair { at: Instant::now(), ..self.measured.unwrap_or_else(ClockPair::now) };
        self.finish(measured.unwrap_or(ClockPair { at: end.at, ..began }), end, stopped)
    }

    async fn follow(&mut self, measured: &mut Option<ClockPair>) {
        if self.run.course.start().is_none() && !self.connect().await {
            return;
        }
        let Some(start) = self.run.course.start() else { return };
        let from = start + self.run.load.warm_up;
        self.warm_up(start, from).await;
        *measured = Some(ClockPair::now());
        self.measure(from).await;
        self.measured = Some(ClockPair::now());
        // Calls that are under way are given up; whoever is waited for has its answer's time to come.
        let timeout = self.run.load.timeout;
        self.run.handle.drain(timeout.saturating_add(timeout.max(LAST_ANSWERS)));
        while !self.run.handle.is_finished() {
            let in_flight = self.in_flight();
            tokio::select! {
                _ = self.run.handle.finished() => {}
                () = sleep(self.tick) => {
                    let tick = self.collect();
                    self.late(Phase::Finishing { in_flight }, tick);
                }
            }
        }
    }

    /// Waits until all connections are there, or it is clear that they will not be. Says whether there is anything to go on with.
    async fn connect(&mut self) -> bool {
        let until = Instant::now() + self.run.connecting();
        let mut told = Instant::now();
        let mut since = Interval::default();
        loop {
            let tick = self.collect();
            self.before.add(&tick);
            since.add(&tick);
            if told.elapsed() >= self.tick {
                told = Instant::now();
                (self.observe)(Phase::Connecting { open: self.open }, &std::mem::take(&mut since));
            }
            let all = self.open >= self.run.connections;
            // A failure is tried again; but where all have failed there is nothing to wait for.
            let none = self.open == 0 && self.failed >= self.run.connections.min(16);
            if all || none || Instant::now() >= until || self.run.handle.is_finished() {
                if none {
                    self.run.course.stop(Instant::now());
                    self.run.handle.stop();
                    self.run.handle.finished().await;
                    return false;
                }
                break;
            }
            sleep(LOOK).await;
        }
        // A thread that waits looks up ten times a second.
        let lead = if self.run.handle.engine() == Engine::Threads { 120 } else { 5 };
        self.run.course.begin(Instant::now() + Duration::from_millis(lead));
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
        let until = self.run.course.instant(self.run.course.until);
        let every = self.run.load.ramp.as_ref().map(|ramp| ramp.every);
        // A plan has its time, even if its last message is answered before that is over.
        let least = from.checked_add(self.run.least()).unwrap_or(from);
        let (mut ticks, mut steps, mut ended) = (0_u32, 0_u32, false);
        (self.from, self.upto) = (Some(from), Some(from));
        loop {
            ticks = ticks.saturating_add(1);
            let step_ends = every.map(|every| from + every * (steps + 1));
            let ends = [until, step_ends, ended.then_some(least)];
            let next = ends.into_iter().flatten().fold(from + self.tick * ticks, Instant::min);
            tokio::select! {
                _ = self.run.handle.finished(), if !ended => ended = true,
                () = sleep_until(next.into()) => {}
            }
            let now = Instant::now();
            self.tick_to(now);
            // A ramp whose plan is done has ended a little before the time of its last step. Several
            // steps have passed where this thread was woken so late.
            while every.is_some_and(|every| ended || now >= from + every * (steps + 1)) && !self.has_all_steps() {
                steps += 1;
                if self.step_has_broken() {
                    self.run.course.stop(now);
                    self.run.handle.drain(LAST_ANSWERS);
                    return;
                }
            }
            if ended && now >= least || until.is_some_and(|until| now >= until) {
                return;
            }
            if self.run.course.until == u64::MAX && self.is_hopeless(now) {
                self.given_up = Some(now);
                return self.run.course.stop(now);
            }
        }
    }

    /// A run without an end of its own, of which all connections are gone and none comes back.
    fn is_hopeless(&self, now: Instant) -> bool {
        self.alone_since.is_some_and(|since| now.saturating_duration_since(since) >= self.alone())
    }

    fn alone(&self) -> Duration {
        self.run.load.connect_timeout.saturating_mul(ALONE)
    }

    /// What has happened since the tick before has been measured up to now.
    fn tick_to(&mut self, now: Instant) {
        let mut tick = self.collect();
        tick.add(&std::mem::take(&mut self.before));
        // The end was at its time, whenever we have seen it.
        let now = self.run.course.instant(self.run.course.until).map_or(now, |until| now.min(until));
        if let (Some(from), Some(before)) = (self.from, self.upto) {
            let now = now.max(before);
            (tick.start, tick.length) = (before - from, now - before);
            self.upto = Some(now);
        }
        if tick.length.is_zero() && self.last.is_some() {
            return self.late(Phase::Measuring, tick);
        }
        (self.observe)(Phase::Measuring, &tick);
        self.collect_waits();
        self.keep(tick);
    }

    /// A step of the ramp is over: does a threshold break?
    fn step_has_broken(&mut self) -> bool {
        let Some(ramp) = &self.run.load.ramp else { return false };
        let mut total = std::mem::take(&mut self.step);
        let number = self.steps.len() as u32;
        // What happened in a step that was slept through was told of the one before.
        let was_seen = !total.length.is_zero();
        if !was_seen {
            total.start = ramp.every * number;
        }
        let broken = if was_seen { (ramp.breaks)(&total) } else { None };
        let level = ramp.level(number);
        let is_broken = broken.is_some();
        self.steps.push(RampStep { level, total, broken });
        self.step_waits.push(Latency::default());
        is_broken
    }

    fn has_all_steps(&self) -> bool {
        self.run.load.ramp.as_ref().is_none_or(|ramp| self.steps.len() >= ramp.steps() as usize)
    }

    /// What has happened since this was last called, without its time.
    fn collect(&mut self) -> Interval {
        let (tick, failures) = self.run.course.tallies.collect();
        let room = Record::FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(failures.into_iter().take(room));
        self.open = (self.open + tick.counts.opened).saturating_sub(tick.counts.closed);
        self.failed += tick.counts.errors();
        if self.open > 0 || tick.counts.opened > 0 {
            self.alone_since = None;
        } else if tick.counts.errors() > 0 {
            self.alone_since.get_or_insert_with(Instant::now);
        }
        tick
    }

    fn keep(&mut self, tick: Interval) {
        self.total.add(&tick);
        if self.run.load.ramp.is_some() {
            if self.step.length.is_zero() {
                self.step.start = tick.start;
            }
            self.step.join(&tick);
        }
        if let Some(last) = self.last.replace(tick) {
            self.timeline.push(&last);
        }
    }

    /// What came behind the end of what is measured belongs to its last part.
    fn late(&mut self, phase: Phase, mut tick: Interval) {
        if let (Some(from), Some(upto)) = (self.from, self.upto) {
            tick.start = upto - from;
        }
        (self.observe)(phase, &tick);
        self.total.add(&tick);
        if let Some(last) = &mut self.last {
            last.add(&tick);
        }
        if let Some(step) = self.steps.last_mut() {
            step.total.add(&tick);
        }
    }

    fn in_flight(&self) -> u64 {
        let counts = &self.total.counts;
        counts.sent.saturating_sub(counts.received).saturating_sub(counts.unanswered)
    }

    /// The record, of a run that ended by itself, or was stopped then.
    fn finish(mut self, measured: ClockPair, end: ClockPair, stopped: Option<Instant>) -> Record {
        let mut rest = self.collect();
        rest.add(&std::mem::take(&mut self.before));
        self.late(Phase::Finishing { in_flight: 0 }, rest);
        if let Some(last) = self.last.take() {
            self.timeline.push(&last);
        }
        let stopped_at = stopped.or(self.given_up);
        let from = self.run.course.start().map_or(measured.at, |start| start + self.run.load.warm_up);
        // Where only messages are counted the last one is the end, and not what it takes to close the connections.
        let ended = stopped_at.or_else(|| self.run.course.instant(self.run.course.tallies.last())).unwrap_or(end.at);
        let least = if stopped_at.is_none() && self.upto.is_some() { self.run.least() } else { Duration::ZERO };
        let ended = from.checked_add(least).map_or(ended, |least| ended.max(least));
        let until = self.run.course.instant(self.run.course.until).map_or(ended, |until| match stopped_at {
            Some(stopped) => until.min(stopped),
            // One that was counted as well may have ended before its time.
            None if self.run.load.settings.messages.is_some() => until.min(ended),
            None => until,
        });
        let mut intervals = std::mem::replace(&mut self.timeline, Timeline::new(self.tick)).finish();
        // A ramp that broke has ended there.
        let elapsed = match self.steps.last() {
            Some(step) if step.broken.is_some() => step.total.start + step.total.length,
            _ => until.saturating_duration_since(from),
        };
        self.settle(elapsed, &mut intervals);
        self.settle_steps();
        self.total.length = elapsed;
        let given_up = self.given_up.map(|_| self.alone());
        let cpu = (end.cpu.0.saturating_sub(measured.cpu.0), end.cpu.1.saturating_sub(measured.cpu.1));
        let generator = self.run.generator(cpu);
        let warm_up = self.run.load.warm_up;
        let mut settings = self.run.load.settings;
        if let (Some(tls), Some(agreed)) = (&mut settings.tls, self.run.course.agreed.get()) {
            tls.agreed = Some(agreed.as_ref().into());
        }
        let mut record = Record {
            settings,
            started: measured.of_day,
            warm_up,
            elapsed,
            intervals,
            total: self.total,
            steps: self.steps,
            failures: self.failures,
            cut_short: stopped.is_some(),
            generator,
            warnings: Vec::new(),
        };
        record.warnings = warnings(&record);
        if let Some(alone) = given_up {
            let alone = super::figures::latency(alone);
            record.warnings.insert(0, format!("the run was given up: no connection could be made for {alone}"));
        }
        record
    }

    fn collect_waits(&mut self) {
        let waits = self.run.course.tallies.waits();
        self.waits.add(&waits);
        // Those that end behind the last step belong to it.
        let step = self.steps.len().min(self.run.load.ramp.as_ref().map_or(0, |ramp| ramp.steps() as usize - 1));
        self.step_waits.get_mut(step).into_iter().for_each(|step| step.add(&waits));
    }

    /// Which waits were stalls is known now that most waits are. What a step missed as well: while it
    /// goes on nothing tells a target that is late from a machine that is busy.
    fn settle_steps(&mut self) {
        self.collect_waits();
        let from = self.total.stall_from();
        self.total.stall = stall::stalled(&self.waits, from);
        let Some(ramp) = &self.run.load.ramp else { return };
        for (step, waits) in self.steps.iter_mut().zip(&self.step_waits) {
            step.total.stall = stall::stalled(waits, from);
            if step.broken.is_none() {
                step.broken = ramp.shortfall(step.level, &step.total, &self.run.load.settings);
            }
        }
    }

    /// What nothing came of has waited until the end.
    fn settle(&mut self, elapsed: Duration, intervals: &mut [Interval]) {
        let course = &self.run.course;
        let broken = self.steps.last().filter(|step| step.broken.is_some());
        let from = course.measure_from;
        let ending = RunEnd {
            measure_from: from,
            at: from.saturating_add(nanos(elapsed)),
            // A ramp is meant to come to where it can go no further: what was due there besides is
            // no failure.
            withdrawn_from: broken.map(|step| from.saturating_add(nanos(step.total.start))),
            is_answered: course.traffic == TrafficPattern::Answered && matches!(course.pace, Pace::Open { .. }),
        };
        let mut unsettled = course.tallies.unsettled();
        let waited = ending.waited(&unsettled);
        self.failures.extend(ending.named(&mut unsettled));
        self.failures.truncate(Record::FAILURES);
        if waited.is_empty() {
            return;
        }
        let mut sum = Interval::default();
        ending.settle(&waited, &mut [(Duration::ZERO, &mut sum)]);
        if let (Some(from), Some(upto)) = (self.from, self.upto) {
            sum.start = upto - from;
        }
        (self.observe)(Phase::Finishing { in_flight: 0 }, &sum);
        self.total.add(&sum);
        ending.settle(&waited, &mut intervals.iter_mut().map(|it| (it.start, it)).collect::<Vec<_>>());
        let Some(ramp) = &self.run.load.ramp else { return };
        // A step plans its messages from its own time on, however late that was looked at.
        let starts = (0..).map(|number| ramp.every * number);
        let mut steps: Vec<_> = starts.zip(self.steps.iter_mut().map(|step| &mut step.total)).collect();
        let changed = ending.settle(&waited, &mut steps);
        // Of a step in which something was never sent that is known only now.
        for (step, _) in self.steps.iter_mut().zip(changed).filter(|(step, changed)| *changed && step.broken.is_none())
        {
            step.broken = (ramp.breaks)(&step.total);
        }
    }
}
