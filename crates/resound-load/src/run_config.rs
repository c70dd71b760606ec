//! [`RunConfig`]: what all connections of a run share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use resound_proto::TlsInfo;

use super::nanos::nanos;
use super::rules::Rules;
use super::schedule::RateCurve;
use super::tally::{SilentTime, Tallies, Tally};
use super::{Arrivals, Failure, LoadFailure};

/// No message is sent while this many bytes are unsent. An open loop keeps what is due in its
/// schedule instead, which costs no memory.
const HIGH_WATER: usize = 256 * 1024;
/// The same for bulk, whose bytes are shared: as much as one system call sends.
const BULK_HIGH_WATER: usize = 512 * 1024;

/// The traffic on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrafficPattern {
    /// Messages, each with an answer.
    Answered,
    /// Messages without answers.
    Swallowed,
    /// A pattern that the target sends unasked.
    Pattern,
}

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// A closed loop: `depth` messages in flight, and another one `think` nanoseconds after each
    /// answer.
    Closed { depth: usize, think: u64 },
    /// An open loop: by schedule, with at most `depth` in flight.
    Open { rate: RateCurve, arrivals: Arrivals, depth: usize },
    /// As fast as the connection takes them.
    Bulk,
}

impl Pace {
    /// The number of unsent bytes from which on no more is sent.
    #[inline]
    pub(super) fn high_water(&self) -> usize {
        if matches!(self, Self::Bulk) { BULK_HIGH_WATER } else { HIGH_WATER }
    }
}

/// A run, as its connections see it. Times are nanoseconds from its start, unless noted otherwise.
pub(super) struct RunConfig {
    pub(super) rules: Arc<Rules>,
    pub(super) traffic: TrafficPattern,
    pub(super) pace: Pace,
    pub(super) connections: u64,
    pub(super) seed: u64,
    /// How long an answer may take, in nanoseconds.
    pub(super) timeout: u64,
    /// Messages planned before this are not measured.
    pub(super) measure_from: u64,
    /// The requested end.
    pub(super) until: u64,
    /// The end: `until`, or earlier if the run was stopped.
    pub(super) end: AtomicU64,
    /// Messages of one connection, before another replaces it.
    pub(super) per_connection: Option<u64>,
    /// The run is a ramp of connections, whose steps are judged by the times without an answer.
    pub(super) keeps_silences: bool,
    pub(super) tallies: Tallies,
    pub(super) start: OnceLock<Instant>,
    /// The TLS parameters of the first connection.
    pub(super) negotiated_tls: OnceLock<Arc<TlsInfo>>,
}

impl RunConfig {
    /// Keeps a time without an answer, for the steps of a ramp.
    pub(super) fn keep_silence(&self, from: u64, to: u64, is_outage: bool, tally: &mut Tally) {
        if self.keeps_silences {
            let measured = |time: u64| Duration::from_nanos(time.saturating_sub(self.measure_from));
            tally.silences.push(SilentTime { from: measured(from), to: measured(to), is_outage });
        }
    }

    /// Sets the start of the run.
    pub(super) fn begin(&self, start: Instant) {
        let _ = self.start.set(start);
    }

    pub(super) fn start(&self) -> Option<Instant> {
        self.start.get().copied()
    }

    /// An instant as a time of the run; zero before its start.
    pub(super) fn time(&self, at: Instant) -> u64 {
        self.start().map_or(0, |start| nanos(at.saturating_duration_since(start)))
    }

    /// A time of the run as an instant; `None` if the clock does not reach that far.
    pub(super) fn instant(&self, time: u64) -> Option<Instant> {
        self.start()?.checked_add(Duration::from_nanos(time))
    }

    /// Ends the run now, unless it has ended.
    pub(super) fn stop(&self, now: Instant) {
        self.end.fetch_min(self.time(now), Relaxed);
    }

    /// The end of the run: nothing is dialled or due from here on, and answers are late.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.time(now) >= self.end()
    }

    /// Is a connection counted? If connections are what is measured, those of the warm-up are not.
    pub(super) fn is_counted(&self, dialled: Instant) -> bool {
        self.per_connection.is_none() || self.time(dialled) >= self.measure_from
    }

    pub(super) fn failure(
        &self,
        class: LoadFailure,
        at: Instant,
        connection: u64,
        sequence: Option<u64>,
        what: String,
    ) -> Failure {
        let at = Duration::from_nanos(self.time(at).saturating_sub(self.measure_from));
        Failure { class, at, connection, sequence, what }
    }
}
