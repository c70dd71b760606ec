//! How often a source may connect.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::sources::SourceKey;

/// A number of connections in a time. So many may come at once; after that each must wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRate {
    connections: NonZeroU32,
    per: Duration,
}

impl ConnectRate {
    /// So many connections per second.
    #[must_use]
    pub fn per_second(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(1) }
    }

    /// So many connections per minute.
    #[must_use]
    pub fn per_minute(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(60) }
    }

    /// So many connections per hour.
    #[must_use]
    pub fn per_hour(connections: NonZeroU32) -> Self {
        Self { connections, per: Duration::from_secs(3600) }
    }
}

/// Places in which a source may be remembered.
const WAYS: usize = 8;
/// Groups of such places. With all of them this is 256 KiB, and 16,384 sources.
const GROUPS: usize = 2048;

/// A source, and the time from which on it has all of its turns again (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy)]
struct RateEntry {
    /// A keyed hash of the source: nobody outside can choose whom they share it with.
    who: u64,
    /// Nanoseconds since the start.
    free_at: u64,
}

/// What is remembered of sources: a table of fixed size. Where a group is full, whoever is next to have all turns again is forgotten first,
/// who thereby gains at most one more burst: a flood from very many sources costs no memory, and can make the limit softer.
pub(super) struct RateLimiter {
    /// Between two connections at the full rate, in nanoseconds.
    interval: u64,
    /// How far ahead of its turn a source may be: the burst.
    ahead: u64,
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
            ahead: interval * connections,
            start,
            hasher: RandomState::new(),
            table: vec![[RateEntry { who: 0, free_at: 0 }; WAYS]; GROUPS].into(),
        }
    }

    /// Is it this source's turn?
    pub(super) fn take(&mut self, source: SourceKey, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2);
        let who = self.hasher.hash_one(source);
        let group = &mut self.table[who as usize % GROUPS];
        let at = group.iter().position(|turn| turn.who == who);
        let at = at.or_else(|| (0..WAYS).min_by_key(|&at| group[at].free_at)).unwrap_or(0);
        let known = group[at].who == who;
        let free_at = if known { group[at].free_at.max(now) } else { now } + self.interval;
        if free_at - now > self.ahead {
            return false;
        }
        group[at] = RateEntry { who, free_at };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn source(n: u32) -> SourceKey {
        SourceKey::of(std::net::Ipv4Addr::from(n).into())
    }

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut turns = RateLimiter::new(ConnectRate::per_second(n(5)), start);
        let mut come = |ms: u64, n: u32| {
            let now = start + Duration::from_millis(ms);
            (0..n).filter(|_| turns.take(source(1), now)).count()
        };
        assert_eq!(come(0, 100), 5);
        assert_eq!(come(100, 100), 0);
        assert_eq!(come(200, 100), 1, "one fifth of a second is one turn");
        assert_eq!(come(999, 100), 3);
        assert_eq!(come(60_000, 100), 5, "a long silence saves up no more than a burst");
        assert_eq!((0..10).map(|s| come(70_000 + s * 1000, 100)).sum::<usize>(), 5 + 9 * 5);
    }

    #[test]
    fn sources_do_not_share_turns_and_refusals_cost_none() {
        let start = Instant::now();
        let mut turns = RateLimiter::new(ConnectRate::per_minute(n(1)), start);
        assert!((0..1000).all(|n| turns.take(source(n), start)));
        assert!((0..1000).all(|n| !turns.take(source(n), start + Duration::from_secs(59))));
        assert!((0..1000).all(|n| turns.take(source(n), start + Duration::from_secs(60))));
    }

    #[test]
    fn a_flood_from_many_sources_leaves_those_in_debt_remembered() {
        let start = Instant::now();
        let mut turns = RateLimiter::new(ConnectRate::per_minute(n(60)), start);
        assert_eq!((0..100).filter(|_| turns.take(source(0), start)).count(), 60);
        // Each of these comes once, so each is sooner free again than the one that has used up its burst.
        for n in 1..1_000_000 {
            turns.take(source(n), start + Duration::from_micros(u64::from(n)));
        }
        assert!(!turns.take(source(0), start + Duration::from_millis(999)), "it is still known");
        assert!(turns.take(source(0), start + Duration::from_millis(1001)), "and gets what it may have");
    }

    #[test]
    fn faster_than_the_clock_is_no_limit() {
        let start = Instant::now();
        let mut turns = RateLimiter::new(ConnectRate::per_second(NonZeroU32::MAX), start);
        assert!((0..1000).all(|_| turns.take(source(1), start)));
    }
}
