//! The answers of one connection: which are expected, and what is wrong with those that differ.
//!
//! No clock and no I/O: times are nanoseconds from the start of the run.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LoadFailure;
use super::judge::{AllowedAnswers, Finding, judge};
use super::payload::Message;
use super::rules::Rules;

/// A skipped answer is missing once this many later ones have arrived.
const REORDER_WINDOW: usize = 64;

/// When a message was planned, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendTimes {
    pub(super) planned: u64,
    pub(super) sent: u64,
    /// Is `sent` the kernel's timestamp, taken at the network device?
    pub(super) by_kernel: bool,
}

impl SendTimes {
    pub(super) fn new(planned: u64, sent: u64) -> Self {
        Self { planned, sent, by_kernel: false }
    }
}

/// A message in flight, and the number of bytes that the connection had to send up to its end.
struct InFlight {
    sent: SendTimes,
    end: u64,
}

/// The outcome of a message, or a fault of the answer stream.
#[derive(Debug, PartialEq)]
pub(super) enum AnswerEvent {
    /// The answer is complete, and right where answers are verified.
    Answered(SendTimes),
    /// The answer is complete, and wrong or out of order: class, sequence number, detail.
    Wrong(SendTimes, LoadFailure, u64, String),
    /// Later answers arrived, and this one did not.
    Missing(SendTimes, u64),
    /// The connection ended before the answer was complete.
    Unanswered(SendTimes),
    /// A fault that settles no message; it concerns this one, or none.
    Failure(LoadFailure, Option<u64>, String),
    /// The stream cannot be followed any further.
    Lost,
}

/// Follows the answer stream of one connection.
pub(super) struct Answers {
    rules: Arc<Rules>,
    pub(super) connection: u64,
    /// The sequence number of the next answer in order.
    next: u64,
    /// The message with that number; unused while none is in flight.
    front: Message,
    /// Bytes of the next answer that have arrived and are right. Zero while `unexplained` has any.
    offset: usize,
    in_flight: VecDeque<InFlight>,
    /// Bytes of all messages so far.
    bytes: u64,
    /// How many of those in flight have a kernel timestamp.
    departed: usize,
    /// Bytes from the end of the last answer on, where they differ from the next. Empty while the
    /// stream is right.
    unexplained: Vec<u8>,
    /// Bytes still to come of an out-of-order answer that has been reported.
    to_skip: usize,
    /// Skipped answers: late or missing.
    skipped: VecDeque<(u64, SendTimes)>,
    lost: bool,
}

impl Answers {
    pub(super) fn new(rules: Arc<Rules>, connection: u64) -> Self {
        let front = rules.message(connection, 0);
        Self {
            rules,
            connection,
            next: 0,
            front,
            offset: 0,
            in_flight: VecDeque::new(),
            bytes: 0,
            departed: 0,
            unexplained: Vec::new(),
            to_skip: 0,
            skipped: VecDeque::new(),
            lost: false,
        }
    }

    /// Takes the message to send next; it is in flight from now on.
    pub(super) fn send(&mut self, sent: SendTimes) -> Message {
        let message = match self.in_flight.len() {
            0 => self.front,
            n => self.rules.message(self.connection, self.next + n as u64),
        };
        self.bytes += message.len as u64;
        self.in_flight.push_back(InFlight { sent, end: self.bytes });
        message
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many messages are in flight, for the text of a failure.
    pub(super) fn describe_in_flight(&self) -> String {
        match self.in_flight() {
            0 => "nothing was unanswered".into(),
            1 => "one message was unanswered".into(),
            n => format!("{} messages were unanswered", super::figures::count(n as u64)),
        }
    }

    /// The oldest message in flight: its sequence number, and when it was sent.
    pub(super) fn oldest(&self) -> Option<(u64, SendTimes)> {
        self.in_flight.front().map(|message| (self.next, message.sent))
    }

    /// The kernel reports that the first `bytes` bytes of the connection left this machine by `at`.
    pub(super) fn departed(&mut self, bytes: u64, at: u64) {
        while let Some(message) = self.in_flight.get_mut(self.departed).filter(|message| message.end <= bytes) {
            // A departure before the send means that the time of day was set in between.
            if at >= message.sent.sent {
                (message.sent.sent, message.sent.by_kernel) = (at, true);
            }
            self.departed += 1;
        }
    }

    /// Has an answer arrived in part?
    pub(super) fn is_partial(&self) -> bool {
        self.offset > 0 || self.to_skip > 0 || !self.unexplained.is_empty()
    }

    /// Are there wrong bytes without an explanation yet?
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.unexplained.is_empty()
    }

    /// Handles received bytes.
    pub(super) fn received(&mut self, bytes: &[u8], emit: &mut impl FnMut(AnswerEvent)) {
        let skipped = self.to_skip.min(bytes.len());
        self.to_skip -= skipped;
        if self.unexplained.is_empty() {
            self.follow(&bytes[skipped..], emit);
        } else {
            self.unexplained.extend_from_slice(bytes);
        }
        self.explain(false, emit);
        let is_overdue = |sequence: u64| self.next.saturating_sub(sequence) > REORDER_WINDOW as u64;
        while let Some((sequence, sent)) = self.skipped.pop_front_if(|(sequence, _)| is_overdue(*sequence)) {
            emit(AnswerEvent::Missing(sent, sequence));
        }
    }

    /// The connection has ended: skipped answers are missing, and messages in flight unanswered.
    pub(super) fn end(&mut self, emit: &mut impl FnMut(AnswerEvent)) {
        self.explain(true, emit);
        self.skipped.drain(..).for_each(|(sequence, sent)| emit(AnswerEvent::Missing(sent, sequence)));
        self.in_flight.drain(..).for_each(|message| emit(AnswerEvent::Unanswered(message.sent)));
    }

    /// Takes right bytes, up to the first difference; the rest becomes `unexplained`.
    fn follow(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(AnswerEvent)) {
        while !bytes.is_empty() && !self.lost {
            let len = self.rules.payload.answer_len(&self.front);
            let n = (len - self.offset).min(bytes.len());
            let is_right = !self.in_flight.is_empty()
                && (!self.rules.verify || self.rules.payload.differs(&self.front, self.offset, &bytes[..n]).is_none());
            if !is_right {
                self.unexplained = self.rules.payload.answer_head(&self.front, std::mem::take(&mut self.offset));
                return self.unexplained.extend_from_slice(bytes);
            }
            (self.offset, bytes) = (self.offset + n, &bytes[n..]);
            if self.offset == len {
                self.advance().into_iter().for_each(|sent| emit(AnswerEvent::Answered(sent)));
            }
        }
    }

    /// Explains wrong bytes as far as they suffice; with `last`, without waiting for more. A loop,
    /// since another fault may follow the first.
    pub(super) fn explain(&mut self, last: bool, emit: &mut impl FnMut(AnswerEvent)) {
        while !self.unexplained.is_empty() && !self.lost && self.resynchronise(last, emit) {
            let bytes = std::mem::take(&mut self.unexplained);
            self.follow(&bytes, emit);
        }
    }

    /// Removes an out-of-order answer of this length, which may not be complete yet.
    fn skip_answer(&mut self, len: usize) {
        let here = len.min(self.unexplained.len());
        self.unexplained.drain(..here);
        self.to_skip = len - here;
    }

    /// Expects the next answer.
    fn advance(&mut self) -> Option<SendTimes> {
        let sent = self.in_flight.pop_front().map(|message| message.sent);
        self.departed = self.departed.saturating_sub(1);
        self.next += 1;
        self.offset = 0;
        self.front = self.rules.message(self.connection, self.next);
        sent
    }

    /// The stream cannot be followed any further.
    fn lose(&mut self, fault: LoadFailure, sequence: Option<u64>, what: String, emit: &mut impl FnMut(AnswerEvent)) {
        self.lost = true;
        self.unexplained.clear();
        emit(AnswerEvent::Failure(fault, sequence, what));
        emit(AnswerEvent::Lost);
    }

    /// Reports faults until the bytes are right again. Returns whether they are.
    fn resynchronise(&mut self, last: bool, emit: &mut impl FnMut(AnswerEvent)) -> bool {
        if !self.rules.verify {
            // Answers are only counted, so wrong bytes are surplus bytes.
            self.lose(LoadFailure::Extra, None, "more bytes came than were expected".into(), emit);
            return false;
        }
        let mut is_right = false;
        while !is_right && !self.unexplained.is_empty() && !self.lost {
            match self.judge(last) {
                Finding::Unsure => break,
                Finding::Right => is_right = true,
                finding => self.report(finding, emit),
            }
            while self.skipped.len() > REORDER_WINDOW {
                let oldest = self.skipped.pop_front();
                oldest.into_iter().for_each(|(sequence, sent)| emit(AnswerEvent::Missing(sent, sequence)));
            }
        }
        is_right
    }

    fn judge(&self, last: bool) -> Finding {
        let end = self.next + self.in_flight.len() as u64;
        let late = self.skipped.iter().map(|&(sequence, _)| sequence).collect();
        let allowed = AllowedAnswers { rules: &self.rules, connection: self.connection, next: self.next, end, late };
        judge(&self.unexplained, &allowed, last)
    }

    /// Reports a fault, and removes the bytes that it explains.
    fn report(&mut self, finding: Finding, emit: &mut impl FnMut(AnswerEvent)) {
        match finding {
            Finding::Unsure | Finding::Right => {}
            Finding::Skipped(to) => {
                while self.next < to {
                    let sequence = self.next;
                    let sent = self.advance();
                    self.skipped.extend(sent.map(|sent| (sequence, sent)));
                }
            }
            Finding::Late(sequence, len) => {
                self.skip_answer(len);
                let at = self.skipped.iter().position(|&(skipped, _)| skipped == sequence);
                if let Some((_, sent)) = at.and_then(|at| self.skipped.remove(at)) {
                    let what = format!("its answer came after that of message {}", self.next.saturating_sub(1));
                    emit(AnswerEvent::Wrong(sent, LoadFailure::Reordered, sequence, what));
                }
            }
            Finding::Repeated(sequence, len) => {
                self.skip_answer(len);
                emit(AnswerEvent::Failure(LoadFailure::Duplicate, Some(sequence), "its answer came once more".into()));
            }
            Finding::Wrong(fault, len, what) => {
                self.unexplained.drain(..len.min(self.unexplained.len()));
                let sequence = self.next;
                match self.advance() {
                    Some(sent) => emit(AnswerEvent::Wrong(sent, fault, sequence, what)),
                    None => emit(AnswerEvent::Failure(fault, None, what)),
                }
            }
            Finding::Unexplained(fault, what) => {
                let sequence = self.oldest().map(|(sequence, _)| sequence);
                self.lose(fault, sequence, what, emit);
            }
        }
    }
}

#[cfg(test)]
mod bulk;
#[cfg(test)]
mod tests;
