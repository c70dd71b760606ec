//! What a load run measured: plain data, for whoever shows, saves or compares it.

use std::time::{Duration, SystemTime};

use super::{Bounded, Bounds, Failure, Fault, Latency, Settings};

/// What a run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it was asked to do.
    pub settings: Settings,
    /// When measuring began: after the warm-up. All other times count from here.
    pub started: SystemTime,
    /// What came before, and is in none of the figures.
    pub warm_up: Duration,
    /// How long was measured.
    pub elapsed: Duration,
    /// The run second by second, or coarser where it was long ([`Timeline`](super::Timeline)).
    pub intervals: Vec<Interval>,
    /// The whole run.
    pub total: Interval,
    /// The steps of a ramp; empty for every other shape.
    pub steps: Vec<RampStep>,
    /// The first failures, [`Record::FAILURES`] at most; [`Counts::failures`] has their number.
    pub failures: Vec<Failure>,
    /// Did a signal end the run before it was over?
    pub cut_short: bool,
    /// What made the load, and what that cost.
    pub generator: Generator,
    /// What a reader must know to judge the figures.
    pub warnings: Vec<String>,
}

impl Record {
    /// How many failures are named.
    pub const FAILURES: usize = 100;
}

/// A part of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// When it began, counted from [`Record::started`].
    pub start: Duration,
    /// How long it was.
    pub length: Duration,
    /// What happened in it.
    pub counts: Counts,
    /// For how long connections answered nothing, summed over all of them: from a failure to the
    /// next answer, where another failure came between or no answer came in time.
    pub outage: Duration,
    /// For how long connections of a loop without a plan waited for answers that took much longer
    /// than most ([`Interval::stall_from`]), summed over all of them; of a wait that ended after the
    /// run, as far as it lies within what is measured. Known when the run is over, of all of it and
    /// of a ramp's steps.
    pub stall: Duration,
    /// How long connecting took, as a worker saw it: TCP's handshake, and the wait for a worker that had something else to do, such as others'
    /// TLS.
    pub connect: Latency,
    /// How long TLS's handshake took, behind that of TCP, with the same wait in it.
    pub handshake: Latency,
    /// Service time: from the actual send to the last byte of the answer, by the clock that
    /// [`Timestamps`](super::Timestamps) names. The program's own is read once for all messages
    /// that a connection sends in one turn, so a message of a large batch has the time that the
    /// batch took as well; and the way from the kernel to the program is in the time. Of a message
    /// that was never answered, to the end of the run, or to where it was given up behind it.
    pub service: Latency,
    /// Response time: from the *planned* instant to the last byte of the answer; of a message that
    /// was never sent or never answered, to the end of the run, or to where it was given up behind
    /// it. Empty in a closed loop, which has no plan, and where nothing is answered.
    pub response: Latency,
    /// How late messages were sent: from the planned instant to the actual send; of those that were
    /// never sent, to the end of the run. Empty in a closed loop.
    pub lag: Latency,
    /// Which of these are lower bounds.
    pub bounds: Bounds,
}

impl Interval {
    /// Makes this interval and `next`, which follows it, one.
    pub fn join(&mut self, next: &Self) {
        self.length = (next.start + next.length).saturating_sub(self.start).max(self.length);
        self.add(next);
    }

    /// Adds what happened in another interval, of another generator or connection, and leaves the time alone.
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

    /// Service times, with those that are lower bounds.
    #[must_use]
    pub fn service(&self) -> Bounded<'_> {
        Bounded { all: &self.service, bounds: &self.bounds.service }
    }

    /// Response times, with those that are lower bounds.
    #[must_use]
    pub fn response(&self) -> Bounded<'_> {
        Bounded { all: &self.response, bounds: &self.bounds.response }
    }

    /// Lags, with those that are lower bounds.
    #[must_use]
    pub fn lag(&self) -> Bounded<'_> {
        Bounded { all: &self.lag, bounds: &self.bounds.lag }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were due: in an open loop those of the plan, otherwise those sent. Those that
    /// were never sent are failures of the class [`Fault::Unsent`], or [`Counts::lagged`]. What a
    /// ramp had planned and not sent when it ended at a threshold is not among them.
    pub planned: u64,
    /// Messages sent.
    pub sent: u64,
    /// Of those sent: how many were sent later than planned, by [`Counts::LATE`] or more, because they had to wait for an answer, for room
    /// in the socket's buffer, or for a connection. Whatever else was late was the generator itself.
    pub held: u64,
    /// Messages that were planned and never sent because the generator itself did not come to them.
    /// They say nothing of the target.
    pub lagged: u64,
    /// Messages answered.
    pub received: u64,
    /// Of those received: how many came after the time that is measured. They were waited for, and are in no rate.
    pub late: u64,
    /// Messages sent that were never answered: passed over, or in flight when their connection ended. Once a run is over, what was
    /// sent was received or is unanswered.
    pub unanswered: u64,
    /// Answers that were compared with their messages and found right.
    pub verified: u64,
    /// Answers whose service time was taken by the kernel, at the network device ([`Timestamps::Kernel`](super::Timestamps)).
    pub by_kernel: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Of those received: how many came after the time that is measured.
    pub bytes_late: u64,
    /// Connections made.
    pub opened: u64,
    /// Connections that did not come about: attempts that failed, and those that had taken long
    /// when the run was over.
    pub unconnected: u64,
    /// Connections of a loop without a plan that waited for an answer when the run was over, and had
    /// had none in all of what is measured.
    pub silent: u64,
    /// Connections ended.
    pub closed: u64,
    /// Failures by class, in the order of [`Fault::ALL`].
    pub failures: [u64; Fault::ALL.len()],
}

impl Counts {
    /// A message that is sent this much later than planned was not sent as planned.
    pub const LATE: Duration = Duration::from_millis(1);

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.planned = self.planned.saturating_add(other.planned);
        self.sent = self.sent.saturating_add(other.sent);
        self.held = self.held.saturating_add(other.held);
        self.lagged = self.lagged.saturating_add(other.lagged);
        self.received = self.received.saturating_add(other.received);
        self.late = self.late.saturating_add(other.late);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.verified = self.verified.saturating_add(other.verified);
        self.by_kernel = self.by_kernel.saturating_add(other.by_kernel);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.bytes_late = self.bytes_late.saturating_add(other.bytes_late);
        self.opened = self.opened.saturating_add(other.opened);
        self.unconnected = self.unconnected.saturating_add(other.unconnected);
        self.silent = self.silent.saturating_add(other.silent);
        self.closed = self.closed.saturating_add(other.closed);
        for (ours, theirs) in self.failures.iter_mut().zip(other.failures) {
            *ours = ours.saturating_add(theirs);
        }
    }

    /// Messages answered within the time that is measured: what their rate is made of.
    #[must_use]
    pub fn in_time(&self) -> u64 {
        self.received.saturating_sub(self.late)
    }

    /// Bytes received within the time that is measured.
    #[must_use]
    pub fn bytes_in_time(&self) -> u64 {
        self.bytes_received.saturating_sub(self.bytes_late)
    }

    /// Failures of one class.
    #[must_use]
    pub fn failed(&self, class: Fault) -> u64 {
        self.failures[class.index()]
    }

    /// Failures of all classes.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.failures.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }
}

/// One step of a ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct RampStep {
    /// Messages per second, or connections, whichever the ramp raises.
    pub level: f64,
    /// What happened during the step.
    pub total: Interval,
    /// The threshold that broke, with the value measured; `None` while all held.
    pub broken: Option<String>,
}

/// What made the load.
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
    fn intervals_that_follow_each_other_become_one() {
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
        counts.failures[Fault::Missing.index()] = 2;
        counts.failures[Fault::Reset.index()] = 3;
        counts.add(&counts.clone());
        assert_eq!(counts.sent, u64::MAX);
        assert_eq!((counts.failed(Fault::Missing), counts.failed(Fault::Reset), counts.errors()), (4, 6, 10));
    }
}
