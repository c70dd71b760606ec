//! [`Slot`]: the place of one held connection and its replacements. Time is an argument.

use std::time::Duration;

use super::attempt::{SlotEvent, outcome};
use super::counts::{ConnectOutcome, HeldEnd};
use super::heartbeat::{AnswerMeaning, Heartbeats};
use super::own_time::WatchMoment;
use super::tally::{ConnectRow, WatchTally};
use crate::report::FarKind;
use crate::symptom::Symptom;

/// The pause after a failed attempt to connect doubles from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What to do with the socket of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAction {
    /// Make a connection, in the place of an earlier one.
    Connect,
    /// Drop the connection.
    Disconnect,
    /// Send this heartbeat.
    Send(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Connecting,
    Pausing { until: Duration },
    Open { has_answered: bool },
}

/// The schedule of a slot: heartbeat `n` is planned for `first + n * interval`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotPlan {
    pub(super) first: Duration,
    pub(super) interval: Duration,
    /// A heartbeat without an answer for this long is lost.
    pub(super) patience: Duration,
    pub(super) far: FarKind,
}

/// The place of one held connection and its replacements.
#[derive(Debug)]
pub(super) struct Slot {
    number: usize,
    plan: SlotPlan,
    state: SlotState,
    /// The next heartbeat that comes due; `None` before the first connection.
    next: Option<u64>,
    /// It came due without a connection.
    pending: Option<(u64, WatchMoment)>,
    beats: Heartbeats,
    /// The last answer.
    heard: WatchMoment,
    /// The pause after the next failed attempt.
    pause: Duration,
    /// The watch is over: no heartbeat comes due any more, and nothing is connected.
    is_over: bool,
}

impl Slot {
    /// A slot whose first attempt to connect is due.
    pub(super) fn new(number: usize, plan: SlotPlan) -> Self {
        Self {
            number,
            plan,
            state: SlotState::Pausing { until: Duration::ZERO },
            next: None,
            pending: None,
            beats: Heartbeats::new(plan.far),
            heard: WatchMoment::default(),
            pause: PAUSES.0,
            is_over: false,
        }
    }

    fn planned(&self, number: u64) -> Duration {
        let nanos = self.plan.interval.as_nanos().saturating_mul(number.into());
        self.plan.first + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first heartbeat that is planned for this time or later.
    fn number_at(&self, at: Duration) -> u64 {
        let passed = at.saturating_sub(self.plan.first).as_nanos();
        u64::try_from(passed.div_ceil(self.plan.interval.as_nanos().max(1))).unwrap_or(u64::MAX)
    }

    /// When there is something to do next, answers aside.
    pub(super) fn wakes(&self) -> Option<Duration> {
        let until = match self.state {
            SlotState::Pausing { until } if !self.is_over => Some(until),
            _ => None,
        };
        self.next.filter(|_| !self.is_over).map(|next| self.planned(next)).into_iter().chain(until).min()
    }

    /// Whether the connection is open and has answered.
    pub(super) fn is_open(&self) -> bool {
        self.state == SlotState::Open { has_answered: true }
    }

    /// Whether heartbeats wait for answers.
    pub(super) fn is_waiting(&self) -> bool {
        self.beats.waiting() > 0
    }

    /// What is due by now: heartbeats, an attempt to connect, the end of patience.
    pub(super) fn advance(&mut self, now: Duration, tally: &mut WatchTally, actions: &mut Vec<SlotAction>) {
        while let Some(next) = self.next.filter(|next| !self.is_over && self.planned(*next) <= now) {
            self.next = Some(next + 1);
            self.come_due(next, now, tally, actions);
        }
        self.give_up(now, tally, actions);
        if let SlotState::Pausing { until } = self.state
            && until <= now
            && !self.is_over
        {
            self.state = SlotState::Connecting;
            tally.tries(ConnectRow::Held, false);
            actions.push(SlotAction::Connect);
        }
    }

    fn come_due(&mut self, number: u64, now: Duration, tally: &mut WatchTally, actions: &mut Vec<SlotAction>) {
        let at = self.planned(number);
        // Of those that this machine has slept through, the last one stands for all.
        let is_slept_through = tally.stall_at(at).is_some_and(|(_, end)| self.planned(number + 1) < end);
        if is_slept_through {
            return tally.skipped();
        }
        let planned = tally.moment(at);
        tally.due(self.number, planned);
        if let Some((_, planned)) = self.pending.take() {
            tally.unsent(planned, now);
        }
        match self.state {
            SlotState::Open { .. } => self.send(number, planned, tally, actions),
            _ => self.pending = Some((number, planned)),
        }
    }

    fn send(&mut self, number: u64, planned: WatchMoment, tally: &mut WatchTally, actions: &mut Vec<SlotAction>) {
        self.beats.sent(number, planned);
        tally.sent();
        actions.push(SlotAction::Send(number));
    }

    /// Heartbeats that have waited for too long are lost, and so is a connection that is silent.
    fn give_up(&mut self, now: Duration, tally: &mut WatchTally, actions: &mut Vec<SlotAction>) {
        let moment = tally.moment(now);
        while let Some(earliest) = self.beats.earliest().filter(|at| moment.since(*at) > self.plan.patience) {
            if self.heard <= earliest {
                let silence = Symptom::Stalled { sent: 0, acknowledged: None, received: 0, wanted: 0 };
                actions.push(SlotAction::Disconnect);
                return self.ends(Some(&silence), now, tally);
            }
            self.beats.give_up_earliest();
            tally.lost(1, earliest.at, now);
        }
    }

    /// Something happened on the connection of this slot.
    pub(super) fn happens(
        &mut self,
        event: &SlotEvent,
        now: Duration,
        tally: &mut WatchTally,
        actions: &mut Vec<SlotAction>,
    ) {
        match event {
            SlotEvent::Connected => {
                self.state = SlotState::Open { has_answered: false };
                self.beats = Heartbeats::new(self.plan.far);
                self.next = self.next.or_else(|| Some(self.number_at(now)));
                if let Some((number, planned)) = self.pending.take() {
                    self.send(number, planned, tally, actions);
                }
            }
            SlotEvent::Failed(symptom) => {
                tally.tried(ConnectRow::Held, outcome(symptom), Some(symptom.to_string()), now);
                self.pauses(now);
            }
            SlotEvent::Answer(answer) => self.answered(answer, now, tally),
            SlotEvent::Ended(why) => self.ends(why.as_ref(), now, tally),
        }
    }

    fn answered(&mut self, answer: &[u8], now: Duration, tally: &mut WatchTally) {
        let meaning = self.beats.answered(answer);
        let is_answer = matches!(meaning, AnswerMeaning::Answered(_) | AnswerMeaning::Reordered(_));
        self.heard = tally.moment(now);
        if is_answer && self.state == (SlotState::Open { has_answered: false }) {
            self.state = SlotState::Open { has_answered: true };
            self.pause = PAUSES.0;
            tally.tried(ConnectRow::Held, ConnectOutcome::Served, None, now);
        }
        tally.answer(self.number, meaning, now);
    }

    /// The connection ended: by a FIN without a symptom.
    fn ends(&mut self, why: Option<&Symptom>, now: Duration, tally: &mut WatchTally) {
        let how = match why {
            Some(Symptom::Reset { .. }) => HeldEnd::Reset,
            Some(Symptom::Stalled { .. }) => HeldEnd::Silent,
            _ => HeldEnd::Closed,
        };
        let from = self.beats.earliest().map_or(now, |earliest| if how == HeldEnd::Silent { earliest.at } else { now });
        if self.is_open() {
            tally.ended(self.number, how, now);
            // The first attempt to replace it follows at once.
            self.state = SlotState::Pausing { until: now };
        } else {
            let outcome = match how {
                HeldEnd::Reset => ConnectOutcome::Reset,
                HeldEnd::Silent => ConnectOutcome::TimedOut,
                HeldEnd::Closed => ConnectOutcome::Closed,
            };
            tally.tried(ConnectRow::Held, outcome, None, now);
            self.pauses(now);
        }
        tally.lost(self.beats.waiting(), from, now);
        self.beats = Heartbeats::new(self.plan.far);
    }

    fn pauses(&mut self, now: Duration) {
        self.state = SlotState::Pausing { until: now + self.pause };
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    /// The watch is over: answers alone still count.
    pub(super) fn stop(&mut self) {
        self.is_over = true;
        self.pending = None;
    }

    /// What still waits for an answer is lost.
    pub(super) fn finish(&mut self, now: Duration, tally: &mut WatchTally) {
        let from = self.beats.earliest().map_or(now, |earliest| earliest.at);
        tally.lost(self.beats.waiting(), from, now);
        if self.state == (SlotState::Open { has_answered: false }) && self.is_waiting() {
            tally.tried(ConnectRow::Held, ConnectOutcome::TimedOut, None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::heartbeat;
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A slot with its tally, on a virtual clock.
    struct Bench {
        slot: Slot,
        tally: WatchTally,
    }

    impl Bench {
        fn new() -> Self {
            let plan = SlotPlan { first: ms(5), interval: ms(100), patience: ms(1000), far: FarKind::Echo };
            Self { slot: Slot::new(0, plan), tally: WatchTally::new(1) }
        }

        fn advance(&mut self, at: u64) -> Vec<SlotAction> {
            let mut actions = Vec::new();
            self.slot.advance(ms(at), &mut self.tally, &mut actions);
            actions
        }

        fn happens(&mut self, event: SlotEvent, at: u64) -> Vec<SlotAction> {
            let mut actions = Vec::new();
            self.slot.happens(&event, ms(at), &mut self.tally, &mut actions);
            actions
        }

        fn answers(&mut self, number: u64, at: u64) {
            let mut line = heartbeat::line(number);
            line.pop();
            assert_eq!(self.happens(SlotEvent::Answer(line), at), []);
        }

        /// Connected at 10 ms, with heartbeat 1 answered at 106 ms.
        fn connected() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.advance(0), [SlotAction::Connect]);
            assert_eq!(bench.happens(SlotEvent::Connected, 10), []);
            assert_eq!(bench.advance(105), [SlotAction::Send(1)]);
            bench.answers(1, 106);
            assert!(bench.slot.is_open());
            bench
        }
    }

    #[test]
    fn the_schedule_begins_with_the_first_connection() {
        let mut bench = Bench::new();
        assert_eq!(bench.advance(0), [SlotAction::Connect]);
        assert_eq!(bench.advance(700), []);
        bench.happens(SlotEvent::Connected, 750);
        assert_eq!(bench.slot.wakes(), Some(ms(805)));
        assert_eq!(bench.advance(810), [SlotAction::Send(8)]);
        bench.answers(8, 830);
        let record = bench.tally.finish(ms(1000));
        assert_eq!((record.total.heartbeats.due, record.total.heartbeats.unsent), (1, 0));
        assert_eq!(record.total.heartbeats.slowest, ms(25), "it counts from its plan");
    }

    #[test]
    fn a_lost_connection_is_replaced_at_once_and_then_after_pauses() {
        let mut bench = Bench::connected();
        assert_eq!(bench.advance(205), [SlotAction::Send(2)]);
        bench.happens(SlotEvent::Ended(None), 210);
        assert_eq!(bench.advance(210), [SlotAction::Connect]);
        let refused =
            || Symptom::NoConnection { class: resound::client::FailureClass::Refused, after: ms(0), text: "no".into() };
        let mut at = 211;
        for pause in [50, 100, 200, 400, 800, 1000, 1000] {
            bench.happens(SlotEvent::Failed(refused()), at);
            assert_eq!(bench.advance(at + pause - 1), []);
            at += pause;
            assert_eq!(bench.advance(at), [SlotAction::Connect]);
        }
        // What came due last is sent at once.
        let sent = bench.happens(SlotEvent::Connected, at + 10);
        let [SlotAction::Send(number)] = sent[..] else { panic!("{sent:?}") };
        bench.answers(number, at + 12);
        let total = bench.tally.finish(ms(at + 20)).total;
        assert_eq!((total.held.closed, total.held.reconnects, total.reconnecting.refused), (1, 1, 7));
        assert_eq!(total.held.slowest_reconnect, ms(at + 12 - 210));
        let beats = total.heartbeats;
        assert_eq!((beats.lost, beats.answered, beats.unsent), (1, 2, number - 3));
        assert_eq!(beats.due, beats.sent + beats.unsent);
    }

    #[test]
    fn a_connection_that_ends_before_an_answer_is_a_failed_attempt() {
        let mut bench = Bench::connected();
        bench.happens(SlotEvent::Ended(Some(Symptom::Reset { sent: 0, received: 0 })), 110);
        assert_eq!(bench.advance(110), [SlotAction::Connect]);
        bench.happens(SlotEvent::Connected, 111);
        assert_eq!(bench.advance(205), [SlotAction::Send(2)]);
        bench.happens(SlotEvent::Ended(Some(Symptom::Reset { sent: 0, received: 0 })), 206);
        assert_eq!(bench.advance(206), [], "a pause follows");
        let total = bench.tally.finish(ms(300)).total;
        assert_eq!((total.held.reset, total.reconnecting.reset, total.heartbeats.lost), (1, 1, 1));
    }

    #[test]
    fn a_silent_connection_is_given_up_after_its_patience() {
        let mut bench = Bench::connected();
        assert_eq!(bench.advance(1200).len(), 10);
        assert_eq!(bench.advance(1205), [SlotAction::Send(12)]);
        assert_eq!(bench.advance(1206), [SlotAction::Disconnect, SlotAction::Connect]);
        let record = bench.tally.finish(ms(1300));
        assert_eq!((record.total.held.silent, record.total.heartbeats.lost), (1, 11));
        assert_eq!(record.episodes[0].from, ms(205));
    }

    #[test]
    fn a_stall_of_this_machine_takes_no_patience() {
        let mut bench = Bench::connected();
        assert_eq!(bench.advance(205), [SlotAction::Send(2)]);
        bench.tally.stalled(ms(210), ms(9210));
        // Of those that were slept through, one stands for all.
        assert_eq!(bench.advance(9210), [SlotAction::Send(92)]);
        bench.answers(2, 9211);
        bench.answers(92, 9212);
        let total = bench.tally.finish(ms(9300)).total;
        assert!(total.is_clean(), "{total:?}");
        assert_eq!((total.heartbeats.skipped, total.heartbeats.late), (89, 0));
        assert!(total.gap < ms(20), "{total:?}");
    }

    #[test]
    fn one_answer_that_never_comes_is_lost_alone() {
        let mut bench = Bench::connected();
        assert_eq!(bench.advance(205), [SlotAction::Send(2)]);
        for number in 3..15 {
            assert_eq!(bench.advance(5 + number * 100), [SlotAction::Send(number)]);
            bench.answers(number, 6 + number * 100);
        }
        let total = bench.tally.finish(ms(1500)).total;
        assert_eq!((total.heartbeats.lost, total.held.silent, total.heartbeats.reordered), (1, 0, 0));
    }

    #[test]
    fn the_end_waits_for_answers_alone() {
        let mut bench = Bench::connected();
        assert_eq!(bench.advance(205), [SlotAction::Send(2)]);
        bench.slot.stop();
        assert_eq!((bench.advance(500), bench.slot.is_waiting()), (vec![], true));
        bench.happens(SlotEvent::Ended(None), 600);
        assert_eq!(bench.advance(700), []);
        assert_eq!((bench.slot.wakes(), bench.slot.is_waiting()), (None, false));
    }
}
