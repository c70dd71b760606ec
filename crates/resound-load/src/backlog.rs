//! [`UnfinishedMessages`]: messages of which nothing came. How long they have waited is known when the run
//! is over.

use std::collections::BTreeMap;

use super::Record;

/// Messages by the instant from which they wait, in bounded memory: where there are many instants,
/// neighbours are joined.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// An instant's slot is its number without so many bits.
    shift: u32,
    slots: BTreeMap<u64, u64>,
}

/// Messages that have waited since some instant between these, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitBucket {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
}

impl Backlog {
    /// Slots at most.
    const MOST: usize = 4096;

    pub(super) fn add(&mut self, since: u64, count: u64) {
        if count == 0 {
            return;
        }
        let slot = self.slots.entry(since >> self.shift).or_default();
        *slot = slot.saturating_add(count);
        while self.slots.len() > Self::MOST {
            self.coarsen(self.shift + 1);
        }
    }

    /// Takes what another has.
    pub(super) fn append(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.coarsen(self.shift.max(other.shift));
        other.slots().for_each(|slot| self.add(slot.first, slot.count));
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = WaitBucket> + '_ {
        let width = (1_u64 << self.shift) - 1;
        self.slots.iter().map(move |(&slot, &count)| {
            let first = slot << self.shift;
            WaitBucket { first, last: first | width, count }
        })
    }

    fn coarsen(&mut self, shift: u32) {
        let by = shift - self.shift;
        if by == 0 {
            return;
        }
        self.shift = shift;
        for (slot, count) in std::mem::take(&mut self.slots) {
            let joined = self.slots.entry(slot >> by).or_default();
            *joined = joined.saturating_add(count);
        }
    }
}

/// What is not settled before the run is over. Instants are those of the run, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct UnfinishedMessages {
    /// Planned and never sent, for the target had no connection or no room for them; by their
    /// planned instants.
    pub(super) unsent: Backlog,
    /// Planned and never sent, for the generator did not come to them; by their planned instants.
    pub(super) lagged: Backlog,
    /// Given up before the run was over, by the instants at which they were planned, and by those
    /// at which they were sent.
    pub(super) unanswered: Backlog,
    pub(super) unanswered_sent: Backlog,
    /// The first connections of which something was never sent, and since when.
    pub(super) named: Vec<(u64, u64)>,
}

impl UnfinishedMessages {
    /// Of this connection something was never sent, from then on.
    pub(super) fn name(&mut self, connection: u64, since: u64) {
        if self.named.len() < Record::FAILURES {
            self.named.push((connection, since));
        }
    }

    /// Takes what another has.
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

    fn count(backlog: &Backlog) -> u64 {
        backlog.slots().map(|slot| slot.count).sum()
    }

    #[test]
    fn few_instants_are_kept_as_they_are() {
        let mut backlog = Backlog::default();
        for since in [7, 1_000_000_007, 7, u64::MAX] {
            backlog.add(since, 2);
        }
        let slots: Vec<_> = backlog.slots().map(|slot| (slot.first, slot.last, slot.count)).collect();
        assert_eq!(slots, [(7, 7, 4), (1_000_000_007, 1_000_000_007, 2), (u64::MAX, u64::MAX, 2)]);
    }

    #[test]
    fn many_are_joined_and_none_is_lost_or_moved_far() {
        let (mut one, mut other) = (Backlog::default(), Backlog::default());
        for n in 0..100_000_u64 {
            one.add(n * 50_000, 1);
            assert!(one.slots.len() <= Backlog::MOST);
        }
        other.add(3, 5);
        other.append(&mut one);
        assert_eq!((count(&other), count(&one)), (100_005, 0));
        assert!(other.slots.len() <= Backlog::MOST);
        // Five seconds in four thousand slots: none is wider than the next power of two.
        assert!(other.slots().all(|slot| slot.last - slot.first < 5_000_000_000 / 2048), "{:?}", other.shift);
        one.append(&mut other);
        assert_eq!(count(&one), 100_005);
    }
}
