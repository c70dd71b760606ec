//! The part of a queue that one send takes.

use crate::engine::queue::{Queue, Queued};
use crate::engine::sys::SendBytes;

/// The most bytes and pieces of one send. A receiver that is faster than its sender sleeps after
/// each send, and waking it costs more than copying 64 KiB. More would keep other connections
/// waiting.
const BATCH: usize = 512 * 1024;
const PIECES: usize = 16;

/// Takes the next send out of the queue.
pub(super) fn next_send(queue: &mut Queue) -> Option<SendBytes> {
    let first = send_bytes(queue.pop_up_to(usize::MAX)?);
    let mut left = BATCH.saturating_sub(first.len());
    let Some(second) = queue.pop_up_to(left) else { return Some(first) };
    let mut parts = vec![first];
    let mut next = Some(second);
    while let Some(piece) = next {
        parts.push(send_bytes(piece));
        left -= parts[parts.len() - 1].len();
        next = if parts.len() < PIECES { queue.pop_up_to(left) } else { None };
    }
    Some(SendBytes::several(parts))
}

fn send_bytes(piece: Queued) -> SendBytes {
    match piece {
        Queued::Copied { bytes, from } => SendBytes::Owned { bytes, from },
        Queued::Shared(bytes) => SendBytes::Shared(bytes),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use resound_proto::SharedBytes;

    #[test]
    fn a_batch_is_bounded_and_in_order() {
        let mut queue = Queue::default();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
        for (n, part) in bytes.chunks(30_000).enumerate() {
            match n % 4 {
                0 => part
                    .chunks(100)
                    .for_each(|small| queue.push_all(&[], SharedBytes::of(vec![(0, Bytes::copy_from_slice(small))]))),
                _ => queue.push_all(&part[..1], SharedBytes::of(vec![(1, Bytes::copy_from_slice(&part[1..]))])),
            }
        }
        let (mut sent, mut calls) = (Vec::new(), 0);
        while let Some(send) = next_send(&mut queue) {
            let mut pieces = 0;
            send.each(&mut |piece| {
                sent.extend_from_slice(piece);
                pieces += 1;
            });
            assert!(send.len() <= BATCH && pieces <= PIECES, "{} {pieces}", send.len());
            calls += 1;
        }
        assert!(sent == bytes && calls < 200, "{calls}");
    }
}
