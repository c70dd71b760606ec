//! Parts of an interval.

use std::time::Duration;

use super::latency::share;
use super::nanos::nanos;
use super::{Bounds, Interval, Latency};

impl Interval {
    /// Splits the interval after `length`, as if its events were uniform in time. Both parts add up
    /// to the interval.
    #[must_use]
    pub fn split(&self, length: Duration) -> (Self, Self) {
        let length = length.min(self.length);
        let (mut first, mut rest) = (self.clone(), self.clone());
        (first.length, rest.length) = (length, self.length - length);
        rest.start = self.start.saturating_add(length);
        for (ours, theirs) in first.counts.each_mut().zip(rest.counts.each_mut()) {
            *ours = share(*ours, length, self.length);
            *theirs -= *ours;
        }
        for (ours, theirs) in [(&mut first.outage, &mut rest.outage), (&mut first.stall, &mut rest.stall)] {
            *ours = Duration::from_nanos(share(nanos(*ours), length, self.length));
            *theirs = theirs.saturating_sub(*ours);
        }
        for (ours, theirs) in first.times_mut().into_iter().zip(rest.times_mut()) {
            (*ours, *theirs) = ours.split(length, self.length);
        }
        (first, rest)
    }

    fn times_mut(&mut self) -> [&mut Latency; 8] {
        let Self { connect, handshake, service, response, lag, bounds, .. } = self;
        let Bounds { service: service_bounds, response: response_bounds, lag: lag_bounds } = bounds;
        [connect, handshake, service, response, lag, service_bounds, response_bounds, lag_bounds]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counts, LoadFailure};

    #[test]
    fn both_parts_add_up_to_the_interval() {
        let mut counts = Counts { planned: 10, sent: 9, received: u64::MAX, opened: 1, ..Counts::default() };
        counts.failures[LoadFailure::Reset.index()] = 3;
        let whole = Interval {
            start: Duration::from_secs(7),
            length: Duration::from_secs(1),
            counts,
            service: Latency::of([(1000, 5), (2000, 5)]),
            bounds: Bounds { service: Latency::of([(2000, 3)]), ..Bounds::default() },
            outage: Duration::from_millis(1500),
            stall: Duration::from_millis(700),
            ..Interval::default()
        };
        for (ms, planned) in [(0, 0), (1, 0), (300, 3), (999, 10), (1000, 10), (5000, 10)] {
            let part = Duration::from_millis(ms);
            let (mut first, rest) = whole.split(part);
            assert_eq!((first.start, rest.start), (whole.start, whole.start + part.min(whole.length)));
            assert_eq!(first.counts.planned, planned);
            first.join(&rest);
            assert_eq!(first, whole);
        }
        let moment = Interval { length: Duration::ZERO, ..whole };
        let (first, rest) = moment.split(Duration::ZERO);
        assert_eq!((first.counts, rest.counts), (moment.counts, Counts::default()));
    }
}
