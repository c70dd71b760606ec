//! [`Tally`]: the statistics of one worker's connections, collected tick by tick.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::backlog::UnfinishedMessages;
use super::nanos::nanos;
use super::{Bounds, Counts, Failure, Fault, Interval, Latency, Record};

/// Statistics since the last collection, of the connections of one worker or a few. Their size does
/// not depend on the number of messages.
pub(super) struct Tally {
    pub(super) counts: Counts,
    connect: Histogram<u64>,
    handshake: Histogram<u64>,
    service: Histogram<u64>,
    response: Histogram<u64>,
    lag: Histogram<u64>,
    /// The waits of messages that were given up after the end of the run. Usually there are none.
    service_bounds: Option<Histogram<u64>>,
    response_bounds: Option<Histogram<u64>>,
    /// The outages of all connections together, in nanoseconds.
    pub(super) outage: u64,
    /// Waits for answers that may be stalls. The median of the whole run decides.
    waits: Option<Histogram<u64>>,
    pub(super) unfinished: UnfinishedMessages,
    failures: Vec<Failure>,
    /// When a message was last sent or answered.
    last_activity: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            counts: Counts::default(),
            connect: Latency::recorder(),
            handshake: Latency::recorder(),
            service: Latency::recorder(),
            response: Latency::recorder(),
            lag: Latency::recorder(),
            service_bounds: None,
            response_bounds: None,
            outage: 0,
            waits: None,
            unfinished: UnfinishedMessages::default(),
            failures: Vec::new(),
            last_activity: 0,
        }
    }

    /// A message was sent or answered at this time of the run.
    pub(super) fn record_activity(&mut self, time: u64) {
        self.last_activity = time;
    }

    pub(super) fn record_connect(&mut self, took: Duration) {
        self.connect.saturating_record(nanos(took).max(1));
    }

    pub(super) fn record_handshake(&mut self, took: Duration) {
        self.handshake.saturating_record(nanos(took).max(1));
    }

    /// Histograms begin at one nanosecond, so no time is shorter.
    pub(super) fn record_service(&mut self, ns: u64) {
        self.service.saturating_record(ns.max(1));
    }

    pub(super) fn record_response(&mut self, ns: u64) {
        self.response.saturating_record(ns.max(1));
    }

    pub(super) fn record_lag(&mut self, ns: u64) {
        self.lag.saturating_record(ns.max(1));
    }

    /// A wait for an answer that may be a stall.
    pub(super) fn record_wait(&mut self, ns: u64) {
        self.waits.get_or_insert_with(Latency::recorder).saturating_record(ns);
    }

    /// A message had no answer for this long: a lower bound of its service time.
    pub(super) fn record_service_bound(&mut self, ns: u64) {
        self.record_service(ns);
        self.service_bounds.get_or_insert_with(Latency::recorder).saturating_record(ns.max(1));
    }

    /// A message had no answer for this long: a lower bound of its response time.
    pub(super) fn record_response_bound(&mut self, ns: u64) {
        self.record_response(ns);
        self.response_bounds.get_or_insert_with(Latency::recorder).saturating_record(ns.max(1));
    }

    pub(super) fn record_failure(&mut self, failure: Failure) {
        self.counts.failures[failure.class.index()] += 1;
        if self.failures.len() < Record::FAILURES {
            self.failures.push(failure);
        }
    }

    /// The statistics as an interval without a start and a length.
    fn read(&self) -> Interval {
        let latency = |histogram: &Histogram<u64>| {
            if histogram.is_empty() { Latency::default() } else { Latency::from(histogram) }
        };
        let bounds = |histogram: &Option<Histogram<u64>>| histogram.as_ref().map(latency).unwrap_or_default();
        Interval {
            counts: self.counts,
            outage: Duration::from_nanos(self.outage),
            bounds: Bounds {
                service: bounds(&self.service_bounds),
                response: bounds(&self.response_bounds),
                lag: Latency::default(),
            },
            connect: latency(&self.connect),
            handshake: latency(&self.handshake),
            service: latency(&self.service),
            response: latency(&self.response),
            lag: latency(&self.lag),
            ..Interval::default()
        }
    }

    fn clear(&mut self) {
        self.counts = Counts::default();
        (self.service_bounds, self.response_bounds, self.outage) = (None, None, 0);
        self.failures.clear();
        let Self { connect, handshake, service, response, lag, .. } = self;
        for histogram in [connect, handshake, service, response, lag] {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
    }
}

/// The tallies of all workers. A worker locks its own for the length of an event, and the collector
/// for that of a swap.
pub(super) struct Tallies {
    tallies: Vec<Mutex<Box<Tally>>>,
    /// The empty tally that is swapped in.
    spare: Mutex<Box<Tally>>,
    unfinished: Mutex<UnfinishedMessages>,
    waits: Mutex<Latency>,
    last_activity: AtomicU64,
}

impl Tallies {
    pub(super) fn new(count: usize) -> Self {
        let tally = || Mutex::new(Box::new(Tally::new()));
        Self {
            tallies: (0..count).map(|_| tally()).collect(),
            spare: tally(),
            unfinished: Mutex::default(),
            waits: Mutex::default(),
            last_activity: AtomicU64::new(0),
        }
    }

    /// The tally of the worker with this number.
    pub(super) fn of(&self, worker: usize) -> MutexGuard<'_, Box<Tally>> {
        lock(&self.tallies[worker % self.tallies.len()])
    }

    /// When a message was last sent or answered, up to the last collection.
    pub(super) fn last_activity(&self) -> u64 {
        self.last_activity.load(Relaxed)
    }

    /// The statistics since the last call, and the first failures among them.
    pub(super) fn collect(&self) -> (Interval, Vec<Failure>) {
        let mut spare = lock(&self.spare);
        let (mut sum, mut failures) = (Interval::default(), Vec::new());
        for tally in &self.tallies {
            std::mem::swap(&mut *lock(tally), &mut *spare);
            sum.add(&spare.read());
            self.last_activity.fetch_max(spare.last_activity, Relaxed);
            failures.append(&mut spare.failures);
            lock(&self.unfinished).append(&mut spare.unfinished);
            if let Some(waits) = spare.waits.take() {
                lock(&self.waits).add(&Latency::from(&waits));
            }
            spare.clear();
        }
        failures.sort_by_key(|failure| failure.at);
        failures.truncate(Record::FAILURES);
        (sum, failures)
    }

    /// Takes the collected waits that may be stalls.
    pub(super) fn take_waits(&self) -> Latency {
        std::mem::take(&mut lock(&self.waits))
    }

    /// Takes the collected unfinished messages.
    pub(super) fn take_unfinished(&self) -> UnfinishedMessages {
        std::mem::take(&mut lock(&self.unfinished))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<resound::CloseReason> for Fault {
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
            class: Fault::Corrupt,
            at: Duration::from_secs(at),
            connection: 1,
            sequence: None,
            what: String::new(),
        };
        tallies.of(0).record_service(1000);
        tallies.of(0).record_failure(failure(2));
        tallies.of(1).record_service(2000);
        tallies.of(3).record_failure(failure(1));
        let (sum, failures) = tallies.collect();
        assert_eq!((sum.service.count(), sum.counts.failed(Fault::Corrupt)), (2, 2));
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
                class: Fault::Reset,
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
