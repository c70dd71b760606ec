//! The answers of one connection: which are due, whether they are right, and if not, what is wrong with them.
//!
//! No clock and no I/O: times are numbers, in nanoseconds from the beginning of the run.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Fault;
use super::judge::{AllowedAnswers, Finding, judge};
use super::length::Lengths;
use super::payload::{Message, Payload};

/// An answer that was passed over is missing once this many others have come.
const LATE: usize = 64;

/// When a message was to be sent, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendTimes {
    pub(super) planned: u64,
    pub(super) sent: u64,
    /// Is that when it passed the network device, by the kernel's clock?
    pub(super) by_kernel: bool,
}

impl SendTimes {
    pub(super) fn new(planned: u64, sent: u64) -> Self {
        Self { planned, sent, by_kernel: false }
    }
}

/// A message in flight, and how many bytes the connection had to send up to its end.
struct InFlight {
    sent: SendTimes,
    end: u64,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(super) enum AnswerEvent {
    /// Its answer is complete, and right where it was looked at.
    Answered(SendTimes),
    /// Its answer is complete, and wrong or out of its place.
    Wrong(SendTimes, Fault, u64, String),
    /// Later ones came, and its own did not.
    Missing(SendTimes, u64),
    /// The connection ended before its answer was complete.
    Unanswered(SendTimes),
    /// Something is wrong, and concerns this message, or none.
    Fault(Fault, Option<u64>, String),
    /// Nothing can be made of what comes any more.
    Lost,
}

/// What all connections of a run know.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) payload: Payload,
    pub(super) lengths: Lengths,
    pub(super) verify: bool,
}

impl Rules {
    pub(super) fn message(&self, connection: u64, sequence: u64) -> Message {
        self.payload.message(connection, sequence, |key| self.lengths.of(key))
    }
}

pub(super) struct Answers {
    rules: Arc<Rules>,
    connection: u64,
    /// The number of the message whose answer is due.
    due: u64,
    /// That message; it means nothing while none is in flight.
    front: Message,
    /// Bytes of its answer that have come and are right; those held begin anew.
    offset: usize,
    in_flight: VecDeque<InFlight>,
    /// Bytes of all messages so far.
    bytes: u64,
    /// Of those in flight: how many are known to have left.
    left: usize,
    /// What came from the last answer's end on, where it is not what is due. Empty while all is well.
    held: Vec<u8>,
    /// Bytes still to come of an answer that is out of its place and has been told.
    rest: usize,
    /// Passed over: missing, or to come late.
    skipped: VecDeque<(u64, SendTimes)>,
    lost: bool,
}

impl Answers {
    pub(super) fn new(rules: Arc<Rules>, connection: u64) -> Self {
        let front = rules.message(connection, 0);
        Self {
            rules,
            connection,
            due: 0,
            front,
            offset: 0,
            in_flight: VecDeque::new(),
            bytes: 0,
            left: 0,
            held: Vec::new(),
            rest: 0,
            skipped: VecDeque::new(),
            lost: false,
        }
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// The message to send next, which is in flight from now on.
    pub(super) fn send(&mut self, sent: SendTimes) -> Message {
        let message = match self.in_flight.len() {
            0 => self.front,
            n => self.rules.message(self.connection, self.due + n as u64),
        };
        self.bytes += message.len() as u64;
        self.in_flight.push_back(InFlight { sent, end: self.bytes });
        message
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The message whose answer is due, and when it was sent.
    pub(super) fn oldest(&self) -> Option<(u64, SendTimes)> {
        self.in_flight.front().map(|message| (self.due, message.sent))
    }

    /// So many bytes had left this machine by then, as the kernel saw it.
    pub(super) fn departed(&mut self, bytes: u64, at: u64) {
        while let Some(message) = self.in_flight.get_mut(self.left).filter(|message| message.end <= bytes) {
            // Before it was handed over it cannot have left: the time of day has been set meanwhile.
            if at >= message.sent.sent {
                (message.sent.sent, message.sent.by_kernel) = (at, true);
            }
            self.left += 1;
        }
    }

    /// Has only a part of an answer come?
    pub(super) fn is_partial(&self) -> bool {
        self.offset > 0 || self.rest > 0 || !self.held.is_empty()
    }

    /// Is it still to be found out what is wrong?
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.held.is_empty()
    }

    /// These bytes have come.
    pub(super) fn received(&mut self, bytes: &[u8], tell: &mut impl FnMut(AnswerEvent)) {
        let known = self.rest.min(bytes.len());
        self.rest -= known;
        if self.held.is_empty() {
            self.follow(&bytes[known..], tell);
        } else {
            self.held.extend_from_slice(bytes);
        }
        self.explain(false, tell);
        // What was passed over long ago does not come any more, however well all goes since.
        let settled = |sequence: u64| self.due.saturating_sub(sequence) > LATE as u64;
        while let Some((sequence, sent)) = self.skipped.pop_front_if(|(sequence, _)| settled(*sequence)) {
            tell(AnswerEvent::Missing(sent, sequence));
        }
    }

    /// Nothing more comes, or has come for a while: what is in doubt is decided with what there is.
    pub(super) fn decide(&mut self, tell: &mut impl FnMut(AnswerEvent)) {
        self.explain(true, tell);
    }

    /// The connection is over: what was passed over is missing, and what is in flight stays unanswered.
    pub(super) fn end(&mut self, tell: &mut impl FnMut(AnswerEvent)) {
        self.decide(tell);
        self.skipped.drain(..).for_each(|(sequence, sent)| tell(AnswerEvent::Missing(sent, sequence)));
        self.in_flight.drain(..).for_each(|message| tell(AnswerEvent::Unanswered(message.sent)));
    }

    /// Takes what is due, as far as the bytes are that. The rest is held.
    fn follow(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(AnswerEvent)) {
        while !bytes.is_empty() && !self.lost {
            let len = self.rules.payload.answer_len(&self.front);
            let n = (len - self.offset).min(bytes.len());
            let is_due = !self.in_flight.is_empty()
                && (!self.rules.verify || self.rules.payload.differs(&self.front, self.offset, &bytes[..n]).is_none());
            if !is_due {
                self.held = self.rules.payload.answer_head(&self.front, std::mem::take(&mut self.offset));
                return self.held.extend_from_slice(bytes);
            }
            (self.offset, bytes) = (self.offset + n, &bytes[n..]);
            if self.offset == len {
                self.pass().into_iter().for_each(|sent| tell(AnswerEvent::Answered(sent)));
            }
        }
    }

    /// Finds out what the bytes held are, as far as they tell. A loop, since what follows one fault may hold the next.
    fn explain(&mut self, last: bool, tell: &mut impl FnMut(AnswerEvent)) {
        while !self.held.is_empty() && !self.lost && self.look(last, tell) {
            let held = std::mem::take(&mut self.held);
            self.follow(&held, tell);
        }
    }

    /// An answer of this length, at the head of what is held, has been told.
    fn drop_held(&mut self, len: usize) {
        let here = len.min(self.held.len());
        self.held.drain(..here);
        self.rest = len - here;
    }

    /// The next answer is due.
    fn pass(&mut self) -> Option<SendTimes> {
        let sent = self.in_flight.pop_front().map(|message| message.sent);
        self.left = self.left.saturating_sub(1);
        self.due += 1;
        self.offset = 0;
        self.front = self.rules.message(self.connection, self.due);
        sent
    }

    /// As `explain`, up to where all is well again. Says whether it is.
    fn look(&mut self, last: bool, tell: &mut impl FnMut(AnswerEvent)) -> bool {
        if !self.rules.verify {
            // Answers are only counted, and these are more than were asked for.
            self.held.clear();
            self.lost = true;
            tell(AnswerEvent::Fault(Fault::Extra, None, "more came than was asked for".into()));
            tell(AnswerEvent::Lost);
            return false;
        }
        let mut is_right = false;
        while !is_right && !self.held.is_empty() && !self.lost {
            let finding = {
                let end = self.due + self.in_flight.len() as u64;
                let late = self.skipped.iter().map(|&(sequence, _)| sequence);
                let due = AllowedAnswers { rules: &self.rules, connection: self.connection, next: self.due, end, late };
                judge(&self.held, &due, last)
            };
            match finding {
                Finding::Unsure => break,
                Finding::Right => is_right = true,
                Finding::Passed(to) => {
                    while self.due < to {
                        let sequence = self.due;
                        let sent = self.pass();
                        self.skipped.extend(sent.map(|sent| (sequence, sent)));
                    }
                }
                Finding::Late(sequence, len) => {
                    self.drop_held(len);
                    let at = self.skipped.iter().position(|&(skipped, _)| skipped == sequence);
                    if let Some((_, sent)) = at.and_then(|at| self.skipped.remove(at)) {
                        let what = format!("its answer came behind that of message {}", self.due.saturating_sub(1));
                        tell(AnswerEvent::Wrong(sent, Fault::Reordered, sequence, what));
                    }
                }
                Finding::Again(sequence, len) => {
                    self.drop_held(len);
                    tell(AnswerEvent::Fault(Fault::Duplicate, Some(sequence), "its answer came once more".into()));
                }
                Finding::Wrong(fault, len, what) => {
                    self.held.drain(..len.min(self.held.len()));
                    let sequence = self.due;
                    match self.pass() {
                        Some(sent) => tell(AnswerEvent::Wrong(sent, fault, sequence, what)),
                        None => tell(AnswerEvent::Fault(fault, None, what)),
                    }
                }
                Finding::Beyond(fault, what) => {
                    self.lost = true;
                    self.held.clear();
                    let sequence = self.oldest().map(|(sequence, _)| sequence);
                    tell(AnswerEvent::Fault(fault, sequence, what));
                    tell(AnswerEvent::Lost);
                }
            }
            while self.skipped.len() > LATE {
                self.skipped
                    .pop_front()
                    .into_iter()
                    .for_each(|(sequence, sent)| tell(AnswerEvent::Missing(sent, sequence)));
            }
        }
        is_right
    }
}

#[cfg(test)]
mod bulk;
#[cfg(test)]
mod tests;
