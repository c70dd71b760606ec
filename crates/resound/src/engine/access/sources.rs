//! How many connections a source has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whom limits count as one: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SourceKey(u64);

impl SourceKey {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // No network of IPv6 looks like this: ::/64 is nobody's but this machine's, which has bit 32 set here.
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => match (v6.to_bits() >> 64) as u64 {
                0 => 1 << 32,
                network => network,
            },
        })
    }
}

/// How many connections each source has. It holds those who have any, so it is bounded by the connections that there are.
pub(super) struct SourceCounts {
    most: NonZeroU32,
    live: Mutex<SourceEntry>,
}

#[derive(Default)]
struct SourceEntry {
    counts: HashMap<SourceKey, u32>,
    /// Who sits where; nobody yet, where a PROXY header has still to say who it is.
    seats: Vec<Option<SourceKey>>,
    free: Vec<u32>,
}

/// What a connection that is counted keeps: it says where. Small, since each connection has one.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct SourcePermit(Option<NonZeroU32>);

/// Which seat that is, for who must find it without having it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceIndex(Option<NonZeroU32>);

impl SourcePermit {
    pub(crate) fn number(&self) -> SourceIndex {
        SourceIndex(self.0)
    }
}

impl SourceCounts {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { most, live: Mutex::default() }
    }

    /// A seat for one more connection. Nobody is counted for it yet.
    pub(super) fn reserve(&self) -> SourcePermit {
        self.live().reserve()
    }

    /// Gives a seat that nobody sits in to a source; says no where that has as many as it may.
    pub(super) fn seat(&self, number: SourceIndex, source: SourceKey) -> bool {
        let Some(at) = number.0.map(index) else { return true };
        let mut live = self.live();
        let counted = live.seats[at].is_none() && live.count(source, self.most);
        if counted {
            live.seats[at] = Some(source);
        }
        counted
    }

    /// The source in this seat is counted no more; the seat stays the connection's.
    pub(super) fn vacate(&self, number: SourceIndex) {
        if let Some(at) = number.0.map(index) {
            self.live().vacate(at);
        }
    }

    /// The connection with this seat is over.
    pub(super) fn leave(&self, seat: SourcePermit) {
        let Some(at) = seat.0 else { return };
        let mut live = self.live();
        live.vacate(index(at));
        live.free.push(at.get() - 1);
    }

    fn live(&self) -> MutexGuard<'_, SourceEntry> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceEntry {
    /// Counts one more connection of this source, if it may have one more.
    fn count(&mut self, source: SourceKey, most: NonZeroU32) -> bool {
        let count = self.counts.entry(source).or_default();
        let may = *count < most.get();
        *count += u32::from(may);
        may
    }

    fn reserve(&mut self) -> SourcePermit {
        let at = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            self.seats.len() as u32 - 1
        });
        SourcePermit(NonZeroU32::new(at + 1))
    }

    fn vacate(&mut self, at: usize) {
        if let Some(source) = self.seats[at].take()
            && let Entry::Occupied(mut count) = self.counts.entry(source)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn index(seat: NonZeroU32) -> usize {
    seat.get() as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_for_each_source_and_come_back() {
        let sources = SourceCounts::new(NonZeroU32::new(2).unwrap());
        let take = |text: &str| {
            let seat = sources.reserve();
            let counted = sources.seat(seat.number(), SourceKey::of(text.parse().unwrap()));
            if counted {
                return Some(seat);
            }
            sources.leave(seat);
            None
        };
        let one = take("192.0.2.1").unwrap();
        let two = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2").unwrap();
        sources.leave(one);
        let again = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        sources.vacate(again.number());
        let third = take("192.0.2.1").unwrap();
        sources.leave(other);
        assert_eq!(sources.live().counts.len(), 1, "who has gone is forgotten");
        for seat in [two, again, third] {
            sources.leave(seat);
        }
        assert!(sources.live().counts.is_empty());
        assert!(sources.live().seats.len() <= 4, "seats are used again");
        sources.leave(SourcePermit::default());
    }

    #[test]
    fn a_site_is_one_source() {
        let source = |text: &str| SourceKey::of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("::1"), source("0.0.0.0"));
    }
}
