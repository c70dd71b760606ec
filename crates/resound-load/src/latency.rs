//! A distribution of times, small enough to keep one for each second of a run.

use std::fmt;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

use super::nanos::nanos;

/// Buckets double in width with each power of two from 2,048 on: three significant digits, as in
/// HdrHistogram.
const EXACT_BITS: u32 = 11;

/// A distribution of times, in the buckets of an HdrHistogram with three significant digits:
/// nanoseconds up to 2 us, and from there on a width of at most a thousandth of the value.
///
/// A histogram for recording allocates every possible bucket (some 300 KB). This type keeps only
/// the buckets that are not empty, a few bytes each, in order: the form of a finished interval.
/// Distributions are added, never averaged.
///
/// ```
/// use resound_load::Latency;
///
/// let mut times = Latency::recorder();
/// for us in 1..=1000 {
///     times.record(us * 1000).expect("in range");
/// }
/// let mut times = Latency::from(&times);
/// assert_eq!(times.count(), 1000);
/// assert_eq!(times.percentile(50.0).unwrap().as_micros(), 500);
/// times.add(&times.clone());
/// assert_eq!(times.count(), 2000);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Latency {
    /// For each bucket that is not empty, in order: the difference between its number and the
    /// previous one, and its count; both as LEB128.
    packed: Box<[u8]>,
    count: u64,
}

/// A bucket: the times from `from` to `to`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The shortest time of the bucket, in ns.
    pub from: u64,
    /// The longest time of the bucket, in ns.
    pub to: u64,
    /// The number of times in it.
    pub count: u64,
}

impl Latency {
    /// The longest time that a [`Latency::recorder`] can hold: an hour.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// An empty histogram for nanoseconds from 1 to [`Latency::LONGEST`].
    #[must_use]
    pub fn recorder() -> Histogram<u64> {
        let longest = u64::try_from(Self::LONGEST.as_nanos()).expect("an hour in ns fits");
        Histogram::new_with_bounds(1, longest, 3).expect("bounds that HdrHistogram allows")
    }

    /// Builds a distribution from times in ns with their counts, in any order.
    pub fn of(times: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut buckets: Vec<_> = times.into_iter().map(|(time, count)| (number(time), count)).collect();
        buckets.sort_unstable_by_key(|&(number, _)| number);
        let mut packer = Packer::default();
        for (number, count) in buckets {
            packer.add(number, count);
        }
        packer.finish()
    }

    /// The number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether the distribution holds no time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The buckets that are not empty, in order.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.packed().map(|(number, count)| {
            let (from, to) = bounds(number);
            Bucket { from, to, count }
        })
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        let mut packer = Packer::default();
        {
            let (mut ours, mut theirs) = (self.packed().peekable(), other.packed().peekable());
            while let Some((number, count)) = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => ours.next(),
                (Some(_), None) => ours.next(),
                _ => theirs.next(),
            } {
                packer.add(number, count);
            }
        }
        *self = packer.finish();
    }

    /// The shortest time that `percent` per cent of all do not exceed: the top of its bucket.
    /// `None` if the distribution is empty.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        self.at(rank(percent, self.count))
    }

    /// The time of this rank, counted from 1: the top of its bucket.
    pub(super) fn at(&self, rank: u64) -> Option<Duration> {
        let mut seen = 0_u64;
        let found = self.buckets().find(|bucket| {
            seen = seen.saturating_add(bucket.count);
            seen >= rank
        });
        found.map(|bucket| Duration::from_nanos(bucket.to))
    }

    /// Removes times that are part of this distribution.
    #[must_use]
    pub fn without(&self, some: &Self) -> Self {
        let mut some = some.packed().peekable();
        let mut packer = Packer::default();
        for (number, count) in self.packed() {
            let mut less = 0_u64;
            while let Some((_, fewer)) = some.next_if(|(theirs, _)| *theirs <= number) {
                less = less.saturating_add(fewer);
            }
            packer.add(number, count.saturating_sub(less));
        }
        packer.finish()
    }

    /// The shortest time: the bottom of its bucket.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        self.buckets().next().map(|bucket| Duration::from_nanos(bucket.from))
    }

    /// The longest time: the top of its bucket.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.buckets().last().map(|bucket| Duration::from_nanos(bucket.to))
    }

    /// The mean, with each time taken as the middle of its bucket.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let (sum, count) = self.buckets().fold((0.0, 0.0), |(sum, count), bucket| {
            let middle = bucket.from + (bucket.to - bucket.from) / 2;
            (sum + middle as f64 * bucket.count as f64, count + bucket.count as f64)
        });
        (!self.is_empty()).then(|| Duration::from_nanos((sum / count) as u64))
    }

    /// The memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.packed.len()
    }

    /// Splits an interval's times in proportion to time: `part` of `whole`, and the rest. Both
    /// parts have the same shape, as far as counts allow, and add up to the whole.
    #[must_use]
    pub fn split(&self, part: Duration, whole: Duration) -> (Self, Self) {
        let (mut ours, mut rest) = (Packer::default(), Packer::default());
        let (mut seen, mut taken) = (0_u64, 0);
        for (number, count) in self.packed() {
            // Rounding each bucket, which often holds 1, would lose them: the running sum is
            // rounded.
            seen = seen.saturating_add(count);
            let more = share(seen, part, whole) - taken;
            taken += more;
            ours.add(number, more);
            rest.add(number, count.saturating_sub(more));
        }
        (ours.finish(), rest.finish())
    }

    fn packed(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (mut at, mut number) = (0, 0);
        std::iter::from_fn(move || {
            if at >= self.packed.len() {
                return None;
            }
            number += unpack(&self.packed, &mut at);
            Some((number, unpack(&self.packed, &mut at)))
        })
    }
}

impl<C: Counter> From<&Histogram<C>> for Latency {
    fn from(histogram: &Histogram<C>) -> Self {
        let mut packer = Packer::default();
        for step in histogram.iter_recorded() {
            packer.add(number(step.value_iterated_to()), step.count_since_last_iteration());
        }
        packer.finish()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({} times, p50 {:?}, max {:?})", self.count, self.percentile(50.0), self.max())
    }
}

/// `part` in `whole` of `count`, rounded; `count` if `whole` is 0.
pub(super) fn share(count: u64, part: Duration, whole: Duration) -> u64 {
    let (part, whole) = (u128::from(nanos(part.min(whole))), u128::from(nanos(whole)));
    let shared = (u128::from(count) * part + whole / 2).checked_div(whole);
    shared.map_or(count, |shared| shared as u64)
}

/// The rank of a percentile among `count` times, from 1.
pub(super) fn rank(percent: f64, count: u64) -> u64 {
    let rank = percent.clamp(0.0, 100.0) / 100.0 * count as f64;
    // 99.9 % of 1,000 is rank 999, despite the rounding error of a float.
    ((rank - rank * 1e-14).ceil() as u64).clamp(1, count.max(1))
}

/// The number of a time's bucket: below 2,048 ns a bucket a nanosecond, then 1,024 buckets for each
/// power of two.
fn number(time: u64) -> u64 {
    let shift = (u64::BITS - time.leading_zeros()).saturating_sub(EXACT_BITS);
    (u64::from(shift) << (EXACT_BITS - 1)) + (time >> shift)
}

/// The shortest and the longest time of a bucket.
fn bounds(number: u64) -> (u64, u64) {
    let shift = (number >> (EXACT_BITS - 1)).saturating_sub(1);
    let from = (number - (shift << (EXACT_BITS - 1))) << shift;
    (from, from | ((1 << shift) - 1))
}

/// Packs buckets that arrive in order.
#[derive(Default)]
struct Packer {
    bytes: Vec<u8>,
    /// The number of the bucket before the pending one.
    before: u64,
    pending: Option<(u64, u64)>,
    count: u64,
}

impl Packer {
    fn add(&mut self, number: u64, count: u64) {
        match &mut self.pending {
            _ if count == 0 => return,
            Some(pending) if pending.0 == number => pending.1 = pending.1.saturating_add(count),
            _ => {
                self.flush();
                self.pending = Some((number, count));
            }
        }
        self.count = self.count.saturating_add(count);
    }

    fn flush(&mut self) {
        if let Some((number, count)) = self.pending.take() {
            pack(&mut self.bytes, number - self.before);
            pack(&mut self.bytes, count);
            self.before = number;
        }
    }

    fn finish(mut self) -> Latency {
        self.flush();
        Latency { packed: self.bytes.into(), count: self.count }
    }
}

fn pack(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn unpack(from: &[u8], at: &mut usize) -> u64 {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = from[*at];
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_distribution_has_no_figures() {
        let none = Latency::default();
        assert_eq!(none, Latency::from(&Latency::recorder()));
        assert!(none.is_empty());
        assert_eq!((none.percentile(50.0), none.min(), none.max(), none.mean()), (None, None, None, None));
    }

    #[test]
    fn percentiles_are_ranks() {
        let times = Latency::of((1..=1000).map(|n| (n, 1)));
        for (percent, want) in [(0.0, 1), (0.1, 1), (50.0, 500), (99.0, 990), (99.9, 999), (99.99, 1000), (100.0, 1000)]
        {
            assert_eq!(times.percentile(percent).unwrap().as_nanos(), want, "{percent}");
        }
        assert_eq!(times.min().unwrap().as_nanos(), 1);
        assert_eq!(times.max().unwrap().as_nanos(), 1000);
        assert_eq!(times.mean().unwrap().as_nanos(), 500);
    }

    #[test]
    fn split_keeps_the_shape_and_adds_up() {
        let times = Latency::of((1..=1000).map(|n| (n, 1)));
        let (part, rest) = times.split(Duration::from_millis(250), Duration::from_secs(1));
        assert_eq!((part.count(), rest.count()), (250, 750));
        for percent in [10.0, 50.0, 90.0] {
            let [all, part, rest] = [&times, &part, &rest].map(|times| times.percentile(percent).unwrap().as_nanos());
            assert!(part.abs_diff(all) <= 4 && rest.abs_diff(all) <= 4, "{percent}: {part} {rest} of {all}");
        }
        let mut both = part;
        both.add(&rest);
        assert_eq!(both, times);
        let most = Latency::of([(1, u64::MAX), (2, u64::MAX)]);
        for part in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let (part, rest) = most.split(part, Duration::from_secs(1));
            assert_eq!(part.count().saturating_add(rest.count()), u64::MAX);
        }
    }

    #[test]
    fn without_removes_a_part() {
        let (some, rest) = (Latency::of([(5, 2), (9_000, 1)]), Latency::of([(4, 1), (5, 1), (70_000, 3)]));
        let mut all = some.clone();
        all.add(&rest);
        assert_eq!((all.without(&some), all.without(&rest)), (rest, some.clone()));
        // Times that are not part of the distribution remove nothing else.
        assert_eq!(some.without(&all), Latency::default());
    }

    #[test]
    fn the_extreme_times_and_counts_are_kept() {
        let times = Latency::of([(u64::MAX, u64::MAX), (0, 1), (u64::MAX, 1)]);
        assert_eq!(times.count(), u64::MAX);
        assert_eq!(times.min().unwrap().as_nanos(), 0);
        assert_eq!(times.percentile(100.0), times.max());
        assert_eq!(times.max().unwrap().as_nanos(), u128::from(u64::MAX));
        assert!(times.mean().is_some());
    }

    #[test]
    fn a_second_of_many_times_takes_few_bytes() {
        let times = Latency::of((0..1_000_000_u64).map(|n| (40_000 + n % 20_000 + n * n % 977 * 1000, 1)));
        assert!(times.packed.len() < 16_000, "{} bytes", times.packed.len());
    }

    proptest! {
        #[test]
        fn it_agrees_with_hdrhistogram(
            times in prop::collection::vec((0_u64..4_000_000_000_000, 1_u64..1000), 1..200),
        ) {
            let mut theirs = Latency::recorder();
            theirs.auto(true);
            for &(time, count) in &times {
                theirs.record_n(time, count).unwrap();
            }
            let ours = Latency::of(times);
            prop_assert_eq!(&ours, &Latency::from(&theirs));
            prop_assert_eq!(ours.count(), theirs.len());
            for percent in [1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
                let theirs = theirs.value_at_percentile(percent);
                prop_assert_eq!(ours.percentile(percent).unwrap().as_nanos(), u128::from(theirs));
            }
            prop_assert_eq!(ours.min().unwrap().as_nanos(), u128::from(theirs.min()));
            prop_assert_eq!(ours.max().unwrap().as_nanos(), u128::from(theirs.max()));
            let (ours, theirs) = (ours.mean().unwrap().as_nanos() as f64, theirs.mean());
            prop_assert!((ours - theirs).abs() <= theirs / 1000.0 + 1.0, "{} {}", ours, theirs);
        }

        #[test]
        fn a_sum_is_the_recording_of_both(
            a in prop::collection::vec((any::<u64>(), 0_u64..1000), 0..100),
            b in prop::collection::vec((any::<u64>(), 0_u64..1000), 0..100),
        ) {
            let mut sum = Latency::of(a.clone());
            sum.add(&Latency::of(b.clone()));
            prop_assert_eq!(sum, Latency::of(a.into_iter().chain(b)));
        }
    }
}
