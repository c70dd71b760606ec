//! A run's intervals, in bounded memory for a run of any length.

use std::time::Duration;

use super::Interval;

/// Collects ticks into intervals of one length. Beyond [`Timeline::MOST`] intervals, neighbours are
/// joined in pairs and further intervals are twice as long: memory is bounded, and every
/// measurement stays, only coarser.
///
/// ```
/// use std::time::Duration;
/// use resound_load::{Interval, Timeline};
///
/// let tick = Duration::from_millis(250);
/// let mut timeline = Timeline::new(Duration::from_secs(1));
/// for n in 0..10 {
///     timeline.push(&Interval { start: tick * n, length: tick, ..Interval::default() });
/// }
/// let intervals = timeline.finish();
/// let lengths: Vec<_> = intervals.iter().map(|interval| interval.length.as_millis()).collect();
/// assert_eq!(lengths, [1000, 1000, 500]);
/// ```
#[derive(Clone, Debug)]
pub struct Timeline {
    step: Duration,
    intervals: Vec<Interval>,
}

impl Timeline {
    /// The limit of intervals.
    pub const MOST: usize = 1024;

    /// A timeline with intervals of this length; a longer tick is an interval of its own.
    #[must_use]
    pub fn new(step: Duration) -> Self {
        Self { step, intervals: Vec::new() }
    }

    /// Adds the tick after the previous one.
    pub fn push(&mut self, tick: &Interval) {
        // Ticks vary in length: one that ends a little early still ends its interval.
        let full = self.step.saturating_sub(tick.length / 2);
        match self.intervals.last_mut() {
            Some(last) if last.length < full => return last.join(tick),
            _ => self.intervals.push(tick.clone()),
        }
        if self.intervals.len() > Self::MOST {
            self.step *= 2;
            self.intervals = Interval::coarser(&self.intervals, self.intervals.len().div_ceil(2));
        }
    }

    /// The intervals so far.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// All intervals.
    #[must_use]
    pub fn finish(self) -> Vec<Interval> {
        self.intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counts, Latency};

    fn tick(n: u32) -> Interval {
        let length = Duration::from_millis(500);
        Interval {
            start: length * n,
            length,
            counts: Counts { sent: 1, ..Counts::default() },
            service: Latency::of([(u64::from(n), 1)]),
            ..Interval::default()
        }
    }

    #[test]
    fn a_long_run_has_bounded_memory_and_loses_nothing() {
        let mut timeline = Timeline::new(Duration::from_secs(1));
        for n in 0..50_000 {
            timeline.push(&tick(n));
            assert!(timeline.intervals().len() <= Timeline::MOST);
        }
        let intervals = timeline.finish();
        assert!(intervals.len() > Timeline::MOST / 2, "{} intervals", intervals.len());
        let mut next = Duration::ZERO;
        let mut whole = Latency::default();
        for interval in &intervals {
            assert_eq!(interval.start, next);
            next += interval.length;
            whole.add(&interval.service);
        }
        assert_eq!(next.as_secs(), 25_000);
        assert_eq!(whole, Latency::of((0..50_000).map(|n| (n, 1))));
        assert_eq!(intervals.iter().map(|interval| interval.counts.sent).sum::<u64>(), 50_000);
        // Equal lengths, except for the last, make intervals comparable.
        let (last, rest) = intervals.split_last().unwrap();
        assert!(rest.iter().all(|interval| interval.length == rest[0].length) && last.length <= rest[0].length);
    }

    #[test]
    fn uneven_ticks_do_not_drift_into_the_next_interval() {
        let mut timeline = Timeline::new(Duration::from_secs(1));
        let mut start = Duration::ZERO;
        for n in 0..40 {
            let length = Duration::from_millis(if n % 2 == 0 { 249 } else { 250 });
            timeline.push(&Interval { start, length, ..Interval::default() });
            start += length;
        }
        assert_eq!(timeline.finish().len(), 10);
    }
}
