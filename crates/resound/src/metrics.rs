//! Counters: one set per worker, written without locks and summed on read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many reasons a connection can end for ([`CloseReason::NAMES`](crate::CloseReason::NAMES)).
pub const REASONS: usize = 20;

/// How many reasons there are to refuse a connection ([`Refusal::NAMES`](crate::Refusal::NAMES)).
pub const REFUSALS: usize = 3;

/// One worker's counters. Aligned, so that two workers never write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    opened: AtomicU64,
    unopened: AtomicU64,
    messages: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    closed: [AtomicU64; REASONS],
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// Connections opened.
    Opened,
    /// Connections that ended before they were.
    Unopened,
    /// Messages delivered to their services.
    Messages,
    /// Bytes received from peers.
    BytesIn,
    /// Bytes handed to the system.
    BytesOut,
    /// Connections ended for the reason with this index; one out of range counts as the last.
    Closed(usize),
}

/// How many threads write to one set of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// A worker of its own: a plain addition will do.
    One,
    /// Several: each addition is a locked one.
    Many,
}

impl Counters {
    /// Adds `n`.
    pub(crate) fn add(&self, what: Counter, n: u64, writers: Writers) {
        let counter = match what {
            Counter::Opened => &self.opened,
            Counter::Unopened => &self.unopened,
            Counter::Messages => &self.messages,
            Counter::BytesIn => &self.bytes_in,
            Counter::BytesOut => &self.bytes_out,
            Counter::Closed(reason) => &self.closed[reason.min(REASONS - 1)],
        };
        match writers {
            Writers::One => counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed),
            Writers::Many => drop(counter.fetch_add(n, Relaxed)),
        }
    }

    /// The values now. Each is exact; together they are a moment's picture only once the worker has stopped.
    #[must_use]
    pub(crate) fn read(&self) -> Totals {
        let mut totals = Totals {
            opened: self.opened.load(Relaxed),
            unopened: self.unopened.load(Relaxed),
            messages: self.messages.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            closed: [0; REASONS],
            refused: [0; REFUSALS],
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
    /// Connections that ended before they were opened: what has to come first did not.
    pub unopened: u64,
    /// Messages delivered to services: lines or chunks.
    pub messages: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes handed to the system for peers.
    pub bytes_out: u64,
    /// Connections ended, opened or not, by the index of their reason.
    pub closed: [u64; REASONS],
    /// Connections refused by [`Access`](crate::Access), by [`Refusal`](crate::Refusal). Those that were refused right after they were accepted no
    /// other number counts; those whose PROXY header was read first ended unopened as well.
    pub refused: [u64; REFUSALS],
}

impl Totals {
    /// Connections refused, for whatever reason.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Connections ended, for whatever reason.
    #[must_use]
    pub fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections opened and not yet ended.
    #[must_use]
    pub fn live(&self) -> u64 {
        (self.opened + self.unopened).saturating_sub(self.closed_in_all())
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum.opened += part.opened;
            sum.unopened += part.unopened;
            sum.messages += part.messages;
            sum.bytes_in += part.bytes_in;
            sum.bytes_out += part.bytes_out;
            for (to, from) in sum.closed.iter_mut().zip(part.closed) {
                *to += from;
            }
            for (to, from) in sum.refused.iter_mut().zip(part.refused) {
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
        a.add(Counter::Opened, 1, Writers::One);
        b.add(Counter::Opened, 1, Writers::Many);
        a.add(Counter::Messages, 1, Writers::One);
        a.add(Counter::BytesIn, 2, Writers::One);
        a.add(Counter::BytesIn, 3, Writers::Many);
        b.add(Counter::BytesOut, 7, Writers::One);
        b.add(Counter::Closed(0), 1, Writers::One);
        b.add(Counter::Closed(usize::MAX), 1, Writers::Many);
        b.add(Counter::Unopened, 1, Writers::One);
        b.add(Counter::Closed(2), 1, Writers::One);
        let sum: Totals = [a.read(), b.read()].into_iter().sum();
        assert_eq!((sum.opened, sum.messages, sum.bytes_in, sum.bytes_out), (2, 1, 5, 7));
        assert_eq!((sum.closed[0], sum.closed[REASONS - 1], sum.closed_in_all(), sum.live()), (1, 1, 3, 0));
        assert_eq!(sum.unopened, 1);
    }
}
