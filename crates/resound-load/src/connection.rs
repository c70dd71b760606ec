//! [`LoadConnection`]: one connection of a run. It sends, verifies, times, and writes down.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::answers::{AnswerEvent, Answers, SendTimes};
use super::dial_plan::{ConnectionSlot, ReturnedSlots};
use super::outcome::{AnswerTimes, ConnectionOutcome};
use super::pattern::Pattern;
use super::run_config::{Pace, RunConfig, TrafficPattern, nanos};
use super::schedule::Schedule;
use super::stall::{AnswerWaits, Waiting};
use super::tally::Tally;
use super::{Counts, Fault, MOST_IN_FLIGHT};
use resound::CloseReason;
use resound_proto::{Cx, Service};

/// Bytes that may wait to leave before no more are sent; in an open loop they wait in the plan then, which costs no memory.
const HIGH_WATER: usize = 256 * 1024;
/// The same in a stream, whose bytes wait where they stand: as much as one call sends.
const BULK_HIGH_WATER: usize = 512 * 1024;
/// Messages that are sent before others get their turn.
const BURST: usize = 256;
/// So long nothing more has to come before what came and is wrong is judged as it is.
const DOUBT: u64 = 500_000_000;
/// A connection that is this little behind the plan at the end still sends what is left of it.
const CATCHES_UP: u64 = 100_000_000;

pub(super) struct LoadConnection {
    course: Arc<RunConfig>,
    worker: usize,
    answers: Answers,
    pattern: Pattern,
    /// Until it is given back.
    seat: Option<ConnectionSlot>,
    returned: Rc<ReturnedSlots>,
    /// Of a closed loop: messages that may be sent now.
    ready: usize,
    /// And when further ones may.
    pauses: VecDeque<u64>,
    sent: u64,
    /// Bytes of answers still to come to what was sent before measuring.
    warm_up: u64,
    begun: bool,
    /// Something was due that could not be sent in the turn before.
    is_behind: bool,
    /// After the turn before no message could have been sent, whatever was due: there was no room, or all were in flight that may be.
    is_held: bool,
    /// What was planned up to here may have been held up so, or by a connection that was not there yet.
    held_until: Option<u64>,
    /// What was due before this was late by so much for another reason. As long as anything due is left, this stays.
    held_since: Option<u64>,
    /// Something has been answered, or nothing ever is.
    has_answered: bool,
    waits: AnswerWaits,
    /// Nothing more is sent.
    finishing: bool,
    failed: bool,
    /// It was given up since no answer came in time.
    is_too_late: bool,
    /// Of TLS: the far end has closed too early. Whether in order is known at the end.
    is_ended: bool,
    /// When what came and is wrong is judged as it is, if nothing more has come by then.
    doubt: Option<u64>,
    /// The wake-up that is asked for.
    wakes_at: Option<u64>,
}

impl LoadConnection {
    pub(super) fn new(
        course: Arc<RunConfig>,
        worker: usize,
        connection: u64,
        seat: ConnectionSlot,
        returned: Rc<ReturnedSlots>,
    ) -> Self {
        let ready = match course.pace {
            Pace::Closed { depth, .. } => depth,
            Pace::Open { .. } | Pace::Bulk => 0,
        };
        Self {
            answers: Answers::new(Arc::clone(&course.rules), connection),
            course,
            worker,
            pattern: Pattern::default(),
            seat: Some(seat),
            returned,
            ready,
            pauses: VecDeque::new(),
            sent: 0,
            warm_up: 0,
            begun: false,
            is_behind: false,
            is_held: false,
            held_until: None,
            held_since: None,
            has_answered: false,
            waits: AnswerWaits::default(),
            finishing: false,
            failed: false,
            is_too_late: false,
            is_ended: false,
            doubt: None,
            wakes_at: None,
        }
    }

    /// Sends what may be sent now, sees to it that this connection is heard of again, and ends it when all is done.
    fn go_on(&mut self, cx: &mut Cx<'_>, tally: &mut Tally) {
        if !self.begun {
            // The start is told to all at once, by a wake-up.
            let Some(start) = self.course.start() else { return };
            if cx.now() < start {
                return cx.wake_at(start);
            }
            self.begun = true;
        }
        let now = self.course.time(cx.now());
        if self.is_held {
            self.held_until = Some(now);
        }
        let high_water = if self.course.pace == Pace::Bulk { BULK_HIGH_WATER } else { HIGH_WATER };
        let mut in_turn = 0;
        let mut is_held_up = false;
        while !self.finishing {
            if self.is_done(now) {
                self.finishing = true;
                break;
            }
            if self.course.traffic == TrafficPattern::Pattern {
                break;
            }
            is_held_up = cx.unsent() >= high_water;
            if is_held_up || in_turn == BURST {
                break;
            }
            let Some(planned) = self.next(now) else { break };
            self.send(SendTimes::new(planned, now), cx, tally);
            in_turn += 1;
        }
        self.is_behind = self.due().is_some_and(|due| due <= now);
        self.is_held = is_held_up || self.is_full();
        if self.is_held {
            self.held_since.get_or_insert(now);
        } else if !self.is_behind {
            self.held_since = None;
        }
        self.finishing |= now >= self.course.end() && !self.catches_up();
        if self.finishing && self.is_quiet(cx) {
            return cx.close();
        }
        self.mind_time(now, in_turn == BURST, is_held_up, cx);
    }

    /// Is all in flight that may be?
    fn is_full(&self) -> bool {
        matches!(self.course.pace, Pace::Open { depth, .. } if self.answers.in_flight() >= depth)
    }

    /// Is nothing on its way?
    fn is_quiet(&self, cx: &Cx<'_>) -> bool {
        match self.course.traffic {
            TrafficPattern::Answered => self.answers.in_flight() == 0 && !self.answers.is_in_doubt(),
            TrafficPattern::Swallowed => cx.unsent() == 0,
            TrafficPattern::Pattern => true,
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let end = self.course.end();
        // A connection that has kept to the plan is woken a little after the end too, and sends what
        // has come due since. One that is far behind sends no more: the rest was never sent.
        let may_end = self.is_behind && !self.catches_up() || !matches!(self.course.pace, Pace::Open { .. });
        self.course.per_connection.is_some_and(|most| self.sent >= most)
            || now >= end && may_end
            || self.seat.as_ref().is_some_and(|seat| seat.is_done(end))
    }

    /// At the end: is it so little behind the plan that what is left of it is still sent?
    fn catches_up(&self) -> bool {
        let left = self.due().and_then(|due| self.course.end().checked_sub(due));
        left.is_some_and(|left| (1..=CATCHES_UP).contains(&left))
            && self.seat.as_ref().is_some_and(|seat| seat.left != Some(0))
    }

    /// When the next message is due; a closed loop plans nothing.
    fn due(&self) -> Option<u64> {
        self.seat.as_ref()?.schedule.as_ref().map(Schedule::due)
    }

    /// When the next message was to be sent, if it may be sent now.
    fn next(&mut self, now: u64) -> Option<u64> {
        match self.course.pace {
            Pace::Bulk => (self.answers.in_flight() < MOST_IN_FLIGHT as usize).then_some(now),
            Pace::Closed { depth, .. } => {
                while self.pauses.pop_front_if(|over| *over <= now).is_some() {
                    self.ready = (self.ready + 1).min(depth);
                }
                self.ready = self.ready.checked_sub(usize::from(self.course.traffic == TrafficPattern::Answered))?;
                Some(now)
            }
            Pace::Open { depth, .. } => {
                let schedule = self.seat.as_mut()?.schedule.as_mut()?;
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
        let message = match self.course.traffic {
            TrafficPattern::Answered => self.answers.send(sent),
            _ => self.course.rules.message(self.answers.connection(), self.sent),
        };
        self.course.rules.payload.write(&message, cx);
        self.sent += 1;
        tally.at(sent.sent);
        if sent.planned >= self.course.measure_from {
            if let Some(left) = self.seat.as_mut().and_then(|seat| seat.left.as_mut()) {
                *left -= 1;
            }
            tally.counts.planned += 1;
            tally.counts.sent += 1;
            tally.counts.bytes_sent += message.len() as u64;
            if matches!(self.course.pace, Pace::Open { .. }) {
                let lag = sent.sent - sent.planned;
                tally.lag(lag);
                // For the greater part of its wait.
                let was_held = self.held_until.is_some_and(|until| sent.planned <= until)
                    && self.held_since.is_some_and(|since| since.saturating_sub(sent.planned) <= lag / 2);
                tally.counts.held += u64::from(was_held && lag >= nanos(Counts::LATE));
            }
        } else if self.course.traffic == TrafficPattern::Answered {
            self.warm_up += self.course.rules.payload.answer_len(&message) as u64;
        }
    }

    /// Asks for a wake-up where something is due.
    fn mind_time(&mut self, now: u64, has_more: bool, is_held_up: bool, cx: &mut Cx<'_>) {
        let mut at = self.answers.oldest().map(|(_, oldest)| oldest.sent.saturating_add(self.course.timeout));
        let mut by = |time: u64| at = Some(at.map_or(time, |at: u64| at.min(time)));
        if has_more {
            by(now);
        }
        self.doubt.into_iter().for_each(&mut by);
        if !self.finishing && now < self.course.end() {
            by(self.course.end());
        }
        if !self.finishing && !is_held_up {
            match self.course.pace {
                Pace::Closed { depth, .. } if self.ready < depth => {
                    self.pauses.front().into_iter().for_each(|&over| by(over))
                }
                Pace::Open { depth, .. } if self.answers.in_flight() < depth => self.due().into_iter().for_each(by),
                _ => {}
            }
        }
        if let Some(at) = at.filter(|&at| self.wakes_at.is_none_or(|set| at < set))
            && let Some(instant) = self.course.instant(at)
        {
            self.wakes_at = Some(at);
            cx.wake_at(instant);
        }
    }

    /// Writes down what has become of messages, and makes use of it.
    fn note(
        &mut self,
        cx: &mut Cx<'_>,
        tally: &mut Tally,
        look: impl FnOnce(&mut Answers, &mut dyn FnMut(AnswerEvent)),
    ) {
        let sent = self.answers.oldest().map(|(_, oldest)| oldest.sent);
        let ConnectionOutcome { settled, lost } =
            ConnectionOutcome::note(&self.course, &mut self.answers, AnswerTimes::of(cx), tally, look);
        let now = self.course.time(cx.now());
        tally.at(now);
        if settled > 0 {
            let is_outage = !self.has_answered && self.answers_again(now, tally);
            if let Some((seat, sent)) = self.seat.as_mut().zip(sent) {
                let waiting = Waiting::new(&self.course, &mut seat.has_answered, tally);
                self.waits.answered(sent, now, is_outage, waiting);
            }
        }
        self.doubt = self.answers.is_in_doubt().then_some(now + DOUBT);
        match self.course.pace {
            Pace::Closed { depth, think: 0 } => self.ready = (self.ready + settled).min(depth),
            Pace::Closed { think, .. } => self.pauses.extend(std::iter::repeat_n(now + think, settled)),
            Pace::Open { .. } | Pace::Bulk => {}
        }
        if lost {
            self.give_up(cx);
        }
    }

    /// The first answer on this connection ends what was out of order before it: was that an outage?
    fn answers_again(&mut self, now: u64, tally: &mut Tally) -> bool {
        self.has_answered = true;
        let outage = self.seat.as_mut().map_or(0, |seat| seat.recovers(&self.course, now));
        tally.outage += outage;
        outage > 0
    }

    /// Nothing can be made of this connection any more: another takes its place.
    fn give_up(&mut self, cx: &mut Cx<'_>) {
        self.failed = true;
        self.finishing = true;
        cx.reset();
    }

    /// The oldest message has waited for its answer for too long.
    fn is_timed_out(&self, now: u64) -> bool {
        self.answers.oldest().is_some_and(|(_, oldest)| now >= oldest.sent.saturating_add(self.course.timeout))
    }

    fn fail(&mut self, class: Fault, sequence: Option<u64>, what: String, at: Instant, tally: &mut Tally) {
        self.failed = true;
        tally.failed(self.course.failure(class, at, self.answers.connection(), sequence, what));
    }

    /// The far end has closed, and was not to.
    fn fail_at_the_end(&mut self, at: Instant, tally: &mut Tally) {
        let oldest = self.answers.oldest().map(|(sequence, _)| sequence);
        let partial = oldest.is_some() && self.answers.is_partial();
        let class = if partial { Fault::Truncated } else { Fault::Eof };
        let what = format!("the far end closed the connection; {}", self.unanswered());
        self.fail(class, oldest, what, at, tally);
    }

    fn unanswered(&self) -> String {
        match self.answers.in_flight() {
            0 => "nothing was unanswered".into(),
            1 => "one message was unanswered".into(),
            n => format!("{} messages were unanswered", super::figures::count(n as u64)),
        }
    }
}

impl Service for LoadConnection {
    fn open(&mut self, cx: &mut Cx<'_>) {
        let course = Arc::clone(&self.course);
        // What was due before has waited for this connection.
        self.held_until = course.start().filter(|start| *start < cx.now()).map(|_| course.time(cx.now()));
        self.held_since = self.held_until.map(|_| self.seat.as_ref().map_or(0, ConnectionSlot::held_since));
        let mut tally = course.tallies.of(self.worker);
        if course.traffic == TrafficPattern::Swallowed {
            self.answers_again(course.time(cx.now()), &mut tally);
        }
        self.go_on(cx, &mut tally);
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        let course = Arc::clone(&self.course);
        let mut tally = course.tallies.of(self.worker);
        let now = course.time(AnswerTimes::of(cx).when);
        // What was sent before measuring is answered first.
        let warm = self.warm_up.min(bytes.len() as u64);
        self.warm_up -= warm;
        if now >= course.measure_from && self.begun {
            let measured = bytes.len() as u64 - warm;
            tally.counts.bytes_received += measured;
            tally.counts.bytes_late += if now >= course.end() { measured } else { 0 };
        }
        match course.traffic {
            TrafficPattern::Answered => {
                for left in cx.departures() {
                    self.answers.departed(left.bytes, course.time(left.at));
                }
                self.note(cx, &mut tally, |answers, mut tell| answers.received(bytes, &mut tell));
            }
            TrafficPattern::Pattern => {
                let verify = course.rules.verify && !self.failed;
                let (lines, wrong) = self.pattern.received(bytes, verify);
                if !self.has_answered {
                    self.answers_again(now, &mut tally);
                }
                if now >= course.measure_from && self.begun {
                    tally.counts.received += lines;
                    tally.counts.late += if now >= course.end() { lines } else { 0 };
                    tally.counts.verified += if verify { lines } else { 0 };
                }
                if let Some(at) = wrong {
                    let what = format!("byte {at} of what came is not of the pattern of RFC 864");
                    self.fail(Fault::Corrupt, None, what, cx.now(), &mut tally);
                    return self.give_up(cx);
                }
            }
            TrafficPattern::Swallowed => {
                let what = "the far end answers, and was to swallow everything".into();
                self.fail(Fault::Extra, None, what, cx.now(), &mut tally);
                return self.give_up(cx);
            }
        }
        self.go_on(cx, &mut tally);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        // In a closed loop with all in flight that may be nothing waits for this.
        if matches!(self.course.pace, Pace::Closed { .. })
            && self.course.traffic == TrafficPattern::Answered
            && self.ready == 0
        {
            return;
        }
        let course = Arc::clone(&self.course);
        self.go_on(cx, &mut course.tallies.of(self.worker));
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let course = Arc::clone(&self.course);
        let mut tally = course.tallies.of(self.worker);
        self.wakes_at = None;
        let now = course.time(cx.now());
        if self.is_timed_out(now) {
            self.note(cx, &mut tally, |answers, mut tell| answers.decide(&mut tell));
            if let Some((sequence, oldest)) = self.answers.oldest().filter(|_| self.is_timed_out(now)) {
                let waited = super::figures::latency(std::time::Duration::from_nanos(now - oldest.sent));
                let (class, what) = match self.answers.is_partial() {
                    true => (Fault::Truncated, format!("the rest of its answer has not come for {waited}")),
                    false => (Fault::Timeout, format!("no answer for {waited}")),
                };
                self.fail(class, Some(sequence), what, cx.now(), &mut tally);
                self.is_too_late = true;
                return self.give_up(cx);
            }
        } else if self.doubt.is_some_and(|at| at <= now) {
            self.note(cx, &mut tally, |answers, mut tell| answers.decide(&mut tell));
        }
        self.go_on(cx, &mut tally);
    }

    fn eof(&mut self, cx: &mut Cx<'_>) {
        let course = Arc::clone(&self.course);
        let mut tally = course.tallies.of(self.worker);
        self.note(cx, &mut tally, |answers, mut tell| answers.decide(&mut tell));
        if self.answers.oldest().is_some() || !self.finishing {
            match cx.conn().tls {
                Some(_) => self.is_ended = true,
                None => self.fail_at_the_end(cx.now(), &mut tally),
            }
        }
        self.finishing = true;
        cx.close();
    }

    /// The run is over: what has been sent may still be answered.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        let course = Arc::clone(&self.course);
        self.go_on(cx, &mut course.tallies.of(self.worker));
        self.finishing |= !self.catches_up();
        if self.finishing && self.is_quiet(cx) {
            cx.close();
        }
    }

    fn closed(&mut self, why: &CloseReason) {
        let course = Arc::clone(&self.course);
        let mut tally = course.tallies.of(self.worker);
        let at = Instant::now();
        if !why.is_orderly() && !self.failed && *why != CloseReason::Cut {
            let sequence = self.answers.oldest().map(|(sequence, _)| sequence);
            let what = format!("{why}; {}", self.unanswered());
            self.fail(Fault::from(*why), sequence, what, at, &mut tally);
        } else if self.is_ended && !self.failed {
            self.fail_at_the_end(at, &mut tally);
        }
        let oldest = self.answers.oldest().map(|(_, oldest)| oldest.sent);
        let end = AnswerTimes::now(at);
        ConnectionOutcome::note(&course, &mut self.answers, end, &mut tally, |answers, mut tell| {
            answers.end(&mut tell)
        });
        if let Some(mut seat) = self.seat.take() {
            tally.counts.closed += u64::from(seat.is_counted(&course));
            let now = course.time(at);
            // What waited in vain waits since it was sent; an answer before it says that all was well.
            let is_outage = self.failed && (!self.has_answered || self.is_too_late);
            if let Some(sent) = oldest {
                let waiting = Waiting::new(&course, &mut seat.has_answered, &mut tally);
                self.waits.in_vain(sent, now, is_outage, waiting);
            }
            if self.failed {
                seat.loses(oldest.filter(|_| is_outage).unwrap_or(now), is_outage);
            }
            seat.is_held(self.held_since.unwrap_or(now));
            if course.is_over(at) {
                let until = if self.is_held { Some(u64::MAX) } else { self.held_until };
                let held = self.held_since.zip(until).map(|(since, until)| (since, until.min(course.end())));
                seat.leave(&course, at, held, &mut tally);
            }
            drop(tally);
            self.returned.give(seat, self.failed);
        }
    }
}
