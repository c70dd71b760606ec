//! How many connections a source has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whom limits count as one: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(u64);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address {
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
pub(super) struct Sources {
    most: NonZeroU32,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    /// Where in `counts` a source is.
    known: HashMap<Source, u32>,
    counts: Vec<(Source, u32)>,
    /// Where nobody is.
    free: Vec<u32>,
}

/// What a connection that is counted keeps: it says where. Small, since each connection has one.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Seat(Option<NonZeroU32>);

impl Sources {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { most, live: Mutex::default() }
    }

    /// A seat for one more connection; `None` where the source has as many as it may.
    pub(super) fn take(&self, source: Source) -> Option<Seat> {
        let mut live = self.live();
        let Live { known, counts, free } = &mut *live;
        let at = *known.entry(source).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                counts.push((source, 0));
                counts.len() as u32 - 1
            })
        });
        let (whose, count) = &mut counts[at as usize];
        if *count >= self.most.get() {
            return None;
        }
        *whose = source;
        *count += 1;
        Some(Seat(NonZeroU32::new(at + 1)))
    }

    /// The connection with this seat is over.
    pub(super) fn leave(&self, seat: Seat) {
        let Some(at) = seat.0.map(|at| at.get() - 1) else { return };
        let mut live = self.live();
        let (source, count) = &mut live.counts[at as usize];
        *count -= 1;
        if *count == 0 {
            let source = *source;
            live.known.remove(&source);
            live.free.push(at);
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_for_each_source_and_come_back() {
        let sources = Sources::new(NonZeroU32::new(2).unwrap());
        let source = |text: &str| Source::of(text.parse().unwrap());
        let one = sources.take(source("192.0.2.1")).unwrap();
        let two = sources.take(source("192.0.2.1")).unwrap();
        assert!(sources.take(source("192.0.2.1")).is_none());
        let other = sources.take(source("192.0.2.2")).unwrap();
        sources.leave(one);
        let again = sources.take(source("192.0.2.1")).unwrap();
        assert!(sources.take(source("192.0.2.1")).is_none());
        sources.leave(other);
        let third = sources.take(source("192.0.2.3")).unwrap();
        assert_eq!(sources.live().counts.len(), 2, "who has gone is forgotten");
        for seat in [two, again, third] {
            sources.leave(seat);
        }
        assert!(sources.live().known.is_empty());
        sources.leave(Seat::default());
    }

    #[test]
    fn a_site_is_one_source() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("::1"), source("0.0.0.0"));
    }
}
