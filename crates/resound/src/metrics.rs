//! [`Totals`]: what a server or a dialer has counted. Each worker has [`Counters`] of its own for
//! each listener, written without locks and summed on read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use resound_proto::{CloseReason, Refusal};

/// The counters in front of those of the close reasons.
const PLAIN: usize = 7;
const REASONS: usize = CloseReason::NAMES.len();
pub(crate) const REFUSALS: usize = Refusal::NAMES.len();

/// The longest handshake that each part of [`HandshakeTimes`] counts.
const HANDSHAKES: [Duration; 11] = {
    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }
    [ms(1), Duration::from_micros(2500), ms(5), ms(10), ms(25), ms(50), ms(100), ms(250), ms(500), ms(1000), ms(5000)]
};

/// One worker's counters of one listener. Aligned, so that two workers never write to one cache
/// line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counters {
    events: [AtomicU64; PLAIN + REASONS],
    /// By duration; the last are longer than all of [`HANDSHAKES`].
    handshakes: [AtomicU64; HANDSHAKES.len() + 1],
    /// Of all handshakes together.
    handshake_nanos: AtomicU64,
}

/// A counter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    Started,
    Opened,
    Unopened,
    Messages,
    Unanswered,
    BytesIn,
    BytesOut,
    Closed(CloseReason),
}

impl Counter {
    fn index(self) -> usize {
        match self {
            Self::Opened => 0,
            Self::Unopened => 1,
            Self::Messages => 2,
            Self::BytesIn => 3,
            Self::BytesOut => 4,
            Self::Started => 5,
            Self::Unanswered => 6,
            Self::Closed(reason) => PLAIN + reason.index(),
        }
    }
}

/// How many threads write to one set of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// One worker: a plain addition is enough.
    One,
    /// Several: each addition is atomic.
    Many,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            events: std::array::from_fn(|_| AtomicU64::new(0)),
            handshakes: Default::default(),
            handshake_nanos: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Adds `n`.
    #[inline]
    pub(crate) fn add(&self, counter: Counter, n: u64, writers: Writers) {
        let counter = &self.events[counter.index()];
        match writers {
            Writers::One => counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed),
            Writers::Many => drop(counter.fetch_add(n, Relaxed)),
        }
    }

    /// A handshake has completed.
    pub(crate) fn handshaken(&self, took: Duration) {
        let at = HANDSHAKES.iter().position(|most| took <= *most).unwrap_or(HANDSHAKES.len());
        self.handshakes[at].fetch_add(1, Relaxed);
        self.handshake_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn handshakes(&self) -> HandshakeTimes {
        HandshakeTimes {
            counts: std::array::from_fn(|at| self.handshakes[at].load(Relaxed)),
            sum: Duration::from_nanos(self.handshake_nanos.load(Relaxed)),
        }
    }

    /// The values now. Each is exact; together they show one moment only once the worker has
    /// stopped.
    pub(crate) fn read(&self) -> Totals {
        let read = |counter: Counter| self.events[counter.index()].load(Relaxed);
        // First: what has ended by then has started before.
        let closed = std::array::from_fn(|at| self.events[PLAIN + at].load(Relaxed));
        Totals {
            started: read(Counter::Started),
            opened: read(Counter::Opened),
            unopened: read(Counter::Unopened),
            messages: read(Counter::Messages),
            unanswered: read(Counter::Unanswered),
            bytes_in: read(Counter::BytesIn),
            bytes_out: read(Counter::BytesOut),
            closed,
            refused: [0; REFUSALS],
        }
    }
}

/// What one worker has counted, or the sum over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted, or dialled, and not refused at once: their handshake may be under way.
    pub started: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections that ended before they were opened: their [`Handshake`](crate::Handshake) did
    /// not complete, or they waited for a place until the end of a drain.
    pub unopened: u64,
    /// Messages delivered to services: lines or chunks.
    pub messages: u64,
    /// Of a server: messages received whose answers their peers did not get, because they came
    /// after the drain began or their connections ended too early, on either side. Not all of them
    /// were delivered to services. Where a connection ends with more in its socket than a few
    /// kilobytes, their number follows from the average length of its messages.
    pub unanswered: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes handed to the system for peers.
    pub bytes_out: u64,
    closed: [u64; REASONS],
    refused: [u64; REFUSALS],
}

impl Totals {
    /// Connections ended for this reason, opened or not. What a reason carries makes no difference:
    /// all reasons of one [name](CloseReason::name) are one count.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Connections ended, by the [name](CloseReason::name) of the reason, zeros included.
    pub fn closed_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseReason::NAMES.iter().copied().zip(self.closed)
    }

    /// Connections ended, for any reason.
    #[must_use]
    pub fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections refused for this reason by [`Access`](crate::server::Access). A connection
    /// refused right after it was accepted is in no other count; one refused after its PROXY header
    /// ended unopened as well.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Connections refused, by the name of the reason ([`Refusal::NAMES`]), zeros included.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.iter().copied().zip(self.refused)
    }

    /// Connections refused, for any reason.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Connections opened and not yet ended.
    #[must_use]
    pub fn live(&self) -> u64 {
        (self.opened + self.unopened).saturating_sub(self.closed_in_all())
    }

    /// Connections that have started and not yet ended, those in their handshake included.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.started.saturating_sub(self.closed_in_all())
    }

    /// The same counts, with these refusals.
    pub(crate) fn with_refused(self, refused: [u64; REFUSALS]) -> Self {
        Self { refused, ..self }
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            started: sum.started + part.started,
            opened: sum.opened + part.opened,
            unopened: sum.unopened + part.unopened,
            messages: sum.messages + part.messages,
            unanswered: sum.unanswered + part.unanswered,
            bytes_in: sum.bytes_in + part.bytes_in,
            bytes_out: sum.bytes_out + part.bytes_out,
            closed: std::array::from_fn(|at| sum.closed[at] + part.closed[at]),
            refused: std::array::from_fn(|at| sum.refused[at] + part.refused[at]),
        })
    }
}

/// How long handshakes have taken: the PROXY header and TLS, from the first byte that could come to
/// the opening of the service. Connections without a handshake are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeTimes {
    counts: [u64; HANDSHAKES.len() + 1],
    /// Of all handshakes together.
    sum: Duration,
}

impl HandshakeTimes {
    /// Handshakes by duration: the longest of each part, and how many took as long, and longer than
    /// the part before. The last part has no longest.
    pub fn parts(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        HANDSHAKES.into_iter().map(Some).chain([None]).zip(self.counts)
    }

    /// The time of all handshakes together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

impl std::iter::Sum for HandshakeTimes {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |all, part| Self {
            counts: std::array::from_fn(|at| all.counts[at] + part.counts[at]),
            sum: all.sum + part.sum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_workers_are_summed() {
        let (a, b) = (Counters::default(), Counters::default());
        a.add(Counter::Opened, 1, Writers::One);
        b.add(Counter::Opened, 1, Writers::Many);
        a.add(Counter::Messages, 1, Writers::One);
        a.add(Counter::BytesIn, 2, Writers::One);
        a.add(Counter::BytesIn, 3, Writers::Many);
        b.add(Counter::BytesOut, 7, Writers::One);
        b.add(Counter::Unanswered, 2, Writers::Many);
        b.add(Counter::Closed(CloseReason::Finished), 1, Writers::One);
        b.add(Counter::Closed(CloseReason::UntrustedProxy), 1, Writers::Many);
        b.add(Counter::Unopened, 1, Writers::One);
        b.add(Counter::Closed(CloseReason::Drained), 1, Writers::One);
        let sum: Totals = [a.read(), b.read()].into_iter().sum();
        assert_eq!((sum.opened, sum.messages, sum.bytes_in, sum.bytes_out), (2, 1, 5, 7));
        assert_eq!(
            (
                sum.closed(CloseReason::Finished),
                sum.closed(CloseReason::UntrustedProxy),
                sum.closed_in_all(),
                sum.live()
            ),
            (1, 1, 3, 0)
        );
        assert_eq!((sum.unopened, sum.unanswered), (1, 2));
    }
}
