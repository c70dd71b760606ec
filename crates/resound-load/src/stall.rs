//! [`AnswerWaits`]: for how long a connection of a loop without a plan waited for answers, and which
//! of these waits were stalls.
//!
//! Such a loop sends nothing while it waits. What it would have sent has no time, so a stall hides
//! most of what it delays: for how long there were stalls says how much that is.

use std::time::Duration;

use super::run_config::{Pace, RunConfig, TrafficPattern, nanos};
use super::tally::Tally;
use super::{Interval, Latency};

/// A shorter wait is no stall, whatever is usual: a machine that does something else delays as much.
const SHORTEST: Duration = Duration::from_millis(10);
/// A stall is so many times as long as the median.
const TIMES: u32 = 10;
/// A connection that has waited for less than this when the run ends may just have sent.
const SILENT: u64 = 100_000_000;

/// The waits of one connection.
#[derive(Default)]
pub(super) struct AnswerWaits {
    /// When an answer last came.
    answered: u64,
}

impl AnswerWaits {
    /// An answer has come to a message that was sent then. `is_outage`: the wait counts already.
    pub(super) fn answered(&mut self, sent: u64, now: u64, is_outage: bool, mut of: Waiting<'_>) {
        let wait = of.waited(sent.max(self.answered), now, is_outage);
        self.answered = now;
        match now < of.course.end() {
            true => *of.has_answered |= now >= of.course.measure_from,
            false => of.is_silent(wait),
        }
    }

    /// The connection is over, and this message is not answered.
    pub(super) fn in_vain(&self, sent: u64, now: u64, is_outage: bool, mut of: Waiting<'_>) {
        let wait = of.waited(sent.max(self.answered), now, is_outage);
        if now >= of.course.end() {
            of.is_silent(wait);
        }
    }
}

/// Of which run a connection is, and where its waits are written down.
pub(super) struct Waiting<'a> {
    course: &'a RunConfig,
    /// Of the place that it has: something was answered in what is measured, or it is known that
    /// nothing was.
    has_answered: &'a mut bool,
    tally: &'a mut Tally,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(course: &'a RunConfig, has_answered: &'a mut bool, tally: &'a mut Tally) -> Self {
        Self { course, has_answered, tally }
    }

    /// How much of a wait lies within what is measured.
    fn waited(&mut self, since: u64, now: u64, is_outage: bool) -> u64 {
        let course = self.course;
        if course.traffic != TrafficPattern::Answered || matches!(course.pace, Pace::Open { .. }) {
            return 0;
        }
        let wait = now.min(course.end()).saturating_sub(since.max(course.measure_from));
        if !is_outage && wait >= nanos(SHORTEST) {
            self.tally.waited(wait);
        }
        wait
    }

    /// The run is over, and nothing was answered before: each place for a connection counts once.
    fn is_silent(&mut self, wait: u64) {
        if wait >= SILENT && !std::mem::replace(self.has_answered, true) {
            self.tally.counts.silent += 1;
        }
    }
}

impl Interval {
    /// From how long on a wait for an answer is a stall: ten times the median, and 10 ms at least.
    #[must_use]
    pub fn stall_from(&self) -> Duration {
        let usual = self.service.without(&self.bounds.service).percentile(50.0).unwrap_or_default();
        usual.saturating_mul(TIMES).max(SHORTEST)
    }

    /// Service times that were stalls.
    #[must_use]
    pub fn stalls(&self) -> Latency {
        let from = self.stall_from();
        let is_stall = |time: u64| Duration::from_nanos(time) > from;
        Latency::of(
            self.service.buckets().filter(|bucket| is_stall(bucket.from)).map(|bucket| (bucket.to, bucket.count)),
        )
    }
}

/// How long the stalls among these waits were together.
pub(super) fn stalled(waits: &Latency, from: Duration) -> Duration {
    let stalls = waits.buckets().filter(|bucket| Duration::from_nanos(bucket.to) > from);
    stalls.fold(Duration::ZERO, |sum, bucket| {
        let count = u32::try_from(bucket.count).unwrap_or(u32::MAX);
        sum.saturating_add(Duration::from_nanos(bucket.from).saturating_mul(count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stall_is_ten_times_the_median_and_ten_milliseconds() {
        let of =
            |usual: u64, long: u64| Interval { service: Latency::of([(usual, 100), (long, 3)]), ..Interval::default() };
        for (usual, long, count) in
            [(20_000, 9 * MS, 0), (20_000, 11 * MS, 3), (5 * MS, 45 * MS, 0), (5 * MS, 60 * MS, 3)]
        {
            assert_eq!(of(usual, long).stalls().count(), count, "{usual} {long}");
        }
        // Where most waits are long none is a stall.
        assert!(of(3000 * MS, 3100 * MS).stalls().is_empty());
    }

    #[test]
    fn waits_count_if_they_were_stalls() {
        let waits = Latency::of([(12 * MS, 5), (15 * MS, 1), (600 * MS, 2)]);
        let all = stalled(&waits, Duration::from_millis(20));
        assert!(all.abs_diff(Duration::from_millis(1200)) < Duration::from_millis(3), "{all:?}");
    }
}
