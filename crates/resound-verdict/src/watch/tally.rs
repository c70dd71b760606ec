//! [`WatchTally`]: what the events of a watch add up to. Time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use super::counts::{ConnectCounts, ConnectOutcome, HeldEnd, LATE, WatchCounts};
use super::heartbeat::AnswerMeaning;
use super::own_time::{OwnClock, WatchMoment};
use super::record::{WatchRecord, WatchSecond};
use super::timeline::WatchTimeline;

/// The most seconds that are kept.
const SECONDS: usize = 3600;

/// Since when an answer is due.
#[derive(Clone, Copy, Debug, Default)]
struct GapTracker(Option<WatchMoment>);

impl GapTracker {
    fn due(&mut self, planned: WatchMoment) {
        self.0.get_or_insert(planned);
    }

    /// The gap that this answer ends: when it began, and its length.
    fn answered(&mut self, at: WatchMoment) -> Option<(WatchMoment, Duration)> {
        self.0.take().map(|since| (since, at.since(since)))
    }

    fn so_far(&self, now: WatchMoment) -> Option<(WatchMoment, Duration)> {
        self.0.map(|since| (since, now.since(since)))
    }
}

/// What is kept of one held connection and its replacements.
#[derive(Clone, Copy, Debug, Default)]
struct SlotTally {
    gap: GapTracker,
    /// The connection ended then, and its replacement has not answered.
    ended: Option<WatchMoment>,
}

/// Which row an attempt to connect belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectRow {
    /// Held connections.
    Held,
    /// New connections.
    New,
}

/// What the events of a watch add up to.
#[derive(Debug)]
pub(super) struct WatchTally {
    clock: OwnClock,
    total: WatchCounts,
    second: WatchCounts,
    second_from: Duration,
    seconds: VecDeque<WatchSecond>,
    timeline: WatchTimeline,
    gap: GapTracker,
    slots: Vec<SlotTally>,
    /// The first failure that has no count of its own.
    failure: Option<String>,
}

impl WatchTally {
    pub(super) fn new(held: usize) -> Self {
        Self {
            clock: OwnClock::default(),
            total: WatchCounts::default(),
            second: WatchCounts::default(),
            second_from: Duration::ZERO,
            seconds: VecDeque::new(),
            timeline: WatchTimeline::default(),
            gap: GapTracker::default(),
            slots: vec![SlotTally::default(); held],
            failure: None,
        }
    }

    fn note(&mut self, change: impl Fn(&mut WatchCounts)) {
        change(&mut self.second);
        change(&mut self.total);
        self.timeline.counts().into_iter().for_each(change);
    }

    /// Notes something that went wrong between these times.
    fn extend_episode(&mut self, from: Duration, to: Duration, change: impl Fn(&mut WatchCounts)) {
        self.timeline.settle(from);
        self.timeline.extend_episode(from, to);
        self.note(change);
    }

    pub(super) fn moment(&self, at: Duration) -> WatchMoment {
        self.clock.moment(at)
    }

    pub(super) fn stall_at(&self, at: Duration) -> Option<(Duration, Duration)> {
        self.clock.stall_at(at)
    }

    /// This machine did nothing between these times.
    pub(super) fn stalled(&mut self, from: Duration, to: Duration) {
        let (before, at) = (self.clock.moment(to), to);
        self.clock.stall(from, to);
        let stalled = before.since(self.clock.moment(at));
        self.note(|counts| counts.stalled += stalled);
    }

    /// The time of a heartbeat came.
    pub(super) fn due(&mut self, slot: usize, planned: WatchMoment) {
        self.gap.due(planned);
        self.slots[slot].gap.due(planned);
        self.note(|counts| counts.heartbeats.due += 1);
    }

    /// The time of a heartbeat came while this machine stalled, and a later one stands for it.
    pub(super) fn skipped(&mut self) {
        self.note(|counts| {
            counts.heartbeats.due += 1;
            counts.heartbeats.skipped += 1;
        });
    }

    pub(super) fn sent(&mut self) {
        self.note(|counts| counts.heartbeats.sent += 1);
    }

    /// A heartbeat was not sent: there was no connection.
    pub(super) fn unsent(&mut self, planned: WatchMoment, now: Duration) {
        self.extend_episode(planned.at, now, |counts| counts.heartbeats.unsent += 1);
    }

    /// An answer arrived on a held connection.
    pub(super) fn answer(&mut self, slot: usize, meaning: AnswerMeaning, at: Duration) {
        let now = self.moment(at);
        match meaning {
            AnswerMeaning::Answered(planned) | AnswerMeaning::Reordered(planned) => {
                let took = now.since(planned);
                let change = |counts: &mut WatchCounts| {
                    let beats = &mut counts.heartbeats;
                    beats.answered += 1;
                    beats.late += u64::from(took > LATE);
                    beats.reordered += u64::from(matches!(meaning, AnswerMeaning::Reordered(_)));
                    beats.slowest = beats.slowest.max(took);
                };
                match (took > LATE, meaning) {
                    (true, _) => self.extend_episode(planned.at, at, change),
                    (false, AnswerMeaning::Reordered(_)) => self.extend_episode(at, at, change),
                    _ => self.note(change),
                }
                self.connection_gap_ends(slot, now);
            }
            AnswerMeaning::GivenUp => self.connection_gap_ends(slot, now),
            AnswerMeaning::Duplicated => self.extend_episode(at, at, |counts| counts.heartbeats.duplicated += 1),
            AnswerMeaning::Wrong => self.extend_episode(at, at, |counts| counts.heartbeats.wrong += 1),
        }
    }

    /// An answer arrived, on a held connection or a new one.
    fn gap_ends(&mut self, now: WatchMoment) {
        if let Some((since, gap)) = self.gap.answered(now) {
            let change = |counts: &mut WatchCounts| counts.gap = counts.gap.max(gap);
            if gap > LATE { self.extend_episode(since.at, now.at, change) } else { self.note(change) }
        }
    }

    /// An answer arrived on this held connection.
    fn connection_gap_ends(&mut self, slot: usize, now: WatchMoment) {
        self.gap_ends(now);
        let of_slot = &mut self.slots[slot];
        let gap = of_slot.gap.answered(now).map(|(_, gap)| gap);
        let reconnected = of_slot.ended.take().map(|ended| (ended.at, now.since(ended)));
        if let Some(gap) = gap {
            self.note(|counts| counts.connection_gap = counts.connection_gap.max(gap));
        }
        if let Some((ended, took)) = reconnected {
            self.extend_episode(ended, now.at, |counts| {
                counts.held.reconnects += 1;
                counts.held.slowest_reconnect = counts.held.slowest_reconnect.max(took);
            });
        }
    }

    /// Heartbeats will not be answered any more. The first of them was planned at `from`, and has
    /// waited since.
    pub(super) fn lost(&mut self, count: u64, from: Duration, now: Duration) {
        if count > 0 {
            let waited = self.moment(now).since(self.moment(from));
            self.extend_episode(from, now, |counts| {
                counts.heartbeats.lost += count;
                counts.heartbeats.slowest = counts.heartbeats.slowest.max(waited);
            });
        }
    }

    /// A held connection ended that had answered.
    pub(super) fn ended(&mut self, slot: usize, how: HeldEnd, at: Duration) {
        self.slots[slot].ended = Some(self.moment(at));
        self.extend_episode(at, at, |counts| match how {
            HeldEnd::Reset => counts.held.reset += 1,
            HeldEnd::Closed => counts.held.closed += 1,
            HeldEnd::Silent => counts.held.silent += 1,
        });
    }

    /// An attempt to connect begins, or is left out.
    pub(super) fn tries(&mut self, row: ConnectRow, is_skipped: bool) {
        self.note(|counts| {
            let of_row = row.of(counts);
            of_row.tried += u64::from(!is_skipped);
            of_row.skipped += u64::from(is_skipped);
        });
    }

    /// An attempt to connect ended. `failure` is its text, where it failed.
    pub(super) fn tried(&mut self, row: ConnectRow, outcome: ConnectOutcome, failure: Option<String>, at: Duration) {
        let change = |counts: &mut WatchCounts| row.of(counts).ended(outcome);
        match outcome {
            ConnectOutcome::Served | ConnectOutcome::OwnFailure => self.note(change),
            _ => self.extend_episode(at, at, change),
        }
        if matches!(outcome, ConnectOutcome::Failed | ConnectOutcome::OwnFailure) {
            self.failure = self.failure.take().or(failure);
        }
    }

    /// A new connection that was planned for `planned` was served.
    pub(super) fn new_connection_served(&mut self, planned: Duration, at: Duration) {
        self.tried(ConnectRow::New, ConnectOutcome::Served, None, at);
        let now = self.moment(at);
        let took = now.since(self.moment(planned));
        let change = |counts: &mut WatchCounts| {
            counts.late_new += u64::from(took > LATE);
            counts.slowest_new = counts.slowest_new.max(took);
        };
        if took > LATE {
            self.extend_episode(planned, at, change)
        } else {
            self.note(change)
        }
        self.gap_ends(now);
    }

    /// A second is over, with `open` held connections open.
    pub(super) fn second(&mut self, now: Duration, open: u64) -> WatchSecond {
        self.gaps_so_far(now);
        self.timeline.settle(now);
        let counts = std::mem::take(&mut self.second);
        let second = WatchSecond { from: self.second_from, to: now, counts, open };
        self.second_from = now;
        if self.seconds.len() == SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
        second
    }

    /// Counts the gaps that have not ended.
    fn gaps_so_far(&mut self, at: Duration) {
        let now = self.moment(at);
        if let Some((since, gap)) = self.gap.so_far(now) {
            let change = |counts: &mut WatchCounts| counts.gap = counts.gap.max(gap);
            if gap > LATE { self.extend_episode(since.at, at, change) } else { self.note(change) }
        }
        let of_slots = self.slots.iter().filter_map(|slot| slot.gap.so_far(now));
        let longest = of_slots.map(|(_, gap)| gap).max().unwrap_or_default();
        self.note(|counts| counts.connection_gap = counts.connection_gap.max(longest));
    }

    /// The end of the watch.
    pub(super) fn finish(mut self, now: Duration) -> WatchRecord {
        self.gaps_so_far(now);
        // A connection that is not replaced has been missing until now.
        let moment = self.moment(now);
        let missing = self.slots.iter().filter_map(|slot| slot.ended).map(|ended| moment.since(ended)).max();
        self.note(|counts| {
            counts.held.slowest_reconnect = counts.held.slowest_reconnect.max(missing.unwrap_or_default())
        });
        self.timeline.end();
        WatchRecord {
            length: now,
            total: self.total,
            episodes: self.timeline.ended,
            further_episodes: self.timeline.more,
            seconds: self.seconds.into(),
            first_failure: self.failure,
        }
    }
}

impl ConnectRow {
    fn of(self, counts: &mut WatchCounts) -> &mut ConnectCounts {
        match self {
            Self::Held => &mut counts.reconnecting,
            Self::New => &mut counts.new,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A heartbeat that is due at the first time, and answered at the second.
    fn answered(tally: &mut WatchTally, slot: usize, planned: u64, at: u64) {
        let planned = tally.moment(ms(planned));
        tally.due(slot, planned);
        tally.answer(slot, AnswerMeaning::Answered(planned), ms(at));
    }

    #[test]
    fn a_gap_counts_from_the_time_that_an_answer_was_due() {
        let mut tally = WatchTally::new(2);
        answered(&mut tally, 0, 100, 101);
        let planned = tally.moment(ms(200));
        tally.due(0, planned);
        // The other connection answers meanwhile.
        answered(&mut tally, 1, 250, 252);
        answered(&mut tally, 1, 350, 352);
        tally.answer(0, AnswerMeaning::Answered(planned), ms(700));
        let record = tally.finish(ms(1000));
        assert_eq!((record.total.gap, record.total.connection_gap), (ms(52), ms(500)));
        assert!(record.total.is_clean() && record.episodes.is_empty());
    }

    #[test]
    fn what_does_not_come_back_has_been_missing_until_the_end() {
        let mut tally = WatchTally::new(2);
        answered(&mut tally, 0, 900, 901);
        let planned = tally.moment(ms(1000));
        tally.due(0, planned);
        tally.ended(0, HeldEnd::Reset, ms(1500));
        tally.lost(1, ms(1000), ms(1500));
        let record = tally.finish(ms(8500));
        assert_eq!((record.total.held.reconnects, record.total.held.slowest_reconnect), (0, ms(7000)));
        assert_eq!(record.total.heartbeats.slowest, ms(500), "a lost heartbeat has waited");
    }

    #[test]
    fn an_outage_is_one_episode_with_all_that_happened_in_it() {
        let mut tally = WatchTally::new(2);
        answered(&mut tally, 0, 900, 901);
        for slot in 0..2 {
            tally.ended(slot, HeldEnd::Reset, ms(1000));
            tally.lost(1, ms(1000), ms(1000));
            let planned = tally.moment(ms(1050));
            tally.due(slot, planned);
            tally.unsent(planned, ms(1150));
        }
        for at in [1050, 1150, 1350, 1750, 2550] {
            tally.tried(ConnectRow::Held, ConnectOutcome::Refused, None, ms(at));
        }
        let second = tally.second(ms(2000), 0);
        assert_eq!((second.counts.gap, second.counts.held.reset), (ms(950), 2));
        for slot in 0..2 {
            answered(&mut tally, slot, 2800, 2801);
        }
        tally.second(ms(3900), 2);
        answered(&mut tally, 0, 5000, 5001);
        let record = tally.finish(ms(6000));
        let [episode] = record.episodes[..] else { panic!("{:?}", record.episodes) };
        assert_eq!((episode.from, episode.to), (ms(1000), ms(2801)));
        assert_eq!((episode.counts.gap, episode.counts.held.slowest_reconnect), (ms(1751), ms(1801)));
        assert_eq!((episode.counts.held.reset, episode.counts.held.reconnects), (2, 2));
        assert_eq!((episode.counts.heartbeats.lost, episode.counts.reconnecting.refused), (2, 5));
        assert_eq!((record.total.heartbeats.unsent, record.seconds.len()), (2, 2));
    }

    #[test]
    fn a_gap_that_goes_on_is_seen_before_its_end() {
        let mut tally = WatchTally::new(1);
        answered(&mut tally, 0, 100, 101);
        tally.due(0, tally.moment(ms(200)));
        assert_eq!(tally.second(ms(1000), 1).counts.gap, ms(800));
        assert_eq!(tally.second(ms(2000), 1).counts.gap, ms(1800));
        let record = tally.finish(ms(2500));
        assert_eq!((record.total.gap, record.total.connection_gap), (ms(2300), ms(2300)));
        assert_eq!((record.episodes[0].from, record.episodes[0].to), (ms(200), ms(2500)));
    }

    #[test]
    fn a_stall_of_this_machine_is_no_gap_of_the_service() {
        let mut tally = WatchTally::new(1);
        let planned = tally.moment(ms(200));
        tally.due(0, planned);
        tally.stalled(ms(220), ms(5220));
        tally.answer(0, AnswerMeaning::Answered(planned), ms(5230));
        let record = tally.finish(ms(6000));
        assert_eq!((record.total.gap, record.total.heartbeats.slowest), (ms(30), ms(30)));
        assert_eq!((record.total.stalled, record.total.heartbeats.late), (ms(5000), 0));
        assert!(record.total.is_clean() && record.episodes.is_empty());
    }

    #[test]
    fn a_new_connection_that_is_served_ends_the_gap() {
        let mut tally = WatchTally::new(1);
        tally.due(0, tally.moment(ms(200)));
        tally.new_connection_served(ms(400), ms(600));
        tally.due(0, tally.moment(ms(700)));
        tally.tried(ConnectRow::New, ConnectOutcome::Refused, None, ms(800));
        tally.new_connection_served(ms(800), ms(900));
        let record = tally.finish(ms(900));
        assert_eq!((record.total.gap, record.total.connection_gap), (ms(400), ms(700)));
    }

    #[test]
    fn a_late_answer_is_an_event_and_not_clean() {
        let mut tally = WatchTally::new(1);
        answered(&mut tally, 0, 100, 1500);
        let record = tally.finish(ms(3000));
        assert_eq!((record.total.heartbeats.late, record.total.gap), (1, ms(1400)));
        assert_eq!((record.total.heartbeats.lost, record.total.is_clean()), (0, false));
        assert_eq!((record.episodes[0].from, record.episodes[0].to), (ms(100), ms(1500)));
    }

    #[test]
    fn a_new_connection_that_is_served_late_is_an_event_and_not_clean() {
        let mut tally = WatchTally::new(1);
        tally.new_connection_served(ms(100), ms(1600));
        let record = tally.finish(ms(3000));
        assert_eq!((record.total.late_new, record.total.slowest_new), (1, ms(1500)));
        assert!(!record.total.is_clean());
        assert_eq!((record.episodes[0].from, record.episodes[0].to), (ms(100), ms(1600)));
    }

    #[test]
    fn a_failure_of_this_machine_is_none_of_the_service() {
        let mut tally = WatchTally::new(1);
        tally.tried(ConnectRow::New, ConnectOutcome::OwnFailure, Some("no descriptor".into()), ms(10));
        let record = tally.finish(ms(1000));
        assert_eq!((record.total.own_failures(), record.total.is_clean()), (1, true));
        assert_eq!(record.first_failure.as_deref(), Some("no descriptor"));
    }

    #[test]
    fn the_seconds_that_are_kept_are_bounded() {
        let mut tally = WatchTally::new(1);
        for second in 1..=5000 {
            tally.second(Duration::from_secs(second), 1);
        }
        assert_eq!(tally.seconds.len(), SECONDS);
        assert_eq!(tally.finish(ms(5_000_000)).seconds[0].to, Duration::from_secs(1401));
    }
}
