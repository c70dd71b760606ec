//! [`ChunkTable`]: random bytes, made once per run. Long messages are slices of it: they cost
//! nothing to make, and one comparison to check.

use std::ops::Range;

use bytes::Bytes;

use super::hash::mix;

/// The number of places where a chunk can begin, as a power of two. The table should fit in the
/// processor's cache, beside the bytes that are sent and received.
const PLACES: u32 = 20;
/// The bytes of a chunk. A longer message continues in another one.
pub(super) const CHUNK: usize = 64 * 1024;

/// A message is a sequence of chunks, and each chunk begins at a place of its own. Two chunks of
/// one connection begin at the same place only if as many others lie between them as there are
/// places. The places of other connections are independent. So a block that was dropped, repeated
/// or swapped never equals the expected one.
///
/// Whole chunks always differ. Parts of two chunks, at different distances from their beginnings,
/// are equal at one distance in a million ([`PLACES`]), and each pair of chunks has another
/// distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkTable(Bytes);

impl ChunkTable {
    /// A table whose bytes `word` makes, eight from each random number.
    pub(super) fn new(seed: u64, word: impl Fn(u64) -> [u8; 8]) -> Self {
        let words = ((1 << PLACES) + CHUNK) as u64 / 8;
        Self((0..words).flat_map(|n| word(mix(mix(seed).wrapping_add(n)))).collect::<Vec<u8>>().into())
    }

    /// A part of the chunk with this number, on the connection with this key.
    pub(super) fn chunk(&self, connection: u64, number: u64, part: Range<usize>) -> &[u8] {
        &self.0[range(connection, number, part)]
    }

    /// The same, to be sent without a copy.
    pub(super) fn share(&self, connection: u64, number: u64, part: Range<usize>) -> Bytes {
        self.0.slice(range(connection, number, part))
    }
}

fn range(connection: u64, number: u64, part: Range<usize>) -> Range<usize> {
    let place = place(connection, number);
    place + part.start..place + part.end
}

/// Where a chunk begins. Each step is a permutation of the places, and each connection has its own.
fn place(connection: u64, number: u64) -> usize {
    const LAST: u64 = (1 << PLACES) - 1;
    let (round, number) = (number >> PLACES, number & LAST);
    let key = mix(connection ^ mix(!round));
    let mut place = number.wrapping_add(key) & LAST;
    for odd in [key >> 20 | 1, key >> 40 | 1] {
        place = place.wrapping_mul(odd) & LAST;
        place ^= place >> (PLACES / 2);
    }
    place as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_chunks_begin_each_at_another_place() {
        for connection in [0, 1, mix(7)] {
            let mut seen = vec![false; 1 << PLACES];
            for number in 5 << PLACES..6 << PLACES {
                assert!(!std::mem::replace(&mut seen[place(connection, number)], true), "{number}");
            }
        }
    }

    #[test]
    fn neighbours_are_never_at_the_same_distance_for_long() {
        let last = (1 << PLACES) - 1;
        let places: Vec<_> = (0..100_000).map(|number| place(mix(3), number)).collect();
        for apart in 1..100 {
            let steps = places.iter().zip(&places[apart..]).map(|(a, b)| b.wrapping_sub(*a) & last);
            let mut counts = std::collections::HashMap::new();
            steps.for_each(|step| *counts.entry(step).or_insert(0) += 1);
            let most = counts.values().max().unwrap();
            assert!(*most < 1_000, "{apart} chunks apart: the same step {most} times");
        }
    }
}
