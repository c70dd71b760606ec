//! Ticks of a run, joined into intervals.

use std::time::Duration;

use resound_load::Interval;

/// The longest time between two ticks.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Joins ticks into intervals of this length.
pub(super) struct GatheredTicks {
    length: Duration,
    pub(super) interval: Interval,
}

impl GatheredTicks {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, interval: Interval::default() }
    }

    /// The interval that this tick completes.
    pub(super) fn add(&mut self, tick: &Interval) -> Option<Interval> {
        if self.interval.length.is_zero() {
            self.interval = tick.clone();
        } else {
            self.interval.join(tick);
        }
        // Ticks vary in length.
        let is_full = self.interval.length + tick.length / 2 >= self.length;
        is_full.then(|| std::mem::take(&mut self.interval))
    }
}
