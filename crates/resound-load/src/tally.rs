//! [`Tally`]: the statistics of one worker's connections, collected tick by tick.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

use super::waiting_messages::UnfinishedMessages;
use super::{Bounds, Counts, Failure, Interval, Latency, LoadFailure, Record};

/// Records times in nanoseconds. The first of them makes the histogram.
#[derive(Default)]
pub(super) struct TimeRecorder(Option<Histogram<u64>>);

impl TimeRecorder {
    /// Histograms begin at one nanosecond, so no time is shorter.
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.0.get_or_insert_with(Latency::recorder).saturating_record(ns.max(1));
    }

    /// Takes the times; the histogram stays for the next ones.
    fn take(&mut self) -> Latency {
        let Some(histogram) = self.0.as_mut().filter(|histogram| !histogram.is_empty()) else {
            return Latency::default();
        };
        let times = Latency::from(&*histogram);
        histogram.reset();
        times
    }
}

/// A time in which a connection got no answer, from the beginning of the measured time on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SilentTime {
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// It belongs to an outage. Otherwise it may be a stall.
    pub(super) is_outage: bool,
}

/// Statistics since the last collection, of the connections of one worker or a few. Their size does
/// not depend on the number of messages, but in a ramp of connections for the times without an
/// answer of 10 ms and more.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) connect: TimeRecorder,
    pub(super) handshake: TimeRecorder,
    pub(super) service: TimeRecorder,
    pub(super) response: TimeRecorder,
    pub(super) lag: TimeRecorder,
    /// The waits of messages that were given up after the end of the run. Each is in the recorder
    /// of the same name as well. Usually there are none.
    pub(super) service_bounds: TimeRecorder,
    pub(super) response_bounds: TimeRecorder,
    /// The outages of all connections together, in nanoseconds.
    pub(super) outage: u64,
    /// Waits for answers that may be stalls. The median of the whole run decides.
    pub(super) waits: TimeRecorder,
    /// The same and the outages with their times, which a ramp of connections divides among its
    /// steps. Other runs have none.
    pub(super) silences: Vec<SilentTime>,
    pub(super) unfinished: UnfinishedMessages,
    failures: Vec<Failure>,
    /// When a message was last sent or answered.
    pub(super) last_activity: u64,
}

impl Tally {
    pub(super) fn record_failure(&mut self, failure: Failure) {
        self.counts.failures[failure.class.index()] += 1;
        if self.failures.len() < Record::FAILURES {
            self.failures.push(failure);
        }
    }

    /// Takes counters and times, as an interval without a start and a length.
    fn take(&mut self) -> Interval {
        let (service, response) = (self.service_bounds.take(), self.response_bounds.take());
        Interval {
            counts: std::mem::take(&mut self.counts),
            outage: Duration::from_nanos(std::mem::take(&mut self.outage)),
            bounds: Bounds { service, response, lag: Latency::default() },
            connect: self.connect.take(),
            handshake: self.handshake.take(),
            service: self.service.take(),
            response: self.response.take(),
            lag: self.lag.take(),
            ..Interval::default()
        }
    }
}

/// The tallies of all workers. A worker locks its own for the length of an event, and the collector
/// for that of a swap.
#[derive(Default)]
pub(super) struct Tallies {
    tallies: Vec<Mutex<Box<Tally>>>,
    /// The empty tally that is swapped in.
    spare: Mutex<Box<Tally>>,
    unfinished: Mutex<UnfinishedMessages>,
    waits: Mutex<Latency>,
    silences: Mutex<Vec<SilentTime>>,
    last_activity: AtomicU64,
}

impl Tallies {
    pub(super) fn new(count: usize) -> Self {
        Self { tallies: (0..count).map(|_| Mutex::default()).collect(), ..Self::default() }
    }

    /// The tally of the worker with this number.
    pub(super) fn of(&self, worker: usize) -> MutexGuard<'_, Box<Tally>> {
        self.tallies[worker % self.tallies.len()].lock()
    }

    /// When a message was last sent or answered, up to the last collection.
    pub(super) fn last_activity(&self) -> u64 {
        self.last_activity.load(Relaxed)
    }

    /// The statistics since the last call, and the first failures among them.
    pub(super) fn collect(&self) -> (Interval, Vec<Failure>) {
        let mut spare = self.spare.lock();
        let (mut sum, mut failures) = (Interval::default(), Vec::new());
        for tally in &self.tallies {
            std::mem::swap(&mut *tally.lock(), &mut *spare);
            sum.add(&spare.take());
            self.last_activity.fetch_max(spare.last_activity, Relaxed);
            failures.append(&mut spare.failures);
            self.unfinished.lock().append(&mut spare.unfinished);
            self.waits.lock().add(&spare.waits.take());
            self.silences.lock().append(&mut spare.silences);
        }
        failures.sort_by_key(|failure| failure.at);
        failures.truncate(Record::FAILURES);
        (sum, failures)
    }

    /// Takes the collected waits that may be stalls.
    pub(super) fn take_waits(&self) -> Latency {
        std::mem::take(&mut self.waits.lock())
    }

    /// Takes the collected times without an answer.
    pub(super) fn take_silences(&self) -> Vec<SilentTime> {
        std::mem::take(&mut self.silences.lock())
    }

    /// Takes the collected unfinished messages.
    pub(super) fn take_unfinished(&self) -> UnfinishedMessages {
        std::mem::take(&mut self.unfinished.lock())
    }
}

impl From<resound::CloseReason> for LoadFailure {
    /// The class of a connection that ended unexpectedly.
    fn from(reason: resound::CloseReason) -> Self {
        use resound::CloseReason;
        use resound::client::FailureClass;
        match reason {
            CloseReason::Reset | CloseReason::Aborted => Self::Reset,
            CloseReason::PeerVanished
            | CloseReason::IdleTimeout
            | CloseReason::WriteTimeout
            | CloseReason::OpeningTimeout => Self::Timeout,
            CloseReason::Tls(_) | CloseReason::Truncated => Self::Tls,
            CloseReason::Failed(kind) => FailureClass::of(&kind.into()).map_or(Self::Reset, Self::from),
            _ => Self::Eof,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_collected_once() {
        let tallies = Tallies::new(2);
        let failure = |at| Failure {
            class: LoadFailure::Corrupt,
            at: Duration::from_secs(at),
            connection: 1,
            sequence: None,
            what: String::new(),
        };
        tallies.of(0).service.record(1000);
        tallies.of(0).record_failure(failure(2));
        tallies.of(1).service.record(2000);
        tallies.of(3).record_failure(failure(1));
        let (sum, failures) = tallies.collect();
        assert_eq!((sum.service.count(), sum.counts.failed(LoadFailure::Corrupt)), (2, 2));
        assert_eq!(failures.iter().map(|failure| failure.at.as_secs()).collect::<Vec<_>>(), [1, 2]);
        let (sum, failures) = tallies.collect();
        assert_eq!((sum, failures.len()), (Interval::default(), 0));
    }

    #[test]
    fn failures_without_end_are_counted_and_the_first_are_kept() {
        let tallies = Tallies::new(1);
        for _ in 0..1000 {
            let at = Duration::ZERO;
            tallies.of(0).record_failure(Failure {
                class: LoadFailure::Reset,
                at,
                connection: 0,
                sequence: None,
                what: String::new(),
            });
        }
        let (sum, failures) = tallies.collect();
        assert_eq!((sum.counts.errors(), failures.len()), (1000, Record::FAILURES));
    }
}
