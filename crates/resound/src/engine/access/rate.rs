//! [`RateLimiter`]: how often a source may connect.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A number of connections per time: a token bucket. A source may make that many at once; after
/// that each must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRate {
    connections: NonZeroU32,
    per: Duration,
}

impl ConnectRate {
    /// This many connections per second.
    #[must_use]
    pub fn per_second(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(1) }
    }

    /// This many connections per minute.
    #[must_use]
    pub fn per_minute(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(60) }
    }

    /// This many connections per hour.
    #[must_use]
    pub fn per_hour(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(3600) }
    }
}

/// Entries of one group.
const WAYS: usize = 8;
/// Groups of the table. With all their entries they take 256 KiB, for 16,384 sources.
const GROUPS: usize = 2048;

/// A source, and the time at which its bucket is full again (the generic cell rate algorithm, ITU-T
/// I.371).
#[derive(Clone, Copy)]
struct RateEntry {
    /// A keyed hash: no peer can choose the source with which it shares an entry.
    source: u64,
    /// Nanoseconds since the start.
    full_at: u64,
}

/// A token bucket for each source, in a table of fixed size. Where a group is full, the entry
/// closest to a full bucket is evicted. Its source thereby gains at most one more burst: a flood
/// from very many sources costs no memory, and can only make the limit softer.
pub(super) struct RateLimiter {
    /// Between two connections at the full rate, in nanoseconds.
    interval: u64,
    /// How far in the future a bucket may become full: the burst.
    burst: u64,
    start: Instant,
    hasher: RandomState,
    table: Box<[[RateEntry; WAYS]]>,
}

impl RateLimiter {
    pub(super) fn new(rate: ConnectRate, start: Instant) -> Self {
        let connections = u64::from(rate.connections.get());
        let interval = (rate.per.as_secs() * 1_000_000_000 / connections).max(1);
        Self {
            interval,
            burst: interval * connections,
            start,
            hasher: RandomState::new(),
            table: vec![[RateEntry { source: 0, full_at: 0 }; WAYS]; GROUPS].into(),
        }
    }

    /// Takes a token from the bucket of this source; `false` where the bucket is empty.
    pub(super) fn take(&mut self, source: u64, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2);
        let source = self.hasher.hash_one(source);
        let group = &mut self.table[source as usize % GROUPS];
        let at = group.iter().position(|entry| entry.source == source);
        let at = at.or_else(|| (0..WAYS).min_by_key(|&at| group[at].full_at)).unwrap_or(0);
        let is_known = group[at].source == source;
        let full_at = if is_known { group[at].full_at.max(now) } else { now } + self.interval;
        if full_at - now > self.burst {
            return false;
        }
        group[at] = RateEntry { source, full_at };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(ConnectRate::per_second(n(5)), start);
        let mut connect = |ms: u64, n: u32| {
            let now = start + Duration::from_millis(ms);
            (0..n).filter(|_| limiter.take(1, now)).count()
        };
        assert_eq!(connect(0, 100), 5);
        assert_eq!(connect(100, 100), 0);
        assert_eq!(connect(200, 100), 1, "one fifth of a second is one token");
        assert_eq!(connect(999, 100), 3);
        assert_eq!(connect(60_000, 100), 5, "a long silence fills the bucket, and no more");
        assert_eq!((0..10).map(|s| connect(70_000 + s * 1000, 100)).sum::<usize>(), 5 + 9 * 5);
    }

    #[test]
    fn sources_share_no_tokens_and_refusals_cost_none() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(ConnectRate::per_minute(n(1)), start);
        assert!((0..1000).all(|n| limiter.take(n, start)));
        assert!((0..1000).all(|n| !limiter.take(n, start + Duration::from_secs(59))));
        assert!((0..1000).all(|n| limiter.take(n, start + Duration::from_secs(60))));
    }

    #[test]
    fn a_flood_from_many_sources_evicts_no_source_with_an_empty_bucket() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(ConnectRate::per_minute(n(60)), start);
        assert_eq!((0..100).filter(|_| limiter.take(0, start)).count(), 60);
        // Each of these connects once, so its bucket is full again sooner than the empty one.
        for n in 1..1_000_000 {
            limiter.take(n, start + Duration::from_micros(n));
        }
        assert!(!limiter.take(0, start + Duration::from_millis(999)), "its entry is still there");
        assert!(limiter.take(0, start + Duration::from_millis(1001)), "and has one token again");
    }

    #[test]
    fn a_rate_above_the_clock_resolution_limits_nothing() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(ConnectRate::per_second(NonZeroU32::MAX), start);
        assert!((0..1000).all(|_| limiter.take(1, start)));
    }
}
