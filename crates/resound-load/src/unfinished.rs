//! [`RunEnd`]: what messages of which nothing came add to a run that is over.

use std::time::Duration;

use super::backlog::{UnfinishedMessages, WaitBucket};
use super::{Failure, Fault, Interval, Latency};

/// How a run ended. Instants are those of the run, in nanoseconds.
pub(super) struct RunEnd {
    pub(super) measure_from: u64,
    pub(super) at: u64,
    /// What was planned from here on and not sent is planned no more.
    pub(super) withdrawn_from: Option<u64>,
    /// Are there answers, and so response times?
    pub(super) is_answered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UnfinishedKind {
    Unsent,
    Lagged,
    /// As to their response times.
    Unanswered,
    /// As to their service times.
    UnansweredSent,
}

/// Messages that have waited for at least so long.
pub(super) struct WaitedMessages {
    what: UnfinishedKind,
    /// Since when, counted from when measuring began.
    since: u64,
    /// For how long at least.
    bound: u64,
    count: u64,
}

impl RunEnd {
    /// What has waited to the end.
    pub(super) fn waited(&self, unsettled: &UnfinishedMessages) -> Vec<WaitedMessages> {
        let part = |what, slot: WaitBucket| WaitedMessages {
            what,
            since: slot.first.saturating_sub(self.measure_from),
            bound: self.at.saturating_sub(slot.last).max(1),
            count: slot.count,
        };
        let is_planned = |slot: &WaitBucket| self.withdrawn_from.is_none_or(|from| slot.first < from);
        let unsent = unsettled.unsent.slots().filter(is_planned).map(|slot| part(UnfinishedKind::Unsent, slot));
        let lagged = unsettled.lagged.slots().filter(is_planned).map(|slot| part(UnfinishedKind::Lagged, slot));
        let unanswered = unsettled.unanswered.slots().map(|slot| part(UnfinishedKind::Unanswered, slot));
        let sent = unsettled.unanswered_sent.slots().map(|slot| part(UnfinishedKind::UnansweredSent, slot));
        unsent.chain(lagged).chain(unanswered).chain(sent).collect()
    }

    /// The connections of which something was never sent, as failures.
    pub(super) fn named(&self, unsettled: &mut UnfinishedMessages) -> Vec<Failure> {
        unsettled.named.sort_unstable_by_key(|(_, since)| *since);
        let is_planned = |since: u64| self.withdrawn_from.is_none_or(|from| since < from);
        let failure = |&(connection, since): &(u64, u64)| Failure {
            class: Fault::Unsent,
            at: Duration::from_nanos(since.saturating_sub(self.measure_from)),
            connection,
            sequence: None,
            what: "planned messages were never sent: there was no connection for them, or no room on it".into(),
        };
        unsettled.named.iter().filter(|(_, since)| is_planned(*since)).map(failure).collect()
    }

    /// Adds it to the parts of the run, which begin at these times, each to the one in which its
    /// wait began. Says which of them have got something.
    pub(super) fn settle(&self, waited: &[WaitedMessages], parts: &mut [(Duration, &mut Interval)]) -> Vec<bool> {
        let mut times: Vec<SettledTimes> = parts.iter().map(|_| SettledTimes::default()).collect();
        for of in waited {
            let behind = parts.partition_point(|(start, _)| start.as_nanos() <= u128::from(of.since));
            let Some((_, part)) = parts.get_mut(behind.saturating_sub(1)) else { continue };
            let (times, time) = (&mut times[behind.saturating_sub(1)], (of.bound, of.count));
            let counts = &mut part.counts;
            match of.what {
                UnfinishedKind::Unsent => {
                    let unsent = &mut counts.failures[Fault::Unsent.index()];
                    *unsent = unsent.saturating_add(of.count);
                }
                UnfinishedKind::Lagged => counts.lagged = counts.lagged.saturating_add(of.count),
                UnfinishedKind::Unanswered => times.response.push(time),
                UnfinishedKind::UnansweredSent => times.service.push(time),
            }
            if matches!(of.what, UnfinishedKind::Unsent | UnfinishedKind::Lagged) {
                counts.planned = counts.planned.saturating_add(of.count);
                times.lag.push(time);
                if self.is_answered {
                    times.response.push(time);
                }
            }
        }
        parts.iter_mut().zip(times).map(|((_, part), times)| times.add_to(part)).collect()
    }
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
    fn what_waits_stands_where_its_wait_began_with_what_is_known_of_it() {
        let mut unsettled = UnfinishedMessages::default();
        for n in 0..500 {
            unsettled.unsent.add(SECOND + 3 * SECOND + n * 10_000_000, 1);
        }
        unsettled.lagged.add(SECOND + 7 * SECOND, 4);
        unsettled.unanswered.add(SECOND, 2);
        unsettled.unanswered_sent.add(SECOND + 1, 2);
        let ending = RunEnd { measure_from: SECOND, at: 9 * SECOND, withdrawn_from: None, is_answered: true };
        let mut intervals = seconds(8);
        let waited = ending.waited(&unsettled);
        let got = ending.settle(&waited, &mut intervals.iter_mut().map(|it| (it.start, it)).collect::<Vec<_>>());
        assert_eq!(got, [true, false, false, true, true, true, true, true]);
        let unsent: Vec<_> = intervals.iter().map(|interval| interval.counts.failed(Fault::Unsent)).collect();
        assert_eq!(unsent, [0, 0, 0, 100, 100, 100, 100, 100]);
        assert_eq!((intervals[7].counts.lagged, intervals[7].counts.planned), (4, 104));
        let mut total = Interval::default();
        ending.settle(&waited, &mut [(Duration::ZERO, &mut total)]);
        let mut sum = Interval::default();
        intervals.iter().for_each(|interval| sum.add(interval));
        assert_eq!(total, sum);
        assert_eq!((total.counts.planned, total.response.count(), total.lag.count()), (504, 506, 504));
        assert_eq!((&total.bounds.response, &total.bounds.lag), (&total.response, &total.lag));
        assert_eq!((total.service.count(), total.service.max().unwrap().as_secs()), (2, 8));
        assert!((Duration::from_millis(4990)..Duration::from_millis(5010)).contains(&total.lag.max().unwrap()));
    }

    #[test]
    fn what_was_withdrawn_was_not_planned_and_what_is_not_answered_has_no_response() {
        let mut unsettled = UnfinishedMessages::default();
        (0..4).for_each(|n| unsettled.unsent.add(n * SECOND, 10));
        let ending = RunEnd { measure_from: 0, at: 4 * SECOND, withdrawn_from: Some(2 * SECOND), is_answered: false };
        let mut total = Interval::default();
        ending.settle(&ending.waited(&unsettled), &mut [(Duration::ZERO, &mut total)]);
        assert_eq!((total.counts.planned, total.counts.errors(), total.lag.count()), (20, 20, 20));
        assert!(total.response.is_empty());
    }
}
