//! [`Tally`]: where connections write down what happens, and where it is collected from, tick by tick.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::backlog::UnfinishedMessages;
use super::{Bounds, Counts, Failure, Fault, Interval, Latency, Record};

/// What happened since it was last collected, on the connections of one worker or a few. Its size does not depend on how much that was.
pub(super) struct Tally {
    pub(super) counts: Counts,
    connect: Histogram<u64>,
    handshake: Histogram<u64>,
    service: Histogram<u64>,
    response: Histogram<u64>,
    lag: Histogram<u64>,
    /// Of messages that were given up behind the end: nothing while all is well.
    service_bounds: Option<Histogram<u64>>,
    response_bounds: Option<Histogram<u64>>,
    /// For how long connections answered nothing, in nanoseconds.
    pub(super) outage: u64,
    /// Waits for answers that may be stalls: which of them are is known at the end.
    waits: Option<Histogram<u64>>,
    pub(super) unsettled: UnfinishedMessages,
    failures: Vec<Failure>,
    /// When a message was last sent or answered.
    last: u64,
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
            unsettled: UnfinishedMessages::default(),
            failures: Vec::new(),
            last: 0,
        }
    }

    /// Something has happened at this time of the run.
    pub(super) fn at(&mut self, time: u64) {
        self.last = time;
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connect.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    pub(super) fn shook_hands(&mut self, took: Duration) {
        self.handshake.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Times are at least the nanosecond that the histogram begins with.
    pub(super) fn service(&mut self, ns: u64) {
        self.service.saturating_record(ns.max(1));
    }

    pub(super) fn response(&mut self, ns: u64) {
        self.response.saturating_record(ns.max(1));
    }

    pub(super) fn lag(&mut self, ns: u64) {
        self.lag.saturating_record(ns.max(1));
    }

    /// A connection has waited so long for an answer.
    pub(super) fn waited(&mut self, ns: u64) {
        self.waits.get_or_insert_with(Latency::recorder).saturating_record(ns);
    }

    /// It was waited so long for an answer, and none came.
    pub(super) fn service_at_least(&mut self, ns: u64) {
        self.service(ns);
        self.service_bounds.get_or_insert_with(Latency::recorder).saturating_record(ns.max(1));
    }

    /// As much since its planned instant.
    pub(super) fn response_at_least(&mut self, ns: u64) {
        self.response(ns);
        self.response_bounds.get_or_insert_with(Latency::recorder).saturating_record(ns.max(1));
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.counts.failures[failure.class.index()] += 1;
        if self.failures.len() < Record::FAILURES {
            self.failures.push(failure);
        }
    }

    /// What was collected, as an interval without its time.
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

/// The tallies of a run's workers. Each is locked by its workers for the length of an event, and by who collects for that of a swap.
pub(super) struct Tallies {
    tallies: Vec<Mutex<Box<Tally>>>,
    /// The one that is swapped in.
    spare: Mutex<Box<Tally>>,
    unsettled: Mutex<UnfinishedMessages>,
    waits: Mutex<Latency>,
    last: AtomicU64,
}

impl Tallies {
    pub(super) fn new(count: usize) -> Self {
        let tally = || Mutex::new(Box::new(Tally::new()));
        Self {
            tallies: (0..count).map(|_| tally()).collect(),
            spare: tally(),
            unsettled: Mutex::default(),
            waits: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }

    /// The tally of the worker with this number.
    pub(super) fn of(&self, worker: usize) -> MutexGuard<'_, Box<Tally>> {
        lock(&self.tallies[worker % self.tallies.len()])
    }

    /// When a message was last sent or answered, as far as that has been collected.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// What happened since this was last called, and the failures among it, as far as they are kept.
    pub(super) fn collect(&self) -> (Interval, Vec<Failure>) {
        let mut spare = lock(&self.spare);
        let (mut sum, mut failures) = (Interval::default(), Vec::new());
        for tally in &self.tallies {
            std::mem::swap(&mut *lock(tally), &mut *spare);
            sum.add(&spare.read());
            self.last.fetch_max(spare.last, Relaxed);
            failures.append(&mut spare.failures);
            lock(&self.unsettled).append(&mut spare.unsettled);
            if let Some(waits) = spare.waits.take() {
                lock(&self.waits).add(&Latency::from(&waits));
            }
            spare.clear();
        }
        failures.sort_by_key(|failure| failure.at);
        failures.truncate(Record::FAILURES);
        (sum, failures)
    }

    /// Waits that may be stalls, as far as they have been collected and not taken.
    pub(super) fn waits(&self) -> Latency {
        std::mem::take(&mut lock(&self.waits))
    }

    /// What has been collected and is not settled.
    pub(super) fn unsettled(&self) -> UnfinishedMessages {
        std::mem::take(&mut lock(&self.unsettled))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<resound::CloseReason> for Fault {
    /// The class of a connection's end that was nobody's wish.
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
    fn what_is_collected_is_collected_once() {
        let tallies = Tallies::new(2);
        let failure = |at| Failure {
            class: Fault::Corrupt,
            at: Duration::from_secs(at),
            connection: 1,
            sequence: None,
            what: String::new(),
        };
        tallies.of(0).service(1000);
        tallies.of(0).failed(failure(2));
        tallies.of(1).service(2000);
        tallies.of(3).failed(failure(1));
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
            tallies.of(0).failed(Failure {
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
