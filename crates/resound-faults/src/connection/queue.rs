//! What waits to leave in one direction: bytes and marks in their order, each with the time from
//! which it may.

use std::collections::VecDeque;
use std::time::Instant;

/// Something that happens between two bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) action: MarkAction,
    /// The sender's bytes before it.
    pub(super) offset: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum MarkAction {
    /// The connection's rule at this index happened to the bytes after: only its event is due.
    Note(usize),
    /// The same, and it acts here.
    Act(usize),
    /// The sender's FIN.
    Fin,
    /// The sender's RST.
    Rst,
    /// The receiver gets a FIN, because its sender is gone.
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Bytes(usize),
    Mark(Mark),
}

#[derive(Debug, Default)]
pub(super) struct TimedQueue {
    bytes: VecDeque<u8>,
    /// Their times never decrease.
    items: VecDeque<(Instant, Item)>,
    last: Option<Instant>,
}

impl TimedQueue {
    /// What an item costs beside its bytes, so that many small pieces count as what they take.
    const ITEM: usize = 32;

    /// Its bytes, and its items as such.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.items.len() * Self::ITEM
    }

    fn not_before(&mut self, ready: Instant) -> Instant {
        let ready = self.last.map_or(ready, |last| last.max(ready));
        self.last = Some(ready);
        ready
    }

    pub(super) fn push(&mut self, bytes: &[u8], ready: Instant, now: Instant) {
        if bytes.is_empty() {
            return;
        }
        let ready = self.not_before(ready);
        self.bytes.extend(bytes);
        match self.items.back_mut() {
            // Both may leave: when they came makes no difference any more.
            Some((last, Item::Bytes(length))) if *last == ready || ready <= now => *length += bytes.len(),
            _ => self.items.push_back((ready, Item::Bytes(bytes.len()))),
        }
    }

    pub(super) fn push_mark(&mut self, mark: Mark, ready: Instant) {
        let ready = self.not_before(ready);
        self.items.push_back((ready, Item::Mark(mark)));
    }

    pub(super) fn front(&self) -> Option<(Instant, Item)> {
        self.items.front().copied()
    }

    /// Moves bytes of the item in front; at most its own.
    pub(super) fn take(&mut self, length: usize, out: &mut Vec<u8>) {
        let Some((_, Item::Bytes(left))) = self.items.front_mut() else { return };
        let length = length.min(*left);
        *left -= length;
        if *left == 0 {
            self.items.pop_front();
        }
        let (first, second) = self.bytes.as_slices();
        let head = length.min(first.len());
        out.extend_from_slice(&first[..head]);
        out.extend_from_slice(&second[..length - head]);
        self.bytes.drain(..length);
    }

    pub(super) fn pop_mark(&mut self) {
        if let Some((_, Item::Mark(_))) = self.items.front() {
            self.items.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
