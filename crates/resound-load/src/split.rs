//! Parts of an interval.

use std::time::Duration;

use super::latency::share;
use super::nanos::nanos;
use super::{Bounds, Counts, Interval};

impl Interval {
    /// Splits the interval after `length`, as if its events were uniform in time. Both parts add up
    /// to the interval.
    #[must_use]
    pub fn split(&self, length: Duration) -> (Self, Self) {
        let length = length.min(self.length);
        let (connect, connect_rest) = self.connect.split(length, self.length);
        let (handshake, handshake_rest) = self.handshake.split(length, self.length);
        let (service, service_rest) = self.service.split(length, self.length);
        let (response, response_rest) = self.response.split(length, self.length);
        let (lag, lag_rest) = self.lag.split(length, self.length);
        let (counts, counts_rest) = self.counts.split(length, self.length);
        let (bounds, bounds_rest) = self.bounds.split(length, self.length);
        let share_of = |time| Duration::from_nanos(share(nanos(time), length, self.length));
        let (outage, stall) = (share_of(self.outage), share_of(self.stall));
        let first = Self {
            start: self.start,
            length,
            counts,
            outage,
            stall,
            connect,
            handshake,
            service,
            response,
            lag,
            bounds,
        };
        let rest = Self {
            start: self.start.saturating_add(length),
            length: self.length - length,
            counts: counts_rest,
            outage: self.outage.saturating_sub(outage),
            stall: self.stall.saturating_sub(stall),
            connect: connect_rest,
            handshake: handshake_rest,
            service: service_rest,
            response: response_rest,
            lag: lag_rest,
            bounds: bounds_rest,
        };
        (first, rest)
    }
}

impl Bounds {
    fn split(&self, part: Duration, whole: Duration) -> (Self, Self) {
        let (service, service_rest) = self.service.split(part, whole);
        let (response, response_rest) = self.response.split(part, whole);
        let (lag, lag_rest) = self.lag.split(part, whole);
        (Self { service, response, lag }, Self { service: service_rest, response: response_rest, lag: lag_rest })
    }
}

impl Counts {
    fn split(&self, part: Duration, whole: Duration) -> (Self, Self) {
        let (mut first, mut rest) = (*self, *self);
        for (ours, theirs) in first.each_mut().zip(rest.each_mut()) {
            *ours = share(*ours, part, whole);
            *theirs -= *ours;
        }
        (first, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Latency};

    #[test]
    fn both_parts_add_up_to_the_interval() {
        let mut counts = Counts { planned: 10, sent: 9, received: u64::MAX, opened: 1, ..Counts::default() };
        counts.failures[Fault::Reset.index()] = 3;
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
