//! Counters: one set per worker, written without locks and summed on read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many reasons a connection can end for ([`CloseReason::NAMES`](crate::CloseReason::NAMES)).
pub const REASONS: usize = 12;

/// One worker's counters. Aligned, so that two workers never write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    opened: AtomicU64,
    messages: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    closed: [AtomicU64; REASONS],
}

impl Counters {
    /// A connection was opened.
    pub(crate) fn add_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    /// A message was delivered to its service.
    pub(crate) fn add_message(&self) {
        self.messages.fetch_add(1, Relaxed);
    }

    /// `n` bytes came from a peer.
    pub(crate) fn add_received(&self, n: usize) {
        self.bytes_in.fetch_add(n as u64, Relaxed);
    }

    /// `n` bytes were handed to the system.
    pub(crate) fn add_sent(&self, n: usize) {
        self.bytes_out.fetch_add(n as u64, Relaxed);
    }

    /// A connection ended for the reason with this index; an index out of range counts as the last reason.
    pub(crate) fn add_closed(&self, reason: usize) {
        self.closed[reason.min(REASONS - 1)].fetch_add(1, Relaxed);
    }

    /// The values now. Each is exact; together they are a moment's picture only once the worker has stopped.
    #[must_use]
    pub(crate) fn read(&self) -> Totals {
        let mut totals = Totals {
            opened: self.opened.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            closed: [0; REASONS],
        };
        for (to, from) in totals.closed.iter_mut().zip(&self.closed) {
            *to = from.load(Relaxed);
        }
        totals
    }
}

/// What was counted: of one worker, or summed over all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections opened.
    pub opened: u64,
    /// Messages delivered to services: lines or chunks.
    pub messages: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes handed to the system for peers.
    pub bytes_out: u64,
    /// Connections ended, by the index of their reason.
    pub closed: [u64; REASONS],
}

impl Totals {
    /// Connections ended, for whatever reason.
    #[must_use]
    pub fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections opened and not yet ended.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.opened.saturating_sub(self.closed_in_all())
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum.opened += part.opened;
            sum.messages += part.messages;
            sum.bytes_in += part.bytes_in;
            sum.bytes_out += part.bytes_out;
            for (to, from) in sum.closed.iter_mut().zip(part.closed) {
                *to += from;
            }
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let (a, b) = (Counters::default(), Counters::default());
        a.add_opened();
        b.add_opened();
        a.add_message();
        a.add_received(5);
        b.add_sent(7);
        b.add_closed(0);
        b.add_closed(usize::MAX);
        let sum: Totals = [a.read(), b.read()].into_iter().sum();
        assert_eq!((sum.opened, sum.messages, sum.bytes_in, sum.bytes_out), (2, 1, 5, 7));
        assert_eq!((sum.closed[0], sum.closed[REASONS - 1], sum.closed_in_all(), sum.live()), (1, 1, 2, 0));
    }
}
