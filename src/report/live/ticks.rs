//! Ticks of a run, joined into intervals.

use std::time::Duration;

use resound_load::Interval;

/// The longest time between two ticks.
const TICK: Duration = Duration::from_millis(200);

/// The time between two ticks of a run with intervals of this length: a part of it.
pub(crate) fn tick(interval: Duration) -> Duration {
    let ticks = interval.as_nanos().div_ceil(TICK.as_nanos()).max(1);
    u32::try_from(ticks).map_or(TICK, |ticks| interval / ticks)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_divide_an_interval() {
        let ms = Duration::from_millis;
        for (interval, want) in [(100, 100), (200, 200), (300, 150), (700, 175), (1000, 200), (60_000, 200)] {
            assert_eq!(tick(ms(interval)), ms(want), "{interval} ms");
        }
        assert_eq!(tick(Duration::MAX), TICK);
    }
}
