//! Bytes that wait to be sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use resound_proto::SharedBytes;

/// The size of a copied piece: as much as a socket takes at once, and a size that the allocator
/// reuses.
const PIECE: usize = 64 * 1024;
/// The least capacity of a piece.
const LEAST: usize = 4 * 1024;

/// A queue of pieces: sent pieces give their memory back, and no byte moves. Bytes are copied into
/// pieces of a fixed capacity, or keep the memory that they came in; shared bytes wait where they
/// are. The queue owns memory only while
/// it holds something.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "there are many queues, and nearly all of them are empty")]
pub(super) struct Queue(Option<Box<VecDeque<Queued>>>);

/// One piece.
#[derive(Debug)]
pub(super) enum Queued {
    Copied { bytes: Vec<u8>, from: usize },
    Shared(Bytes),
}

impl Queued {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied { bytes, from } => &bytes[*from..],
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let pieces = self.0.get_or_insert_default();
            match pieces.back_mut() {
                // No piece grows: that would leave memory that is neither used nor given back.
                Some(Queued::Copied { bytes: last, .. }) if last.len() < last.capacity() => {
                    let (now, later) = bytes.split_at(bytes.len().min(last.capacity() - last.len()));
                    last.extend_from_slice(now);
                    bytes = later;
                }
                _ => {
                    let room = Vec::with_capacity(bytes.len().clamp(LEAST, PIECE));
                    pieces.push_back(Queued::Copied { bytes: room, from: 0 });
                }
            }
        }
    }

    /// Queues bytes with their memory, and gives back what they do not fill.
    // The io_uring engine alone sends from the memory that an answer was written to.
    #[cfg(any(target_os = "linux", test))]
    pub(super) fn push_owned(&mut self, mut bytes: Vec<u8>) {
        bytes.shrink_to_fit();
        self.0.get_or_insert_default().push_back(Queued::Copied { bytes, from: 0 });
    }

    /// Queues the output of an event: `out`, and the shared bytes between its parts, each with the
    /// number of bytes of `out` before it.
    pub(super) fn push_all(&mut self, out: &[u8], shares: SharedBytes) {
        let mut from = 0;
        for (at, bytes) in shares.into_parts() {
            self.push(&out[from..at]);
            self.0.get_or_insert_default().push_back(Queued::Shared(bytes));
            from = at;
        }
        self.push(&out[from..]);
    }

    /// Takes the next piece, unless it is longer than `most`.
    pub(super) fn pop_up_to(&mut self, most: usize) -> Option<Queued> {
        let pieces = self.0.as_mut()?;
        let first = pieces.pop_front_if(|first| first.bytes().len() <= most);
        if pieces.is_empty() {
            self.0 = None;
        }
        first
    }

    /// The first pieces, for one call. Returns how many there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.0.iter().flat_map(|pieces| pieces.iter());
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece.bytes())).count()
    }

    /// `n` bytes have been sent.
    pub(super) fn consume(&mut self, mut n: usize) {
        while n > 0
            && let Some(first) = self.0.as_mut().and_then(|pieces| pieces.front_mut())
        {
            let len = first.bytes().len();
            if n >= len {
                n -= len;
                self.pop_up_to(len);
                continue;
            }
            match first {
                Queued::Copied { from, .. } => *from += n,
                Queued::Shared(bytes) => bytes.advance(n),
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue with `len` bytes, some of which are shared.
    fn filled(len: u32, part: usize) -> (Queue, Vec<u8>) {
        let mut queue = Queue::default();
        let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
        for (n, part) in bytes.chunks(part).enumerate() {
            match n % 4 {
                0 => queue.push(part),
                3 => queue.push_owned(part.to_vec()),
                1 => queue.push_all(&[], SharedBytes::of(vec![(0, Bytes::copy_from_slice(part))])),
                _ => {
                    let (head, rest) = part.split_at(part.len() / 3);
                    let (shared, tail) = rest.split_at(rest.len() / 2);
                    let out = [head, tail].concat();
                    queue.push_all(&out, SharedBytes::of(vec![(head.len(), Bytes::copy_from_slice(shared))]));
                }
            }
        }
        (queue, bytes)
    }

    #[test]
    fn a_piece_takes_little_more_memory_than_it_holds() {
        let mut queue = Queue::default();
        for length in [1, 100, 5000, 3, 40_000, 20_000, 7] {
            queue.push(&vec![7; length]);
        }
        let capacity = |piece| match piece {
            Queued::Copied { bytes, .. } => bytes.capacity(),
            Queued::Shared(_) => 0,
        };
        let taken: usize = std::iter::from_fn(|| queue.pop_up_to(usize::MAX)).map(capacity).sum();
        assert!(taken <= 65_111 + LEAST, "{taken} bytes");
    }

    #[test]
    fn bytes_come_out_in_order_and_in_pieces() {
        let (mut queue, bytes) = filled(300_000, 7_001);
        let mut out = Vec::new();
        while let Some(piece) = queue.pop_up_to(usize::MAX) {
            assert!(!piece.bytes().is_empty() && piece.bytes().len() <= PIECE);
            out.extend_from_slice(piece.bytes());
        }
        assert!(out == bytes && queue.is_empty());
    }

    #[test]
    fn sent_bytes_are_not_returned_again() {
        for step in [1, 100, 233, 701, 2_000, 5_000] {
            let (mut queue, bytes) = filled(5_000, 701);
            let mut left = 0;
            while !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let n = queue.slices(&mut slices);
                let seen = slices[..n].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>();
                assert!(n > 0 && bytes[left..].starts_with(&seen), "{step} {left}");
                let step = step.min(seen.len());
                left += step;
                queue.consume(step);
            }
            assert_eq!(left, bytes.len());
        }
    }

    #[test]
    fn a_piece_longer_than_wanted_stays() {
        let mut queue = Queue::default();
        queue.push(&[1; 10]);
        assert!(queue.pop_up_to(9).is_none() && !queue.is_empty());
        assert!(queue.pop_up_to(10).is_some() && queue.is_empty());
    }
}
