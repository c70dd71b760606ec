//! [`SourceCounts`]: how many connections each source has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// The source of an address, which limits count as one: an IPv4 address, or an IPv6 network of 64
/// bits.
pub(super) fn source_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No IPv6 network has such a number: ::/64, which only this machine uses, has bit 32 set
        // here.
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => match (v6.to_bits() >> 64) as u64 {
            0 => 1 << 32,
            network => network,
        },
    }
}

/// How many connections each source has. The table holds only sources with connections, so the
/// number of connections bounds it.
///
/// A connection reserves a slot, a number from 1 up, before its source is known: behind a proxy the
/// header names it.
pub(super) struct SourceCounts {
    most: NonZeroU32,
    counts: HashMap<u64, u32>,
    /// The source counted for each slot; `None` before the source is known.
    slots: Vec<Option<u64>>,
    free: Vec<u32>,
}

impl SourceCounts {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { most, counts: HashMap::new(), slots: Vec::new(), free: Vec::new() }
    }

    /// Sets how many connections a source may have. One that has more keeps them.
    pub(super) fn set_most(&mut self, most: NonZeroU32) {
        self.most = most;
    }

    /// A slot for one more connection, which counts for no source yet.
    pub(super) fn reserve(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32
        })
    }

    /// Counts the connection with this slot for a source; `false` where the source has as many as
    /// it may.
    pub(super) fn count(&mut self, slot: u32, source: u64) -> bool {
        let count = self.counts.entry(source).or_default();
        if *count >= self.most.get() {
            return false;
        }
        *count += 1;
        self.slots[slot as usize - 1] = Some(source);
        true
    }

    /// Counts the connection no longer. It keeps its slot.
    pub(super) fn uncount(&mut self, slot: u32) {
        if let Some(source) = self.slots[slot as usize - 1].take()
            && let Some(count) = self.counts.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }

    /// The connection with this slot has ended.
    pub(super) fn release(&mut self, slot: u32) {
        self.uncount(slot);
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_for_each_source_and_released() {
        let mut sources = SourceCounts::new(NonZeroU32::new(2).unwrap());
        let take = |sources: &mut SourceCounts, text: &str| {
            let slot = sources.reserve();
            if sources.count(slot, source_of(text.parse().unwrap())) {
                return Some(slot);
            }
            sources.release(slot);
            None
        };
        let one = take(&mut sources, "192.0.2.1").unwrap();
        let two = take(&mut sources, "192.0.2.1").unwrap();
        assert!(take(&mut sources, "192.0.2.1").is_none());
        let other = take(&mut sources, "192.0.2.2").unwrap();
        sources.release(one);
        let again = take(&mut sources, "192.0.2.1").unwrap();
        assert!(take(&mut sources, "192.0.2.1").is_none());
        sources.uncount(again);
        let third = take(&mut sources, "192.0.2.1").unwrap();
        sources.release(other);
        assert_eq!(sources.counts.len(), 1, "a source without connections takes no memory");
        for slot in [two, again, third] {
            sources.release(slot);
        }
        assert!(sources.counts.is_empty());
        assert!(sources.slots.len() <= 4, "slots are used again");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_source() {
        let source = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("::1"), source("0.0.0.0"));
    }
}
