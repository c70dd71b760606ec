//! Bytes that wait to be sent.

use std::collections::VecDeque;

/// One piece, and one send: as much as a socket takes at once, and a size that the allocator finds again.
const PIECE: usize = 64 * 1024;

/// A queue in pieces that never grow beyond a size: what has left gives its memory back, and nothing is moved. It owns memory only while it
/// holds something.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "there are many queues, and nearly all of them are empty")]
pub(super) struct Queue(Option<Box<VecDeque<Vec<u8>>>>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let pieces = self.0.get_or_insert_default();
            if pieces.back().is_none_or(|last| last.len() == PIECE) {
                pieces.push_back(Vec::with_capacity(bytes.len().min(PIECE)));
            }
            if let Some(last) = pieces.back_mut() {
                let (now, later) = bytes.split_at(bytes.len().min(PIECE - last.len()));
                last.extend_from_slice(now);
                bytes = later;
            }
        }
    }

    /// The next piece.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let pieces = self.0.as_mut()?;
        let first = pieces.pop_front();
        if pieces.is_empty() {
            self.0 = None;
        }
        first
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_in_pieces() {
        let mut queue = Queue::default();
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        for part in bytes.chunks(7_001) {
            queue.push(part);
        }
        let mut out = Vec::new();
        while let Some(piece) = queue.pop() {
            assert!(!piece.is_empty() && piece.capacity() <= 2 * PIECE);
            out.extend(piece);
        }
        assert!(out == bytes && queue.is_empty());
    }
}
