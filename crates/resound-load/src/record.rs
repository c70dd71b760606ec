//! The measurements of a load run, as plain data.

use std::time::{Duration, SystemTime};

use super::{Bounded, Bounds, Failure, Latency, LoadFailure, Settings};

/// The measurements of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The settings of the run.
    pub settings: Settings,
    /// When measuring began: after the warm-up. All other times count from here.
    pub started: SystemTime,
    /// The time before measuring, which is in none of the figures.
    pub warm_up: Duration,
    /// The time measured.
    pub elapsed: Duration,
    /// The run second by second, or coarser if it was long ([`Timeline`](super::Timeline)).
    pub intervals: Vec<Interval>,
    /// The whole run.
    pub total: Interval,
    /// The steps of a ramp; empty for every other shape.
    pub steps: Vec<RampStep>,
    /// The first failures, at most [`Record::FAILURES`]; [`Counts::failures`] counts all.
    pub failures: Vec<Failure>,
    /// A signal ended the run early.
    pub cut_short: bool,
    /// The generator, and its processor time.
    pub generator: Generator,
    /// Facts that a reader needs to judge the figures.
    pub warnings: Vec<String>,
}

impl Record {
    /// The limit of [`Record::failures`].
    pub const FAILURES: usize = 100;

    /// The record of a run in which nothing was measured.
    #[must_use]
    pub fn empty(settings: Settings) -> Self {
        Self {
            settings,
            started: SystemTime::UNIX_EPOCH,
            warm_up: Duration::ZERO,
            elapsed: Duration::ZERO,
            intervals: Vec::new(),
            total: Interval::default(),
            steps: Vec::new(),
            failures: Vec::new(),
            cut_short: false,
            generator: Generator::default(),
            warnings: Vec::new(),
        }
    }
}

/// A part of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// When it began, counted from [`Record::started`].
    pub start: Duration,
    /// Its length.
    pub length: Duration,
    /// The counters of the interval.
    pub counts: Counts,
    /// The time without answers after failures, summed over all connections: from a failure to the
    /// next answer, if another failure came between or no answer came in time.
    pub outage: Duration,
    /// The time that connections without a plan spent waiting for answers that took much longer
    /// than most ([`Interval::stall_from`]), summed over all connections. A wait that ended after
    /// the run counts up to its end. Only the total and the steps of a ramp have it.
    pub stall: Duration,
    /// How long connecting took: TCP's handshake, and the wait for a worker that was busy, such as
    /// with other connections' TLS.
    pub connect: Latency,
    /// How long TLS's handshake took, after that of TCP, with the same wait in it.
    pub handshake: Latency,
    /// Service time: from the actual send to the last byte of the answer, by the clock in
    /// [`Timestamps`](super::Timestamps). The program reads its own clock once for all messages
    /// that a connection sends in one turn: the time of a message in a large batch includes the
    /// batch, and the way from the kernel to the program. A message that was never answered counts
    /// to the end of the run, or to the instant it was given up.
    pub service: Latency,
    /// Response time: from the *planned* instant to the last byte of the answer. A message that was
    /// never sent or never answered counts to the end of the run, or to the instant it was given
    /// up. Empty in a closed loop, which has no plan, and without answers.
    pub response: Latency,
    /// Lag: from the planned instant to the actual send; of messages that were never sent, to the
    /// end of the run. Empty in a closed loop.
    pub lag: Latency,
    /// The lower bounds among these times.
    pub bounds: Bounds,
}

impl Interval {
    /// Joins `next`, which follows this interval.
    pub fn join(&mut self, next: &Self) {
        self.length = (next.start + next.length).saturating_sub(self.start).max(self.length);
        self.add(next);
    }

    /// Adds an interval of another generator or connection; start and length stay.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.outage = self.outage.saturating_add(other.outage);
        self.stall = self.stall.saturating_add(other.stall);
        self.connect.add(&other.connect);
        self.handshake.add(&other.handshake);
        self.service.add(&other.service);
        self.response.add(&other.response);
        self.lag.add(&other.lag);
        self.bounds.add(&other.bounds);
    }

    /// At most `most` intervals, each of equally many neighbours joined; the last may have fewer.
    #[must_use]
    pub fn coarser(intervals: &[Self], most: usize) -> Vec<Self> {
        let block = intervals.len().div_ceil(most.max(1)).max(1);
        let joined = intervals.chunks(block).map(|block| {
            let mut joined = block[0].clone();
            block[1..].iter().for_each(|next| joined.join(next));
            joined
        });
        joined.collect()
    }

    /// Service times, with the lower bounds among them.
    #[must_use]
    pub fn service(&self) -> Bounded<'_> {
        Bounded { all: &self.service, bounds: &self.bounds.service }
    }

    /// Response times, with the lower bounds among them.
    #[must_use]
    pub fn response(&self) -> Bounded<'_> {
        Bounded { all: &self.response, bounds: &self.bounds.response }
    }

    /// Lags, with the lower bounds among them.
    #[must_use]
    pub fn lag(&self) -> Bounded<'_> {
        Bounded { all: &self.lag, bounds: &self.bounds.lag }
    }
}

/// The counters of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were due: in an open loop those of the plan, otherwise those sent. Messages
    /// that were never sent are failures of the class [`LoadFailure::Unsent`], or count as
    /// [`Counts::lagged`]. Messages still planned when a condition ended a ramp do not count.
    pub planned: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages sent later than planned, by [`Counts::LATE`] or more, because they waited for an
    /// answer, for room in the socket's buffer, or for a connection. Any other lag is the
    /// generator's own.
    pub held: u64,
    /// Messages that were planned and never sent because the generator itself was late. They do not
    /// concern the target.
    pub lagged: u64,
    /// Messages answered.
    pub received: u64,
    /// Answers that arrived after the time measured. The run waited for them, and they count toward
    /// no rate.
    pub late: u64,
    /// Messages sent and never answered: skipped, or in flight when their connection ended. At the
    /// end of a run every message sent is received or unanswered.
    pub unanswered: u64,
    /// Answers compared with their messages and found right.
    pub verified: u64,
    /// Answers whose service time was taken by the kernel, at the network device
    /// ([`Timestamps::Kernel`](super::Timestamps)).
    pub by_kernel: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes received after the time measured.
    pub bytes_late: u64,
    /// Connections made.
    pub opened: u64,
    /// Connections that failed, and those that were pending for long at the end of the run.
    pub unconnected: u64,
    /// Connections without a plan that waited for an answer at the end of the run and had received
    /// none in all the time measured.
    pub silent: u64,
    /// Connections ended.
    pub closed: u64,
    /// Failures by class, in the order of [`LoadFailure::ALL`].
    pub failures: [u64; LoadFailure::ALL.len()],
}

impl Counts {
    /// A message sent this much later than planned is late.
    pub const LATE: Duration = Duration::from_millis(1);

    /// Adds other counters.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (ours, theirs) in self.each_mut().zip(other.each_mut()) {
            *ours = ours.saturating_add(*theirs);
        }
    }

    /// Every counter.
    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self {
            planned,
            sent,
            held,
            lagged,
            received,
            late,
            unanswered,
            verified,
            by_kernel,
            bytes_sent,
            bytes_received,
            bytes_late,
            opened,
            unconnected,
            silent,
            closed,
            failures,
        } = self;
        let messages = [planned, sent, held, lagged, received, late, unanswered, verified, by_kernel];
        let others = [bytes_sent, bytes_received, bytes_late, opened, unconnected, silent, closed];
        messages.into_iter().chain(others).chain(failures)
    }

    /// Messages answered within the time measured: the numerator of their rate.
    #[must_use]
    pub fn in_time(&self) -> u64 {
        self.received.saturating_sub(self.late)
    }

    /// Bytes received within the time measured.
    #[must_use]
    pub fn bytes_in_time(&self) -> u64 {
        self.bytes_received.saturating_sub(self.bytes_late)
    }

    /// Failures of one class.
    #[must_use]
    pub fn failed(&self, class: LoadFailure) -> u64 {
        self.failures[class.index()]
    }

    /// Failures of all classes.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failures.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }
}

/// A step of a ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct RampStep {
    /// Messages per second, or connections, depending on the ramp.
    pub level: f64,
    /// The counters and times of the step.
    pub total: Interval,
    /// The condition that was true, with the value measured; `None` if none was.
    pub broken: Option<String>,
}

/// A load generator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generator {
    /// The version of resound.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// The engine.
    pub engine: String,
    /// Its workers.
    pub workers: u64,
    /// Processor time in user mode while measuring, all threads together.
    pub cpu_user: Duration,
    /// Processor time in the kernel.
    pub cpu_system: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_intervals_are_joined() {
        let interval = |start, service| Interval {
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            counts: Counts { sent: 2, received: 1, ..Counts::default() },
            service: Latency::of([(service, 1)]),
            ..Interval::default()
        };
        let mut both = interval(3, 10);
        both.join(&interval(4, 20));
        assert_eq!((both.start.as_secs(), both.length.as_secs()), (3, 2));
        assert_eq!((both.counts.sent, both.counts.received), (4, 2));
        assert_eq!(both.service, Latency::of([(10, 1), (20, 1)]));
    }

    #[test]
    fn counts_add_up_and_never_overflow() {
        let mut counts = Counts { sent: u64::MAX, ..Counts::default() };
        counts.failures[LoadFailure::Missing.index()] = 2;
        counts.failures[LoadFailure::Reset.index()] = 3;
        counts.add(&counts.clone());
        assert_eq!(counts.sent, u64::MAX);
        assert_eq!(
            (counts.failed(LoadFailure::Missing), counts.failed(LoadFailure::Reset), counts.errors()),
            (4, 6, 10)
        );
    }
}
