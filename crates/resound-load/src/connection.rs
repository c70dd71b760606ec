//! [`LoadConnection`]: one connection of a run. It sends, verifies answers, and records both.

mod failure;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::answers::{AnswerEvent, Answers, SendTimes};
use super::connection_state::{Blocked, ConnectionFailure};
use super::nanos::nanos;
use super::outcome::{AnswerTimes, ConnectionOutcome};
use super::pattern::ChargenCheck;
use super::run_config::{Pace, RunConfig, TrafficPattern};
use super::schedule::Schedule;
use super::slot::{ConnectionSlot, ReturnedSlots};
use super::tally::Tally;
use super::{Counts, LoadFailure, MOST_IN_FLIGHT, stall};
use resound::CloseReason;
use resound_proto::{Cx, Service};

/// Messages sent in one turn, before other connections get theirs.
const BURST: usize = 256;
/// Wrong bytes are judged as they are if no more arrive for this long.
const DOUBT: u64 = 500_000_000;
/// A connection that lags its schedule by no more than this at the end still sends what is due.
const CATCHES_UP: u64 = 100_000_000;
/// How long a connection that has half-closed waits for the target's FIN.
const LINGER: u64 = 1_000_000_000;

pub(super) struct LoadConnection {
    config: Arc<RunConfig>,
    worker: usize,
    answers: Answers,
    pattern: ChargenCheck,
    /// Returned when the connection is closed.
    slot: Option<ConnectionSlot>,
    returned: Rc<ReturnedSlots>,
    /// Closed loop: messages that may be sent now.
    ready: usize,
    /// Closed loop: the ends of think times, after each of which one more may be sent.
    pauses: VecDeque<u64>,
    sent: u64,
    /// Bytes of answers still to come to messages that were sent before measuring.
    warm_up: u64,
    has_begun: bool,
    /// Something was due that the last turn could not send.
    is_behind: bool,
    blocked: Blocked,
    /// An answer has arrived, or none is expected.
    has_answered: bool,
    /// When the last answer arrived, on a connection that still had its slot; of a generated
    /// pattern, when the last bytes came, and before them when the connection began.
    last_answer: u64,
    /// Nothing more is sent.
    finishing: bool,
    /// The connection has half-closed, and closes at this time without the target's FIN.
    closes_at: Option<u64>,
    failure: ConnectionFailure,
    /// When wrong bytes are judged as they are, unless more arrive before.
    judge_at: Option<u64>,
    /// The requested wake-up.
    wakes_at: Option<u64>,
}

impl LoadConnection {
    pub(super) fn new(
        config: Arc<RunConfig>,
        worker: usize,
        connection: u64,
        slot: ConnectionSlot,
        returned: Rc<ReturnedSlots>,
    ) -> Self {
        let ready = match config.pace {
            Pace::Closed { depth, .. } => depth,
            Pace::Open { .. } | Pace::Bulk => 0,
        };
        Self {
            answers: Answers::new(Arc::clone(&config.rules), connection),
            config,
            worker,
            pattern: ChargenCheck::default(),
            slot: Some(slot),
            returned,
            ready,
            pauses: VecDeque::new(),
            sent: 0,
            warm_up: 0,
            has_begun: false,
            is_behind: false,
            blocked: Blocked::No,
            has_answered: false,
            last_answer: 0,
            finishing: false,
            closes_at: None,
            failure: ConnectionFailure::No,
            judge_at: None,
            wakes_at: None,
        }
    }

    /// One turn: sends what is due, asks for the next wake-up, and closes when all is done.
    fn advance(&mut self, cx: &mut Cx<'_>, tally: &mut Tally) {
        if !self.has_begun {
            // All connections are woken when the start is set.
            let Some(start) = self.config.start() else { return };
            if cx.now() < start {
                return cx.wake_at(start);
            }
            self.has_begun = true;
            if self.config.traffic == TrafficPattern::Pattern {
                self.last_answer = self.config.time(cx.now());
            }
        }
        let now = self.config.time(cx.now());
        self.blocked.resume(now);
        let mut in_turn = 0;
        let mut has_no_room = false;
        while !self.finishing {
            if self.is_done(now) {
                self.finishing = true;
                break;
            }
            if self.config.traffic == TrafficPattern::Pattern {
                break;
            }
            has_no_room = cx.unsent() >= self.config.pace.high_water();
            if has_no_room || in_turn == BURST {
                break;
            }
            let Some(planned) = self.next(now) else { break };
            self.send(SendTimes::new(planned, now), cx, tally);
            in_turn += 1;
        }
        self.is_behind = self.due().is_some_and(|due| due <= now);
        self.blocked.update(now, has_no_room || self.is_full(), self.is_behind);
        self.finishing |= now >= self.config.end() && !self.catches_up();
        if self.finishing && self.is_quiet(cx) {
            return self.half_close(now, cx);
        }
        self.set_wake_up(now, in_turn == BURST, has_no_room, cx);
    }

    /// Ends an idle connection. What the target sends before its own FIN is an answer too many.
    fn half_close(&mut self, now: u64, cx: &mut Cx<'_>) {
        let until = *self.closes_at.get_or_insert(now.saturating_add(LINGER));
        let Some(instant) = self.config.instant(until).filter(|_| now < until) else { return cx.close() };
        // A generated pattern goes on until the connection is closed.
        if self.config.traffic == TrafficPattern::Pattern {
            return cx.close();
        }
        cx.finish();
        self.wakes_at = Some(until);
        cx.wake_at(instant);
    }

    /// Is the whole depth of an open loop in flight?
    fn is_full(&self) -> bool {
        matches!(self.config.pace, Pace::Open { depth, .. } if self.answers.in_flight() >= depth)
    }

    /// Is nothing in flight?
    fn is_quiet(&self, cx: &Cx<'_>) -> bool {
        match self.config.traffic {
            TrafficPattern::Answered => self.answers.in_flight() == 0 && !self.answers.is_in_doubt(),
            TrafficPattern::Swallowed => cx.unsent() == 0,
            TrafficPattern::Pattern => true,
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let end = self.config.end();
        // A connection on schedule gets one last wake-up to send what fell due before the end; one
        // that is far behind stops there, and the rest is unsent.
        let may_end = self.is_behind && !self.catches_up() || !matches!(self.config.pace, Pace::Open { .. });
        self.config.per_connection.is_some_and(|most| self.sent >= most)
            || now >= end && may_end
            || self.slot.as_ref().is_some_and(|slot| slot.is_done(end))
    }

    /// Is the lag at the end so short that the connection still sends what is due?
    fn catches_up(&self) -> bool {
        let lag = self.due().and_then(|due| self.config.end().checked_sub(due));
        lag.is_some_and(|lag| (1..=CATCHES_UP).contains(&lag))
            && self.slot.as_ref().is_some_and(|slot| slot.left != Some(0))
    }

    /// When the next message of an open loop is due.
    fn due(&self) -> Option<u64> {
        self.slot.as_ref()?.schedule.as_ref().map(Schedule::due)
    }

    /// Takes the next message, if it may be sent now: when it was due.
    fn next(&mut self, now: u64) -> Option<u64> {
        match self.config.pace {
            Pace::Bulk => (self.answers.in_flight() < MOST_IN_FLIGHT as usize).then_some(now),
            Pace::Closed { depth, .. } => {
                while self.pauses.pop_front_if(|end| *end <= now).is_some() {
                    self.ready = (self.ready + 1).min(depth);
                }
                self.ready = self.ready.checked_sub(usize::from(self.config.traffic == TrafficPattern::Answered))?;
                Some(now)
            }
            Pace::Open { depth, .. } => {
                let schedule = self.slot.as_mut()?.schedule.as_mut()?;
                let due = schedule.due();
                if due > now || self.answers.in_flight() >= depth {
                    return None;
                }
                schedule.take();
                Some(due)
            }
        }
    }

    fn send(&mut self, sent: SendTimes, cx: &mut Cx<'_>, tally: &mut Tally) {
        let message = match self.config.traffic {
            TrafficPattern::Answered => self.answers.send(sent),
            _ => self.config.rules.message(self.answers.connection, self.sent),
        };
        self.config.rules.payload.write(&message, cx);
        self.sent += 1;
        tally.last_activity = sent.sent;
        if sent.planned >= self.config.measure_from {
            if let Some(left) = self.slot.as_mut().and_then(|slot| slot.left.as_mut()) {
                *left -= 1;
            }
            tally.counts.planned += 1;
            tally.counts.sent += 1;
            tally.counts.bytes_sent += message.len as u64;
            if matches!(self.config.pace, Pace::Open { .. }) {
                let lag = sent.sent - sent.planned;
                tally.lag.record(lag);
                let is_late = lag >= nanos(Counts::LATE);
                tally.counts.held += u64::from(is_late && self.blocked.has_delayed(sent.planned, lag));
            }
        } else if self.config.traffic == TrafficPattern::Answered {
            self.warm_up += self.config.rules.payload.answer_len(&message) as u64;
        }
    }

    /// Asks for a wake-up at the earliest of the connection's deadlines.
    fn set_wake_up(&mut self, now: u64, has_more: bool, has_no_room: bool, cx: &mut Cx<'_>) {
        let mut at = self.deadline();
        let mut by = |time: u64| at = Some(at.map_or(time, |at: u64| at.min(time)));
        if has_more {
            by(now);
        }
        self.judge_at.into_iter().for_each(&mut by);
        if !self.finishing && now < self.config.end() {
            by(self.config.end());
        }
        if !self.finishing && !has_no_room {
            match self.config.pace {
                Pace::Closed { depth, .. } if self.ready < depth => {
                    self.pauses.front().into_iter().for_each(|&end| by(end))
                }
                Pace::Open { depth, .. } if self.answers.in_flight() < depth => self.due().into_iter().for_each(by),
                _ => {}
            }
        }
        if let Some(at) = at.filter(|&at| self.wakes_at.is_none_or(|set| at < set))
            && let Some(instant) = self.config.instant(at)
        {
            self.wakes_at = Some(at);
            cx.wake_at(instant);
        }
    }

    /// Records the outcome of messages, and lets the closed loop send the next ones.
    fn record(
        &mut self,
        cx: &mut Cx<'_>,
        tally: &mut Tally,
        settle: impl FnOnce(&mut Answers, &mut dyn FnMut(AnswerEvent)),
    ) {
        let sent = self.answers.oldest().map(|(_, oldest)| oldest.sent);
        let ConnectionOutcome { settled, lost } =
            ConnectionOutcome::record(&self.config, &mut self.answers, AnswerTimes::of(cx), tally, settle);
        let now = self.config.time(cx.now());
        // After answers a FIN is none: how long the target takes to close is no time of the run.
        if settled > 0 || lost {
            tally.last_activity = now;
        }
        if settled > 0 {
            let is_outage = !self.has_answered && self.recover(now, tally);
            if let Some((slot, sent)) = self.slot.as_mut().zip(sent) {
                stall::record_wait(&self.config, slot, sent.max(self.last_answer), now, is_outage, tally);
                slot.has_answered |= (self.config.measure_from..self.config.end()).contains(&now);
                self.last_answer = now;
            }
        }
        self.judge_at = self.answers.is_in_doubt().then_some(now + DOUBT);
        match self.config.pace {
            Pace::Closed { depth, think: 0 } => self.ready = (self.ready + settled).min(depth),
            Pace::Closed { think, .. } => self.pauses.extend(std::iter::repeat_n(now + think, settled)),
            Pace::Open { .. } | Pace::Bulk => {}
        }
        if lost {
            self.give_up(cx);
        }
    }

    /// The first answer on this connection ends an outage before it. Returns whether there was one.
    fn recover(&mut self, now: u64, tally: &mut Tally) -> bool {
        self.has_answered = true;
        self.slot.as_mut().is_some_and(|slot| slot.recover(&self.config, now, tally) > 0)
    }

    /// Handles bytes of a character generator. Returns whether they are right.
    fn received_pattern(&mut self, bytes: &[u8], now: u64, cx: &Cx<'_>, tally: &mut Tally) -> bool {
        let verify = self.config.rules.verify && !self.has_failed();
        let (lines, wrong) = self.pattern.received(bytes, verify);
        if !self.has_answered {
            self.recover(now, tally);
        } else if let Some(slot) = &mut self.slot {
            stall::record_wait(&self.config, slot, self.last_answer, now, false, tally);
        }
        self.last_answer = now;
        if now >= self.config.measure_from && self.has_begun {
            let is_in_time = now < self.config.end();
            self.slot.iter_mut().for_each(|slot| slot.has_answered |= is_in_time);
            tally.counts.received += lines;
            tally.counts.late += if is_in_time { 0 } else { lines };
            tally.counts.verified += if verify { lines } else { 0 };
        }
        if let Some(at) = wrong {
            let what = format!("byte {at} of what came is not of the pattern of RFC 864");
            self.fail(LoadFailure::Corrupt, None, what, cx.now(), tally);
        }
        wrong.is_none()
    }

    /// Returns the slot, with what the connection leaves behind.
    fn return_slot(&mut self, mut slot: ConnectionSlot, oldest: Option<u64>, at: Instant, tally: &mut Tally) {
        tally.counts.closed += u64::from(slot.is_counted(&self.config));
        let now = self.config.time(at);
        let has_failed = self.has_failed();
        // An outage begins when the oldest unanswered message was sent, unless an answer came
        // since.
        let is_outage = has_failed && (!self.has_answered || self.failure == ConnectionFailure::TimedOut);
        if let Some(sent) = oldest {
            stall::record_wait(&self.config, &mut slot, sent.max(self.last_answer), now, is_outage, tally);
        }
        if has_failed {
            slot.lose(oldest.filter(|_| is_outage).unwrap_or(now), is_outage);
        }
        slot.blocked_since = self.blocked.range(now).map_or(now, |(since, _)| since);
        if self.config.is_over(at) {
            slot.finish(&self.config, at, self.blocked.range(self.config.end()), tally);
        }
        self.returned.borrow_mut().push((slot, has_failed));
    }
}

impl Service for LoadConnection {
    fn open(&mut self, cx: &mut Cx<'_>) {
        let config = Arc::clone(&self.config);
        if config.start().is_some_and(|start| start < cx.now()) {
            // What was due before has waited for this connection.
            let since = self.slot.as_ref().map_or(0, |slot| slot.blocked_since);
            self.blocked = Blocked::CatchingUp { since, until: config.time(cx.now()) };
        }
        let mut tally = config.tallies.of(self.worker);
        if config.traffic == TrafficPattern::Swallowed {
            self.recover(config.time(cx.now()), &mut tally);
        }
        self.advance(cx, &mut tally);
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        let config = Arc::clone(&self.config);
        let mut tally = config.tallies.of(self.worker);
        let now = config.time(AnswerTimes::of(cx).arrived);
        // Messages of the warm-up are answered first.
        let warm_up = self.warm_up.min(bytes.len() as u64);
        self.warm_up -= warm_up;
        if now >= config.measure_from && self.has_begun {
            let measured = bytes.len() as u64 - warm_up;
            tally.counts.bytes_received += measured;
            tally.counts.bytes_late += if now >= config.end() { measured } else { 0 };
        }
        match config.traffic {
            TrafficPattern::Answered => {
                for departure in cx.departures() {
                    self.answers.departed(departure.bytes, config.time(departure.at));
                }
                self.record(cx, &mut tally, |answers, mut emit| answers.received(bytes, &mut emit));
            }
            TrafficPattern::Pattern => {
                if !self.received_pattern(bytes, now, cx, &mut tally) {
                    return self.give_up(cx);
                }
            }
            TrafficPattern::Swallowed => {
                let what = "the target answered, but discard mode expects no answer".into();
                self.fail(LoadFailure::Extra, None, what, cx.now(), &mut tally);
                return self.give_up(cx);
            }
        }
        self.advance(cx, &mut tally);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        // A closed loop with its whole depth in flight waits for answers, not for room.
        if matches!(self.config.pace, Pace::Closed { .. })
            && self.config.traffic == TrafficPattern::Answered
            && self.ready == 0
        {
            return;
        }
        let config = Arc::clone(&self.config);
        self.advance(cx, &mut config.tallies.of(self.worker));
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let config = Arc::clone(&self.config);
        let mut tally = config.tallies.of(self.worker);
        self.wakes_at = None;
        let now = config.time(cx.now());
        let is_timed_out = self.deadline().is_some_and(|at| at <= now);
        if is_timed_out || self.judge_at.is_some_and(|at| at <= now) {
            self.record(cx, &mut tally, |answers, mut emit| answers.explain(true, &mut emit));
        }
        if is_timed_out && self.fail_if_timed_out(now, cx, &mut tally) {
            return;
        }
        self.advance(cx, &mut tally);
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        let config = Arc::clone(&self.config);
        let mut tally = config.tallies.of(self.worker);
        self.record(cx, &mut tally, |answers, mut emit| answers.explain(true, &mut emit));
        if config.traffic == TrafficPattern::Swallowed {
            // Without answers, only its FIN says that the target has read everything.
            tally.last_activity = config.time(cx.now());
        }
        if self.answers.oldest().is_some() || !self.finishing {
            match cx.conn().tls {
                Some(_) if self.has_failed() => {}
                Some(_) => self.failure = ConnectionFailure::EarlyEof,
                None => self.fail_at_eof(cx.now(), &mut tally),
            }
        }
        self.finishing = true;
        cx.close();
    }

    /// The run is over; messages in flight may still be answered.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        let config = Arc::clone(&self.config);
        self.advance(cx, &mut config.tallies.of(self.worker));
        self.finishing |= !self.catches_up();
        if self.finishing && self.is_quiet(cx) {
            self.half_close(config.time(cx.now()), cx);
        }
    }

    fn closed(&mut self, why: &CloseReason) {
        let config = Arc::clone(&self.config);
        let mut tally = config.tallies.of(self.worker);
        let at = Instant::now();
        // Once all is answered, the target may end the connection as it likes. Without answers, a
        // RST in place of its FIN says that it has not read everything.
        let is_answered =
            config.traffic != TrafficPattern::Swallowed && self.closes_at.is_some() && self.answers.oldest().is_none();
        if !self.has_failed() && !is_answered {
            if !why.is_orderly() && *why != CloseReason::Cut {
                let sequence = self.answers.oldest().map(|(sequence, _)| sequence);
                let what = format!("{why}; {}", self.answers.describe_in_flight());
                self.fail(LoadFailure::from(*why), sequence, what, at, &mut tally);
            } else if self.failure == ConnectionFailure::EarlyEof {
                self.fail_at_eof(at, &mut tally);
            }
        }
        let (oldest, end) = (self.waits_since(), AnswerTimes { arrived: at, read: at });
        ConnectionOutcome::record(&config, &mut self.answers, end, &mut tally, |answers, mut emit| {
            answers.end(&mut emit)
        });
        if let Some(slot) = self.slot.take() {
            self.return_slot(slot, oldest, at, &mut tally);
        }
    }
}

#[cfg(test)]
mod tests;
