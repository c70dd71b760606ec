//! [`RampProgress`]: the steps of a ramp as they are measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::nanos::nanos;
use super::tally::SilentTime;
use super::unfinished::{RunEnd, UnfinishedKind};
use super::{Bucket, Interval, Latency, RampStep, RampSteps, RampVariable, Settings, Threshold, stall};

/// The steps of a ramp: those that are finished, and the current one.
pub(super) struct RampProgress {
    ramp: RampSteps,
    breaks: Option<Box<Threshold>>,
    pub(super) finished: Vec<RampStep>,
    current: Interval,
    /// Of each step, the parts of waits for answers and of outages that lie in it.
    silences: Vec<(Latency, Duration)>,
}

impl RampProgress {
    pub(super) fn new(ramp: RampSteps, breaks: Option<Box<Threshold>>) -> Self {
        let silences = vec![Default::default(); ramp.count() as usize];
        Self { ramp, breaks, finished: Vec::new(), current: Interval::default(), silences }
    }

    /// Adds a tick to the current step.
    pub(super) fn add(&mut self, tick: &Interval) {
        if self.current.length.is_zero() {
            self.current.start = tick.start;
        }
        self.current.join(tick);
    }

    /// Adds statistics that arrived after the measured time to the last step.
    pub(super) fn add_late(&mut self, tick: &Interval) {
        if let Some(step) = self.finished.last_mut() {
            step.total.add(tick);
        }
    }

    /// Divides times without an answer among the steps in which they lie.
    pub(super) fn add_silences(&mut self, silences: &[SilentTime]) {
        let every = self.ramp.every;
        // Of each step, all waits at once.
        let mut waits = BTreeMap::<usize, Vec<(u64, u64)>>::new();
        for silence in silences {
            let first = (silence.from.as_nanos() / every.as_nanos().max(1)) as usize;
            for (number, (_, outage)) in self.silences.iter_mut().enumerate().skip(first) {
                let from = every * number as u32;
                if silence.to <= from {
                    break;
                }
                let part = silence.to.min(from + every).saturating_sub(silence.from.max(from));
                match silence.is_outage {
                    true => *outage += part,
                    false => waits.entry(number).or_default().push((nanos(part), 1)),
                }
            }
        }
        waits.into_iter().for_each(|(number, waits)| self.silences[number].0.add(&Latency::of(waits)));
    }

    /// When the current step ends, of a ramp that began at `from`.
    pub(super) fn step_end(&self, from: Instant) -> Instant {
        from + self.ramp.every * (self.finished.len() as u32 + 1)
    }

    /// Finishes the steps that are over: several if this thread woke up late, and all if the
    /// connections have `ended`. Returns whether one broke a threshold.
    pub(super) fn finish_steps(&mut self, from: Instant, now: Instant, ended: bool) -> bool {
        while self.finished.len() < self.ramp.count() as usize && (ended || now >= self.step_end(from)) {
            self.finish_step();
            if self.broken().is_some() {
                return true;
            }
        }
        false
    }

    fn finish_step(&mut self) {
        let mut total = std::mem::take(&mut self.current);
        let number = self.finished.len() as u32;
        // The statistics of a step without a tick are in the one before.
        let was_seen = !total.length.is_zero();
        if !was_seen {
            total.start = self.ramp.every * number;
        }
        let broken = self.breaks.as_ref().filter(|_| was_seen).and_then(|breaks| breaks(&total));
        self.finished.push(RampStep { level: self.ramp.level(number), total, broken });
    }

    /// The last finished step, if it broke a threshold.
    pub(super) fn broken(&self) -> Option<&RampStep> {
        self.finished.last().filter(|step| step.broken.is_some())
    }

    /// Adds unfinished messages to the steps in whose time they were planned, and checks the
    /// thresholds of the changed steps again.
    pub(super) fn settle(&mut self, end: &RunEnd, waited: &[(UnfinishedKind, Bucket)]) {
        let every = self.ramp.every;
        let starts = (0..).map(|number| every * number);
        let mut steps: Vec<_> = starts.zip(self.finished.iter_mut().map(|step| &mut step.total)).collect();
        let changed = end.settle(waited, &mut steps);
        for (step, changed) in self.finished.iter_mut().zip(changed) {
            if changed && step.broken.is_none() {
                step.broken = self.breaks.as_ref().and_then(|breaks| breaks(&step.total));
            }
        }
    }

    /// Sets the stalls and outages of the steps of connections, and checks their thresholds again.
    /// That is possible only now: during a step a late target looks like a busy machine.
    pub(super) fn settle_stalls(&mut self, from: Duration) {
        if self.ramp.of != RampVariable::Connections {
            return;
        }
        for (step, (waits, outage)) in self.finished.iter_mut().zip(&self.silences) {
            step.total.stall = stall::stalled(waits, from);
            step.total.outage = *outage;
            if step.broken.is_none() && !(step.total.stall + step.total.outage).is_zero() {
                step.broken = self.breaks.as_ref().and_then(|breaks| breaks(&step.total));
            }
        }
    }

    /// Checks whether each step reached its level.
    pub(super) fn settle_levels(&mut self, settings: &Settings) {
        for step in self.finished.iter_mut().filter(|step| step.broken.is_none()) {
            step.broken = self.ramp.shortfall(step.level, &step.total, settings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_breaks_the_threshold_of_the_step_in_which_it_lies() {
        let every = Duration::from_secs(1);
        let (of, from, to, by) = (RampVariable::Connections, 1.0, 3.0, 1.0);
        let ramp = RampSteps { of, from, to, by, every, until: Vec::new() };
        let breaks = |step: &Interval| (step.outage > Duration::from_millis(300)).then(|| "too long".to_string());
        let mut progress = RampProgress::new(ramp, Some(Box::new(breaks)));
        let start = Instant::now();
        for second in 1..=3 {
            progress.add(&Interval { length: every, ..Interval::default() });
            assert!(!progress.finish_steps(start, start + every * second, false));
        }
        // The connection is replaced, and the outage ends, in the last step.
        let at = Duration::from_millis;
        progress.add_silences(&[SilentTime { from: at(1500), to: at(2200), is_outage: true }]);
        progress.settle_stalls(Duration::from_secs(1));
        let broken: Vec<_> = progress.finished.iter().map(|step| step.broken.as_deref()).collect();
        assert_eq!(broken, [None, Some("too long"), None]);
    }
}
