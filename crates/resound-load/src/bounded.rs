//! [`Bounded`]: a distribution of times among which some are lower bounds.

use std::time::Duration;

use super::Latency;
use super::latency::rank;

/// The lower bounds among the times of an [`Interval`](super::Interval): waits of messages without
/// an answer at the end of the run, or when they were given up. Each is in the distribution of the
/// same name as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Service times of messages that were never answered.
    pub service: Latency,
    /// Response times of messages that were never sent, or never answered.
    pub response: Latency,
    /// Lags of messages that were never sent.
    pub lag: Latency,
}

impl Bounds {
    /// Adds other lower bounds.
    pub fn add(&mut self, other: &Self) {
        self.service.add(&other.service);
        self.response.add(&other.response);
        self.lag.add(&other.lag);
    }
}

/// A distribution of times, and the lower bounds among them.
#[derive(Clone, Copy, Debug)]
pub struct Bounded<'a> {
    /// All times.
    pub all: &'a Latency,
    /// The lower bounds.
    pub bounds: &'a Latency,
}

/// A figure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its value.
    pub time: Duration,
    /// The true value may be higher.
    pub is_bound: bool,
}

impl<'a> Bounded<'a> {
    /// A distribution without lower bounds.
    #[must_use]
    pub fn exact(all: &'a Latency) -> Bounded<'a> {
        static NONE: std::sync::LazyLock<Latency> = std::sync::LazyLock::new(Latency::default);
        Self { all, bounds: &NONE }
    }

    /// The shortest time that `percent` per cent of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Figure> {
        self.all.percentile(percent).map(|time| self.figure(time))
    }

    /// The shortest time.
    #[must_use]
    pub fn min(&self) -> Option<Figure> {
        self.all.min().map(|time| self.figure(time))
    }

    /// The longest time.
    #[must_use]
    pub fn max(&self) -> Option<Figure> {
        self.all.max().map(|time| Figure { time, is_bound: !self.bounds.is_empty() })
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Option<Figure> {
        self.all.mean().map(|time| Figure { time, is_bound: !self.bounds.is_empty() })
    }

    /// The lower and the upper bound of a percentile, with `unknown` further times that may have
    /// any value and `doubtful` measured ones that may be 0 in truth. `None` is no upper bound.
    #[must_use]
    pub fn percentile_within(&self, percent: f64, unknown: u64, doubtful: u64) -> (Duration, Option<Duration>) {
        let all = self.all.count().saturating_add(unknown);
        let rank = rank(percent, all);
        let least = rank.checked_sub(unknown.saturating_add(doubtful)).filter(|rank| *rank > 0);
        let least = least.and_then(|rank| self.all.at(rank)).unwrap_or_default();
        // A lower bound may be longer than all other times in truth.
        (least, self.all.without(self.bounds).at(rank))
    }

    /// A figure below all lower bounds is exact, no matter how long those messages waited.
    fn figure(&self, time: Duration) -> Figure {
        Figure { time, is_bound: self.bounds.min().is_some_and(|least| least <= time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(times: impl IntoIterator<Item = (u64, u64)>) -> Latency {
        Latency::of(times)
    }

    #[test]
    fn a_figure_below_all_lower_bounds_is_exact() {
        let bounds = times([(500, 10)]);
        let mut all = times((1..=90).map(|n| (n, 1)));
        all.add(&bounds);
        let bounded = Bounded { all: &all, bounds: &bounds };
        let ns = |figure: Option<Figure>| figure.map(|figure| (figure.time.as_nanos(), figure.is_bound)).unwrap();
        assert_eq!(ns(bounded.percentile(90.0)), (90, false));
        assert_eq!(ns(bounded.percentile(91.0)), (500, true));
        assert_eq!((ns(bounded.min()), ns(bounded.max())), ((1, false), (500, true)));
        assert!(bounded.mean().unwrap().is_bound && !Bounded::exact(&all).mean().unwrap().is_bound);
        // A short lower bound may be long in truth, which shifts every rank above it.
        let bounds = times([(1, 10)]);
        let mut all = times((1..=90).map(|n| (n, 1)));
        all.add(&bounds);
        let bounded = Bounded { all: &all, bounds: &bounds };
        assert_eq!(ns(bounded.percentile(50.0)), (40, true));
        assert_eq!(bounded.percentile_within(50.0, 0, 0).1.unwrap().as_nanos(), 50);
        assert_eq!(bounded.percentile_within(95.0, 0, 0).1, None);
    }

    #[test]
    fn unknown_times_widen_the_bounds() {
        let all = times((1..=100).map(|n| (n, 1)));
        let within = |percent, unknown, doubtful| {
            let (least, most) = Bounded::exact(&all).percentile_within(percent, unknown, doubtful);
            (least.as_nanos(), most.map(|most| most.as_nanos()))
        };
        assert_eq!(within(50.0, 0, 0), (50, Some(50)));
        assert_eq!(within(50.0, 20, 0), (40, Some(60)));
        assert_eq!(within(90.0, 20, 0), (88, None));
        assert_eq!(within(50.0, 0, 10), (40, Some(50)));
        assert_eq!(within(50.0, 200, 0), (0, None));
    }
}
