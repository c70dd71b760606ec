//! The levels of a ramp, and whether its steps reached them.

use std::time::Duration;

use super::{Arrivals, Interval, Mode, RampSteps, RampVariable, Settings};

/// A step of messages has not held if less than this share of its rate was answered.
const KEPT: f64 = 0.9;
/// A step of connections has not held if they were without an answer for more than this share of
/// it.
const SILENT: f64 = 0.5;
/// What another process on this machine may take of a step. A shorter step shows no rate.
const MOMENT: Duration = Duration::from_millis(250);

/// Checks a finished step. Returns the threshold that it broke, with the measured value; `None` if
/// all held.
pub type Threshold = dyn Fn(&Interval) -> Option<String> + Send;

impl RampSteps {
    /// The level of a step, counted from 0.
    #[must_use]
    pub fn level(&self, step: u32) -> f64 {
        self.from + f64::from(step) * self.by
    }

    /// By how much a step missed its level; `None` if it held. Messages that are in flight when a
    /// step ends are answered in the next.
    pub(super) fn shortfall(&self, level: f64, step: &Interval, settings: &Settings) -> Option<String> {
        let seconds = step.length.as_secs_f64();
        if self.of == RampVariable::Connections {
            let silent = step.outage.saturating_add(step.stall).as_secs_f64() / level;
            let has_held = silent <= (seconds * SILENT).max(MOMENT.as_secs_f64());
            // A connection that is replaced may have two in one step.
            let share = (100.0 * silent / seconds).min(100.0);
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
