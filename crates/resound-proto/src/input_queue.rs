//! Input that has been received and not yet delivered: a partial line, or what backpressure held
//! up.

use crate::service::Framing;

use super::framing::{Frame, cut};

/// At most this many unused bytes are kept.
const MAX_SPARE_CAPACITY: usize = 4 * 1024;

/// Appends to bytes that may wait for long. The capacity grows by an eighth beyond the need, not by
/// a factor of two, but to `least` at once.
fn append(to: &mut Vec<u8>, bytes: &[u8], least: usize) {
    if to.capacity() - to.len() < bytes.len() {
        to.reserve_exact(bytes.len().max(to.len() / 8).max(least.saturating_sub(to.len())));
    }
    to.extend_from_slice(bytes);
}

/// A queue of bytes that remembers how far it was searched. It owns memory only while it holds
/// something.
#[derive(Debug, Default)]
pub(super) struct InputQueue(Option<Box<QueuedInput>>);

#[derive(Debug, Default)]
struct QueuedInput {
    bytes: Vec<u8>,
    /// Bytes before this were delivered.
    from: usize,
    /// Bytes after `from` known to hold no newline.
    scanned: usize,
}

impl QueuedInput {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

impl InputQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            append(&mut self.0.get_or_insert_default().bytes, bytes, 0);
        }
    }

    /// As `push`, with a part of a line, all of which was searched: a newline is its last byte.
    /// Probably the line has `length` bytes; as it grows, its bytes stay where they are.
    pub(super) fn push_part(&mut self, part: &[u8], length: usize) {
        let Some(last) = part.last() else { return };
        let waiting = self.0.get_or_insert_default();
        let before = waiting.scanned;
        append(&mut waiting.bytes, part, length);
        waiting.scanned = waiting.rest().len() - usize::from(*last == b'\n');
        let new = &waiting.rest()[before.min(waiting.scanned)..waiting.scanned];
        debug_assert!(!new.contains(&b'\n'), "a line of which no part was searched");
    }

    /// The message at the head.
    pub(super) fn cut(&mut self, framing: Framing) -> Frame {
        let Some(waiting) = &mut self.0 else { return Frame::More };
        let found = cut(framing, waiting.rest(), waiting.scanned);
        if found == Frame::More {
            waiting.scanned = waiting.rest().len();
        }
        found
    }

    /// All waiting bytes.
    pub(super) fn all(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| waiting.rest())
    }

    /// The first `n` bytes; [`InputQueue::consume`] takes them away.
    pub(super) fn head(&self, n: usize) -> &[u8] {
        &self.all()[..n]
    }

    pub(super) fn consume(&mut self, n: usize) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.from += n;
        waiting.scanned = 0;
        if waiting.from == waiting.bytes.len() {
            self.clear();
        } else if waiting.from > waiting.bytes.len() / 2 {
            // Amortised: each byte is moved at most once for each byte that was consumed.
            waiting.bytes.drain(..waiting.from);
            waiting.from = 0;
        }
    }

    /// The queue is going to wait for long: frees the memory that it does not need meanwhile.
    pub(super) fn settle(&mut self) {
        let Some(waiting) = &mut self.0 else { return };
        if waiting.from > MAX_SPARE_CAPACITY {
            waiting.bytes.drain(..waiting.from);
            waiting.from = 0;
        }
        if waiting.bytes.capacity() - waiting.bytes.len() > MAX_SPARE_CAPACITY {
            waiting.bytes.shrink_to_fit();
        }
    }

    /// Discards all of it, and frees the memory.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_takes_little_more_memory_than_it_holds() {
        let capacity = |held: &InputQueue| held.0.as_ref().map_or(0, |waiting| waiting.bytes.capacity());
        let mut held = InputQueue::default();
        for length in [1, 100, 16_384, 5, 16_384, 3000] {
            held.push(&vec![7; length]);
            assert!(capacity(&held) <= held.len() + held.len() / 8 + 16, "{} bytes", capacity(&held));
        }
        held.consume(10_000);
        held.settle();
        assert!(capacity(&held) <= held.len() + MAX_SPARE_CAPACITY, "{} for {}", capacity(&held), held.len());
    }

    #[test]
    fn a_long_line_stays_where_its_first_part_was_put() {
        let mut held = InputQueue::default();
        held.push_part(&[7; 1000], 65_536);
        assert!(held.0.as_ref().is_some_and(|waiting| waiting.bytes.capacity() >= 65_536), "there is no room for it");
        let first = held.all().as_ptr();
        (0..64).for_each(|_| held.push_part(&[7; 1000], 65_536));
        assert_eq!(held.all().as_ptr(), first, "its bytes have moved");
        let line = Framing::Line { max: 100_000 };
        assert_eq!(held.cut(line), Frame::More);
        held.push_part(b"7\n", 65_536);
        held.push(b"8\n9");
        assert_eq!(held.cut(line), Frame::Message(65_002));
        held.consume(65_002);
        assert_eq!(held.cut(line), Frame::Message(2));
    }
}
