//! The answers of one connection: which are due, whether they are right, and if not, what is wrong with them.
//!
//! No clock and no I/O: times are numbers, in nanoseconds from the beginning of the run.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Fault;
use super::judge::{Due, Finding, judge};
use super::length::Lengths;
use super::payload::{Message, Payload};

/// An answer that was passed over is missing once this many others have come.
const LATE: usize = 64;

/// When a message was to be sent, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) planned: u64,
    pub(super) sent: u64,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// Its answer is complete, and right where it was looked at.
    Answered(Sent),
    /// Its answer is complete, and wrong or out of its place.
    Wrong(Sent, Fault, u64, String),
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
        let key = self.payload.key(connection, sequence);
        self.payload.message(key, self.lengths.of(key))
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
    in_flight: VecDeque<Sent>,
    /// What came from the last answer's end on, where it is not what is due. Empty while all is well.
    held: Vec<u8>,
    /// Passed over: missing, or to come late.
    skipped: VecDeque<(u64, Sent)>,
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
            held: Vec::new(),
            skipped: VecDeque::new(),
            lost: false,
        }
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// The message to send next, which is in flight from now on.
    pub(super) fn send(&mut self, sent: Sent) -> Message {
        let message = match self.in_flight.len() {
            0 => self.front,
            n => self.rules.message(self.connection, self.due + n as u64),
        };
        self.in_flight.push_back(sent);
        message
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The message whose answer is due, and when it was sent.
    pub(super) fn oldest(&self) -> Option<(u64, Sent)> {
        self.in_flight.front().map(|&sent| (self.due, sent))
    }

    /// Has only a part of an answer come?
    pub(super) fn is_partial(&self) -> bool {
        self.offset > 0 || !self.held.is_empty()
    }

    /// Is it still to be found out what is wrong?
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.held.is_empty()
    }

    /// These bytes have come.
    pub(super) fn received(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(Event)) {
        while !bytes.is_empty() && !self.lost {
            if !self.held.is_empty() || self.in_flight.is_empty() {
                self.held.extend_from_slice(bytes);
                return self.look(false, tell);
            }
            let n = (self.front.answer_len() - self.offset).min(bytes.len());
            if self.rules.verify && self.front.differs(self.offset, &bytes[..n]).is_some() {
                self.held = self.front.answer_head(std::mem::take(&mut self.offset));
                self.held.extend_from_slice(bytes);
                return self.look(false, tell);
            }
            (self.offset, bytes) = (self.offset + n, &bytes[n..]);
            if self.offset == self.front.answer_len() {
                let sent = self.pass();
                tell(Event::Answered(sent.unwrap_or(Sent { planned: 0, sent: 0 })));
            }
        }
    }

    /// Nothing more comes, or has come for a while: what is in doubt is decided with what there is.
    pub(super) fn decide(&mut self, tell: &mut impl FnMut(Event)) {
        if !self.held.is_empty() && !self.lost {
            self.look(true, tell);
        }
    }

    /// The connection is over: what was passed over is missing.
    pub(super) fn end(&mut self, tell: &mut impl FnMut(Event)) {
        self.decide(tell);
        for (sequence, _) in std::mem::take(&mut self.skipped) {
            tell(missing(sequence));
        }
    }

    /// The next answer is due.
    fn pass(&mut self) -> Option<Sent> {
        let sent = self.in_flight.pop_front();
        self.due += 1;
        self.offset = 0;
        self.front = self.rules.message(self.connection, self.due);
        sent
    }

    /// Finds out what the bytes held are, as far as they tell.
    fn look(&mut self, last: bool, tell: &mut impl FnMut(Event)) {
        if !self.rules.verify {
            // Answers are only counted, and these are more than were asked for.
            self.held.clear();
            self.lost = true;
            tell(Event::Fault(Fault::Extra, None, "more came than was asked for".into()));
            return tell(Event::Lost);
        }
        while !self.held.is_empty() && !self.lost {
            let finding = {
                let end = self.due + self.in_flight.len() as u64;
                let late = self.skipped.iter().map(|&(sequence, _)| sequence);
                let due = Due { rules: &self.rules, connection: self.connection, next: self.due, end, late };
                judge(&self.held, &due, last)
            };
            match finding {
                Finding::Unsure => return,
                Finding::Right => {
                    // All is well from here on.
                    let held = std::mem::take(&mut self.held);
                    return self.received(&held, tell);
                }
                Finding::Passed(to) => {
                    while self.due < to {
                        let sequence = self.due;
                        let sent = self.pass();
                        self.skipped.extend(sent.map(|sent| (sequence, sent)));
                    }
                }
                Finding::Late(sequence, len) => {
                    self.held.drain(..len.min(self.held.len()));
                    let at = self.skipped.iter().position(|&(skipped, _)| skipped == sequence);
                    if let Some((_, sent)) = at.and_then(|at| self.skipped.remove(at)) {
                        let what = format!("its answer came behind that of message {}", self.due.saturating_sub(1));
                        tell(Event::Wrong(sent, Fault::Reordered, sequence, what));
                    }
                }
                Finding::Again(sequence, len) => {
                    self.held.drain(..len.min(self.held.len()));
                    tell(Event::Fault(Fault::Duplicate, Some(sequence), "its answer came once more".into()));
                }
                Finding::Wrong(fault, len, what) => {
                    self.held.drain(..len.min(self.held.len()));
                    let sequence = self.due;
                    match self.pass() {
                        Some(sent) => tell(Event::Wrong(sent, fault, sequence, what)),
                        None => tell(Event::Fault(fault, None, what)),
                    }
                }
                Finding::Beyond(fault, what) => {
                    self.lost = true;
                    self.held.clear();
                    let sequence = self.oldest().map(|(sequence, _)| sequence);
                    tell(Event::Fault(fault, sequence, what));
                    return tell(Event::Lost);
                }
            }
            while self.skipped.len() > LATE {
                self.skipped.pop_front().into_iter().for_each(|(sequence, _)| tell(missing(sequence)));
            }
        }
        let settled = |sequence: u64| self.due.saturating_sub(sequence) > LATE as u64;
        while let Some((sequence, _)) = self.skipped.pop_front_if(|(sequence, _)| settled(*sequence)) {
            tell(missing(sequence));
        }
    }
}

fn missing(sequence: u64) -> Event {
    Event::Fault(Fault::Missing, Some(sequence), "its answer never came, and later ones did".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sizes;

    /// Messages enough for anything to be found out.
    const MESSAGES: u64 = 200;

    fn all_rules(sizes: &[Sizes]) -> Vec<Arc<Rules>> {
        let kinds = [(false, &b""[..]), (true, b""), (true, b"Server received: ")];
        let rules = |sizes: &Sizes, (lines, prefix)| {
            let payload = Payload::new(11, lines, prefix);
            Arc::new(Rules { payload, lengths: Lengths::new(sizes), verify: true })
        };
        sizes.iter().flat_map(|sizes| kinds.map(|kind| rules(sizes, kind))).collect()
    }

    fn usual() -> Vec<Sizes> {
        vec![Sizes::Fixed(16), Sizes::Fixed(64), Sizes::Range(8, 300), Sizes::Weighted(vec![(20, 1.0), (5000, 1.0)])]
    }

    fn answer(rules: &Rules, sequence: u64) -> Vec<u8> {
        let message = rules.message(5, sequence);
        message.answer_head(message.answer_len())
    }

    /// What is told when, of `MESSAGES` messages with `depth` in flight, this comes back in parts of `part` bytes.
    fn told(rules: &Arc<Rules>, depth: u64, part: usize, came: &[Vec<u8>]) -> Vec<Event> {
        let mut answers = Answers::new(Arc::clone(rules), 5);
        let mut events = Vec::new();
        let mut asked = 0;
        let mut ask = |answers: &mut Answers| {
            while asked < MESSAGES && answers.in_flight() < depth as usize {
                answers.send(Sent { planned: asked, sent: asked });
                asked += 1;
            }
        };
        ask(&mut answers);
        for bytes in came {
            for part in bytes.chunks(part) {
                answers.received(part, &mut |event| events.push(event));
                ask(&mut answers);
            }
        }
        answers.end(&mut |event| events.push(event));
        events
    }

    fn right(rules: &Rules) -> Vec<Vec<u8>> {
        (0..MESSAGES).map(|sequence| answer(rules, sequence)).collect()
    }

    /// All went well but this one thing.
    fn only(events: &[Event], answered: usize, fault: Fault, about: u64) {
        let (mut right, mut wrong) = (0, Vec::new());
        for event in events {
            match event {
                Event::Answered(_) => right += 1,
                other => wrong.push(other),
            }
        }
        assert_eq!(right, answered, "{wrong:?}");
        match wrong[..] {
            [Event::Wrong(sent, class, sequence, _)] => {
                assert_eq!((*class, *sequence, sent.planned), (fault, about, about));
            }
            [Event::Fault(class, sequence, _)] => assert_eq!((*class, *sequence), (fault, Some(about))),
            _ => panic!("not one event but {wrong:?}"),
        }
    }

    #[test]
    fn right_answers_are_right_however_they_come() {
        let sizes = [usual(), vec![Sizes::Fixed(1), Sizes::Fixed(2), Sizes::Range(1, 9)]].concat();
        for rules in all_rules(&sizes) {
            for depth in [1, 4, MESSAGES] {
                for part in [1, 3, 64, usize::MAX] {
                    let events = told(&rules, depth, part, &right(&rules));
                    let times: Vec<_> = (0..MESSAGES).map(|n| Event::Answered(Sent { planned: n, sent: n })).collect();
                    assert_eq!(events, times, "{depth} {part}");
                }
            }
            // At once.
            let events = told(&rules, MESSAGES, usize::MAX, &[right(&rules).concat()]);
            assert_eq!(events.len() as u64, MESSAGES);
        }
    }

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is() {
        for rules in all_rules(&usual()) {
            for (depth, part) in [(1, 7), (8, usize::MAX), (8, 64)] {
                for at in [0, 1, 7, 15] {
                    let mut came = right(&rules);
                    came[50][at] ^= 0x20;
                    only(&told(&rules, depth, part, &came), 199, Fault::Corrupt, 50);
                }
                let mut came = right(&rules);
                *came[199].last_mut().unwrap() ^= 1;
                only(&told(&rules, depth, part, &came), 199, Fault::Corrupt, 199);
            }
        }
    }

    #[test]
    fn an_answer_that_never_comes_is_missing() {
        for rules in all_rules(&usual()) {
            for (gone, part) in [(50, 7), (50, usize::MAX), (0, 64), (197, 64)] {
                let mut came = right(&rules);
                came.remove(gone);
                only(&told(&rules, 8, part, &came), 199, Fault::Missing, gone as u64);
            }
        }
    }

    #[test]
    fn two_answers_that_changed_places_are_told() {
        for rules in all_rules(&usual()) {
            for (at, part) in [(50, 7), (50, usize::MAX), (0, 64), (190, 64)] {
                let mut came = right(&rules);
                came.swap(at, at + 1);
                only(&told(&rules, 8, part, &came), 199, Fault::Reordered, at as u64);
            }
        }
    }

    #[test]
    fn an_answer_that_comes_twice_is_told() {
        for rules in all_rules(&usual()) {
            for (depth, part) in [(1, 7), (8, 64), (8, usize::MAX)] {
                let mut came = right(&rules);
                let twice = came[50].clone();
                came.insert(51, twice);
                only(&told(&rules, depth, part, &came), 200, Fault::Duplicate, 50);
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_truncated() {
        for rules in all_rules(&usual()) {
            for part in [7, 64, usize::MAX] {
                let mut came = right(&rules);
                let length = came[50].len();
                came[50].truncate(length - 3);
                only(&told(&rules, 8, part, &came), 199, Fault::Truncated, 50);
                if rules.payload.are_lines() {
                    came[50].push(b'\n');
                    only(&told(&rules, 8, part, &came), 199, Fault::Truncated, 50);
                }
            }
        }
    }

    #[test]
    fn what_answers_nothing_ends_the_connection() {
        for rules in all_rules(&usual()) {
            let mut came = right(&rules);
            came.push(vec![b'?'; 100]);
            let events = told(&rules, 8, 64, &came);
            assert!(
                matches!(events[200..], [Event::Fault(Fault::Extra, None, _), Event::Lost]),
                "{:?}",
                &events[200..]
            );
            let mut came = right(&rules);
            came[50] = vec![b'?'; 200_000];
            let events = told(&rules, 8, 64, &came);
            assert!(matches!(events[50..], [Event::Fault(Fault::Corrupt, Some(50), _), Event::Lost]));
        }
    }

    #[test]
    fn without_verification_answers_are_counted() {
        let rules =
            Rules { payload: Payload::new(1, false, b""), lengths: Lengths::new(&Sizes::Fixed(10)), verify: false };
        let events = told(&Arc::new(rules), 8, 7, &[vec![0; 10 * MESSAGES as usize]]);
        assert_eq!(events.len() as u64, MESSAGES);
    }
}
