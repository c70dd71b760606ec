//! [`Ramp`]: the steps of a load that rises until a threshold breaks.

use std::time::Duration;

use super::settings::count;
use super::{Arrivals, Interval, Mode, RampVariable, Settings};

/// A step of messages has not held if less than this share of its rate was answered.
const KEPT: f64 = 0.9;
/// A step of connections has not held if they were without an answer for more than this share of
/// it.
const SILENT: f64 = 0.5;
/// What another process on this machine may take of a step. A shorter step shows no rate.
const MOMENT: Duration = Duration::from_millis(250);

/// What a ramp raises, and until when.
pub struct Ramp {
    /// What is raised.
    pub of: RampVariable,
    /// The level of the first step, in messages per second or connections.
    pub from: f64,
    /// By how much each step is higher than the one before.
    pub by: f64,
    /// The last level.
    pub to: f64,
    /// The length of a step.
    pub every: Duration,
    /// Checks a finished step. The ramp ends with the step that breaks a threshold.
    pub breaks: Box<Threshold>,
}

/// Returns the threshold that a step broke, with the measured value; `None` if all held.
pub type Threshold = dyn Fn(&Interval) -> Option<String> + Send;

impl Ramp {
    /// The number of steps.
    #[must_use]
    pub fn steps(&self) -> u32 {
        count(self.from, self.to, self.by)
    }

    /// The level of a step, counted from 0.
    #[must_use]
    pub fn level(&self, step: u32) -> f64 {
        self.from + f64::from(step) * self.by
    }

    /// The level of the last step.
    pub(super) fn last_level(&self) -> f64 {
        self.level(self.steps() - 1)
    }

    /// By how much a step missed its level; `None` if it held. Messages that are in flight when a
    /// step ends are answered in the next.
    pub(super) fn shortfall(&self, level: f64, step: &Interval, settings: &Settings) -> Option<String> {
        let seconds = step.length.as_secs_f64();
        if self.of == RampVariable::Connections {
            let silent = step.outage.saturating_add(step.stall).as_secs_f64() / level;
            let has_held = silent <= (seconds * SILENT).max(MOMENT.as_secs_f64());
            let share = 100.0 * silent / seconds;
            return (!has_held).then(|| format!("for {share:.0} % of the time nothing was answered"));
        }
        let median = step.service.without(&step.bounds.service).percentile(50.0).unwrap_or_default();
        let in_flight = level * (2.0 * median.as_secs_f64() + MOMENT.as_secs_f64());
        let planned = level * seconds;
        let chance = if settings.arrivals == Arrivals::Poisson { 3.0 * planned.sqrt() } else { 2.0 };
        let done = if settings.mode == Mode::Discard { step.counts.sent } else { step.counts.in_time() } as f64;
        let rate = |n: f64| super::figures::rate(n / seconds);
        let has_held = done >= planned * KEPT - in_flight - chance;
        (!has_held).then(|| format!("reached only {} of {} msg/s", rate(done), rate(planned)))
    }
}
