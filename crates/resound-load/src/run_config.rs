//! [`RunConfig`]: what all connections of a run know of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use resound_proto::TlsInfo;

use super::answers::Rules;
use super::schedule::RateCurve;
use super::tally::Tallies;
use super::{Arrivals, Failure, Fault};

/// What goes to and fro on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrafficPattern {
    /// Messages, each of which is answered.
    Answered,
    /// Messages that nobody answers.
    Swallowed,
    /// A pattern that comes by itself.
    Pattern,
}

/// How the next message's instant is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// So many in flight at once; each answer is followed by another message, after so many nanoseconds.
    Closed { depth: usize, think: u64 },
    /// By plan, with so many in flight at most.
    Open { rate: RateCurve, arrivals: Arrivals, depth: usize },
    /// As fast as they leave.
    Bulk,
}

/// A run, as its connections see it. Times are in nanoseconds from its start, where nothing else is said.
pub(super) struct RunConfig {
    pub(super) rules: Arc<Rules>,
    pub(super) traffic: TrafficPattern,
    pub(super) pace: Pace,
    pub(super) connections: u64,
    pub(super) seed: u64,
    /// How long an answer may take.
    pub(super) timeout: u64,
    /// What is planned before this is in no figure.
    pub(super) measure_from: u64,
    /// The end that was asked for.
    pub(super) until: u64,
    /// The end: as asked for, or earlier where the run was cut short.
    pub(super) end: AtomicU64,
    /// Messages of one connection, before it makes way for another.
    pub(super) per_connection: Option<u64>,
    pub(super) tallies: Tallies,
    pub(super) start: OnceLock<Instant>,
    /// What the first connection that speaks TLS has agreed on.
    pub(super) agreed: OnceLock<Arc<TlsInfo>>,
}

impl RunConfig {
    /// From now on it is known when the run starts, or has.
    pub(super) fn begin(&self, start: Instant) {
        let _ = self.start.set(start);
    }

    pub(super) fn start(&self) -> Option<Instant> {
        self.start.get().copied()
    }

    /// An instant as the run counts it; zero before its start.
    pub(super) fn time(&self, at: Instant) -> u64 {
        self.start().map_or(0, |start| nanos(at.saturating_duration_since(start)))
    }

    /// And back, where the clock reaches that far.
    pub(super) fn instant(&self, time: u64) -> Option<Instant> {
        self.start()?.checked_add(Duration::from_nanos(time))
    }

    /// The run ends now, if it has not ended before.
    pub(super) fn stop(&self, now: Instant) {
        self.end.fetch_min(self.time(now), Relaxed);
    }

    /// Nobody is dialled and nothing becomes due from here on, and what is answered comes late.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.time(now) >= self.end()
    }

    /// Is a connection that was dialled then counted? Where connections are what is measured, those of the warm-up are not.
    pub(super) fn is_counted(&self, dialled: Instant) -> bool {
        self.per_connection.is_none() || self.time(dialled) >= self.measure_from
    }

    pub(super) fn failure(
        &self,
        class: Fault,
        at: Instant,
        connection: u64,
        sequence: Option<u64>,
        what: String,
    ) -> Failure {
        let at = Duration::from_nanos(self.time(at).saturating_sub(self.measure_from));
        Failure { class, at, connection, sequence, what }
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
