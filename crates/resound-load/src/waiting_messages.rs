//! [`UnfinishedMessages`]: messages that were never sent or never answered. Their wait ends with
//! the run.

use std::collections::BTreeMap;

use super::{Bucket, Record};

/// Messages by the time from which they wait, in bounded memory: neighbouring times are merged if
/// there are many.
#[derive(Debug, Default)]
pub(super) struct WaitingMessages {
    /// A time's bucket is the time shifted right by this.
    shift: u32,
    buckets: BTreeMap<u64, u64>,
}

impl WaitingMessages {
    /// The largest number of buckets.
    const MOST: usize = 4096;

    pub(super) fn add(&mut self, since: u64, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = self.buckets.entry(since >> self.shift).or_default();
        *bucket = bucket.saturating_add(count);
        while self.buckets.len() > Self::MOST {
            self.coarsen(self.shift + 1);
        }
    }

    /// Moves all messages of another to this one.
    pub(super) fn append(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.coarsen(self.shift.max(other.shift));
        other.buckets().for_each(|bucket| self.add(bucket.from, bucket.count));
    }

    /// The times from which messages wait.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let width = (1_u64 << self.shift) - 1;
        self.buckets.iter().map(move |(&bucket, &count)| {
            let from = bucket << self.shift;
            Bucket { from, to: from | width, count }
        })
    }

    fn coarsen(&mut self, shift: u32) {
        let by = shift - self.shift;
        if by == 0 {
            return;
        }
        self.shift = shift;
        for (bucket, count) in std::mem::take(&mut self.buckets) {
            let sum = self.buckets.entry(bucket >> by).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

/// Messages that are settled when the run is over. Times are nanoseconds from its start.
#[derive(Debug, Default)]
pub(super) struct UnfinishedMessages {
    /// Planned and never sent, because the connection was blocked or missing; by planned time.
    pub(super) unsent: WaitingMessages,
    /// Planned and never sent, because the generator itself was too slow; by planned time.
    pub(super) lagged: WaitingMessages,
    /// Given up before the run was over, by planned time.
    pub(super) unanswered: WaitingMessages,
    /// The same messages, by the time at which they were sent.
    pub(super) unanswered_sent: WaitingMessages,
    /// The first connections with unsent messages, and the planned time of the first of these.
    pub(super) named: Vec<(u64, u64)>,
}

impl UnfinishedMessages {
    /// This connection has unsent messages, planned from `since` on.
    pub(super) fn name(&mut self, connection: u64, since: u64) {
        if self.named.len() < Record::FAILURES {
            self.named.push((connection, since));
        }
    }

    /// Moves all messages of another set to this one.
    pub(super) fn append(&mut self, other: &mut Self) {
        let Self { unsent, lagged, unanswered, unanswered_sent, named } = self;
        named.append(&mut other.named);
        named.truncate(Record::FAILURES);
        unsent.append(&mut other.unsent);
        lagged.append(&mut other.lagged);
        unanswered.append(&mut other.unanswered);
        unanswered_sent.append(&mut other.unanswered_sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(messages: &WaitingMessages) -> u64 {
        messages.buckets().map(|bucket| bucket.count).sum()
    }

    #[test]
    fn few_times_are_kept_exactly() {
        let mut messages = WaitingMessages::default();
        for since in [7, 1_000_000_007, 7, u64::MAX] {
            messages.add(since, 2);
        }
        let buckets: Vec<_> = messages.buckets().map(|bucket| (bucket.from, bucket.to, bucket.count)).collect();
        assert_eq!(buckets, [(7, 7, 4), (1_000_000_007, 1_000_000_007, 2), (u64::MAX, u64::MAX, 2)]);
    }

    #[test]
    fn many_times_are_merged_with_their_neighbours() {
        let (mut one, mut other) = (WaitingMessages::default(), WaitingMessages::default());
        for n in 0..100_000_u64 {
            one.add(n * 50_000, 1);
            assert!(one.buckets.len() <= WaitingMessages::MOST);
        }
        other.add(3, 5);
        other.append(&mut one);
        assert_eq!((count(&other), count(&one)), (100_005, 0));
        assert!(other.buckets.len() <= WaitingMessages::MOST);
        // Five seconds in four thousand buckets: none is wider than the next power of two.
        assert!(other.buckets().all(|bucket| bucket.to - bucket.from < 5_000_000_000 / 2048), "{:?}", other.shift);
        one.append(&mut other);
        assert_eq!(count(&one), 100_005);
    }
}
