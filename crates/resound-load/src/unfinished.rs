//! [`RunEnd`]: adds the waits of unsent and unanswered messages to the results of a run.

use std::time::Duration;

use super::waiting_messages::UnfinishedMessages;
use super::{Bounds, Bucket, Counts, Failure, Interval, Latency, LoadFailure};

/// How a run ended. Times are nanoseconds from its start.
pub(super) struct RunEnd {
    pub(super) measure_from: u64,
    pub(super) at: u64,
    /// Unsent messages that were planned from here on do not count as planned.
    pub(super) withdrawn_from: Option<u64>,
    /// Does the run have response times?
    pub(super) has_responses: bool,
}

/// Why messages are unfinished.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnfinishedKind {
    Unsent,
    Lagged,
    /// For their response times.
    Unanswered,
    /// For their service times.
    UnansweredSent,
}

impl UnfinishedKind {
    fn is_unsent(self) -> bool {
        matches!(self, Self::Unsent | Self::Lagged)
    }
}

impl RunEnd {
    fn is_planned(&self, since: u64) -> bool {
        self.withdrawn_from.is_none_or(|from| since < from)
    }

    /// All messages that have waited to the end, by the times from which they wait.
    pub(super) fn waited(&self, unfinished: &UnfinishedMessages) -> Vec<(UnfinishedKind, Bucket)> {
        use UnfinishedKind::{Lagged, Unanswered, UnansweredSent, Unsent};
        let UnfinishedMessages { unsent, lagged, unanswered, unanswered_sent, .. } = unfinished;
        [(Unsent, unsent), (Lagged, lagged), (Unanswered, unanswered), (UnansweredSent, unanswered_sent)]
            .into_iter()
            .flat_map(|(kind, messages)| messages.buckets().map(move |bucket| (kind, bucket)))
            .filter(|(kind, bucket)| !kind.is_unsent() || self.is_planned(bucket.from))
            .collect()
    }

    /// Connections with unsent messages, as failures.
    pub(super) fn unsent_failures(&self, unfinished: &mut UnfinishedMessages) -> Vec<Failure> {
        unfinished.named.sort_unstable_by_key(|(_, since)| *since);
        let failure = |&(connection, since): &(u64, u64)| Failure {
            class: LoadFailure::Unsent,
            at: Duration::from_nanos(since.saturating_sub(self.measure_from)),
            connection,
            sequence: None,
            what: "planned messages were never sent: there was no connection for them, or no room on it".into(),
        };
        unfinished.named.iter().filter(|(_, since)| self.is_planned(*since)).map(failure).collect()
    }

    /// Adds the messages to the parts of the run, which begin at these times: each to the part in
    /// which its wait began. Returns which parts have changed.
    pub(super) fn settle(
        &self,
        waited: &[(UnfinishedKind, Bucket)],
        parts: &mut [(Duration, &mut Interval)],
    ) -> Vec<bool> {
        let mut settled: Vec<SettledMessages> = parts.iter().map(|_| SettledMessages::default()).collect();
        for &(kind, Bucket { from, to, count }) in waited {
            let since = from.saturating_sub(self.measure_from);
            let after = parts.partition_point(|(start, _)| start.as_nanos() <= u128::from(since));
            let Some(part) = settled.get_mut(after.saturating_sub(1)) else { continue };
            let time = (self.at.saturating_sub(to).max(1), count);
            match kind {
                UnfinishedKind::Unsent => add(&mut part.counts.failures[LoadFailure::Unsent.index()], count),
                UnfinishedKind::Lagged => add(&mut part.counts.lagged, count),
                UnfinishedKind::Unanswered => part.response.push(time),
                UnfinishedKind::UnansweredSent => part.service.push(time),
            }
            if kind.is_unsent() {
                add(&mut part.counts.planned, count);
                part.lag.push(time);
                part.response.extend(Some(time).filter(|_| self.has_responses));
            }
        }
        let settle = |((_, part), settled): (&mut (Duration, &mut Interval), SettledMessages)| {
            let settled = settled.into_interval();
            part.add(&settled);
            settled != Interval::default()
        };
        parts.iter_mut().zip(settled).map(settle).collect()
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// The unfinished messages of a part, and the lower bounds of their times.
#[derive(Default)]
struct SettledMessages {
    counts: Counts,
    service: Vec<(u64, u64)>,
    response: Vec<(u64, u64)>,
    lag: Vec<(u64, u64)>,
}

impl SettledMessages {
    fn into_interval(self) -> Interval {
        let [service, response, lag] = [self.service, self.response, self.lag].map(Latency::of);
        let bounds = Bounds { service: service.clone(), response: response.clone(), lag: lag.clone() };
        Interval { counts: self.counts, service, response, lag, bounds, ..Interval::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Vec<Interval> {
        let second =
            |n| Interval { start: Duration::from_secs(n), length: Duration::from_secs(1), ..Interval::default() };
        (0..n).map(second).collect()
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_wait_is_added_where_it_began_as_a_lower_bound() {
        let mut unfinished = UnfinishedMessages::default();
        for n in 0..500 {
            unfinished.unsent.add(SECOND + 3 * SECOND + n * 10_000_000, 1);
        }
        unfinished.lagged.add(SECOND + 7 * SECOND, 4);
        unfinished.unanswered.add(SECOND, 2);
        unfinished.unanswered_sent.add(SECOND + 1, 2);
        let end = RunEnd { measure_from: SECOND, at: 9 * SECOND, withdrawn_from: None, has_responses: true };
        let mut intervals = seconds(8);
        let waited = end.waited(&unfinished);
        let got = end.settle(&waited, &mut intervals.iter_mut().map(|it| (it.start, it)).collect::<Vec<_>>());
        assert_eq!(got, [true, false, false, true, true, true, true, true]);
        let unsent: Vec<_> = intervals.iter().map(|interval| interval.counts.failed(LoadFailure::Unsent)).collect();
        assert_eq!(unsent, [0, 0, 0, 100, 100, 100, 100, 100]);
        assert_eq!((intervals[7].counts.lagged, intervals[7].counts.planned), (4, 104));
        let mut total = Interval::default();
        end.settle(&waited, &mut [(Duration::ZERO, &mut total)]);
        let mut sum = Interval::default();
        intervals.iter().for_each(|interval| sum.add(interval));
        assert_eq!(total, sum);
        assert_eq!((total.counts.planned, total.response.count(), total.lag.count()), (504, 506, 504));
        assert_eq!((&total.bounds.response, &total.bounds.lag), (&total.response, &total.lag));
        assert_eq!((total.service.count(), total.service.max().unwrap().as_secs()), (2, 8));
        assert!((Duration::from_millis(4990)..Duration::from_millis(5010)).contains(&total.lag.max().unwrap()));
    }

    #[test]
    fn a_withdrawn_message_was_not_planned_and_has_no_response() {
        let mut unfinished = UnfinishedMessages::default();
        (0..4).for_each(|n| unfinished.unsent.add(n * SECOND, 10));
        let end = RunEnd { measure_from: 0, at: 4 * SECOND, withdrawn_from: Some(2 * SECOND), has_responses: false };
        let mut total = Interval::default();
        end.settle(&end.waited(&unfinished), &mut [(Duration::ZERO, &mut total)]);
        assert_eq!((total.counts.planned, total.counts.errors(), total.lag.count()), (20, 20, 20));
        assert!(total.response.is_empty());
    }
}
