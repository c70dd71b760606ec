//! A part of an interval, where only that is wanted.

use std::time::Duration;

use super::nanos::nanos;
use super::{Bounds, Counts, Interval};

impl Interval {
    /// The first `length` of this interval and the rest, as if all that was counted had happened evenly. Together they are the interval.
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
        let outage = Duration::from_nanos(share(nanos(self.outage), length, self.length));
        let stall = Duration::from_nanos(share(nanos(self.stall), length, self.length));
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
        for (ours, theirs) in first.each().into_iter().zip(rest.each()) {
            *ours = share(*ours, part, whole);
            *theirs -= *ours;
        }
        (first, rest)
    }

    /// All that is counted.
    fn each(&mut self) -> Vec<&mut u64> {
        let Self {
            planned,
            sent,
            held,
            lagged,
            received,
            late,
            unanswered,
            verified,
            by_kernel,
            bytes_sent,
            bytes_received,
            bytes_late,
            opened,
            unconnected,
            silent,
            closed,
            failures,
        } = self;
        let mut all = vec![planned, sent, held, lagged, received, late, unanswered, verified, by_kernel];
        all.extend([bytes_sent, bytes_received, bytes_late, opened, unconnected, silent, closed]);
        all.extend(failures);
        all
    }
}

/// `part` in `whole` of so many, rounded; all of them where the whole is nothing.
pub(super) fn share(count: u64, part: Duration, whole: Duration) -> u64 {
    let (part, whole) = (u128::from(nanos(part.min(whole))), u128::from(nanos(whole)));
    let shared = (u128::from(count) * part + whole / 2).checked_div(whole);
    shared.map_or(count, |shared| shared as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Latency};

    #[test]
    fn both_parts_are_the_whole() {
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
