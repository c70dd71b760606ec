//! [`RunEnd`]: adds the waits of unsent and unanswered messages to the results of a run.

use std::time::Duration;

use super::backlog::UnfinishedMessages;
use super::{Failure, Fault, Interval, Latency};

/// How a run ended. Times are nanoseconds from its start.
pub(super) struct RunEnd {
    pub(super) measure_from: u64,
    pub(super) at: u64,
    /// Unsent messages that were planned from here on do not count as planned.
    pub(super) withdrawn_from: Option<u64>,
    /// Does the run have response times?
    pub(super) has_responses: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UnfinishedKind {
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

/// Messages that have waited at least this long.
pub(super) struct WaitedMessages {
    kind: UnfinishedKind,
    /// Since when, from the start of measuring.
    since: u64,
    /// The shortest wait.
    bound: u64,
    count: u64,
}

impl RunEnd {
    fn is_planned(&self, since: u64) -> bool {
        self.withdrawn_from.is_none_or(|from| since < from)
    }

    /// All messages that have waited to the end.
    pub(super) fn waited(&self, unfinished: &UnfinishedMessages) -> Vec<WaitedMessages> {
        use UnfinishedKind::{Lagged, Unanswered, UnansweredSent, Unsent};
        let UnfinishedMessages { unsent, lagged, unanswered, unanswered_sent, .. } = unfinished;
        [(Unsent, unsent), (Lagged, lagged), (Unanswered, unanswered), (UnansweredSent, unanswered_sent)]
            .into_iter()
            .flat_map(|(kind, backlog)| backlog.buckets().map(move |bucket| (kind, bucket)))
            .filter(|(kind, bucket)| !kind.is_unsent() || self.is_planned(bucket.from))
            .map(|(kind, bucket)| WaitedMessages {
                kind,
                since: bucket.from.saturating_sub(self.measure_from),
                bound: self.at.saturating_sub(bucket.to).max(1),
                count: bucket.count,
            })
            .collect()
    }

    /// Connections with unsent messages, as failures.
    pub(super) fn unsent_failures(&self, unfinished: &mut UnfinishedMessages) -> Vec<Failure> {
        unfinished.named.sort_unstable_by_key(|(_, since)| *since);
        let failure = |&(connection, since): &(u64, u64)| Failure {
            class: Fault::Unsent,
            at: Duration::from_nanos(since.saturating_sub(self.measure_from)),
            connection,
            sequence: None,
            what: "planned messages were never sent: there was no connection for them, or no room on it".into(),
        };
        unfinished.named.iter().filter(|(_, since)| self.is_planned(*since)).map(failure).collect()
    }

    /// Adds the messages to the parts of the run, which begin at these times: each to the part in
    /// which its wait began. Returns which parts have changed.
    pub(super) fn settle(&self, waited: &[WaitedMessages], parts: &mut [(Duration, &mut Interval)]) -> Vec<bool> {
        let mut times: Vec<SettledTimes> = parts.iter().map(|_| SettledTimes::default()).collect();
        for messages in waited {
            let after = parts.partition_point(|(start, _)| start.as_nanos() <= u128::from(messages.since));
            let at = after.saturating_sub(1);
            let Some((_, part)) = parts.get_mut(at) else { continue };
            let (times, time) = (&mut times[at], (messages.bound, messages.count));
            let counts = &mut part.counts;
            match messages.kind {
                UnfinishedKind::Unsent => add(&mut counts.failures[Fault::Unsent.index()], messages.count),
                UnfinishedKind::Lagged => add(&mut counts.lagged, messages.count),
                UnfinishedKind::Unanswered => times.response.push(time),
                UnfinishedKind::UnansweredSent => times.service.push(time),
            }
            if messages.kind.is_unsent() {
                add(&mut counts.planned, messages.count);
                times.lag.push(time);
                times.response.extend(Some(time).filter(|_| self.has_responses));
            }
        }
        parts.iter_mut().zip(times).map(|((_, part), times)| times.add_to(part)).collect()
    }
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

#[derive(Default)]
struct SettledTimes {
    service: Vec<(u64, u64)>,
    response: Vec<(u64, u64)>,
    lag: Vec<(u64, u64)>,
}

impl SettledTimes {
    fn add_to(self, part: &mut Interval) -> bool {
        let is_any = [&self.service, &self.response, &self.lag].iter().any(|times| !times.is_empty());
        for (times, all, bounds) in [
            (self.service, &mut part.service, &mut part.bounds.service),
            (self.response, &mut part.response, &mut part.bounds.response),
            (self.lag, &mut part.lag, &mut part.bounds.lag),
        ] {
            let times = Latency::of(times);
            all.add(&times);
            bounds.add(&times);
        }
        is_any
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
        let unsent: Vec<_> = intervals.iter().map(|interval| interval.counts.failed(Fault::Unsent)).collect();
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
