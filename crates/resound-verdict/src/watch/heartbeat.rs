//! [`Heartbeats`]: the numbered lines of one connection, and what their answers mean.

use std::collections::VecDeque;

use super::own_time::WatchMoment;
use crate::report::FarKind;

/// What the number of a heartbeat stands behind.
const WORD: &str = "heartbeat ";

/// The line of a heartbeat.
pub(super) fn line(number: u64) -> Vec<u8> {
    format!("{WORD}{number}\n").into_bytes()
}

/// The number in an answer, which ends before its newline.
pub(super) fn number(answer: &[u8], far: FarKind) -> Option<u64> {
    let answer = answer.strip_suffix(b"\r").unwrap_or(answer);
    let (echoed, replied) = (Some(answer), answer.strip_prefix(resound::Reply::PREFIX.as_bytes()));
    let line = match far {
        FarKind::Echo => echoed,
        FarKind::Reply => replied,
        // A far end that can play has a service of its own behind it.
        _ => replied.or(echoed),
    };
    let digits = line?.strip_prefix(WORD.as_bytes())?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerMeaning {
    /// It answers the heartbeat that was planned then.
    Answered(WatchMoment),
    /// The same, after an answer to a later heartbeat.
    Reordered(WatchMoment),
    /// It answers one that was given up.
    GivenUp,
    /// It answers one that was answered before.
    Duplicated,
    /// It answers none that was sent on this connection.
    Wrong,
}

/// The heartbeats of one connection.
#[derive(Debug)]
pub(super) struct Heartbeats {
    far: FarKind,
    waiting: VecDeque<(u64, WatchMoment)>,
    /// The numbers of the first and of the last one that was sent.
    sent: Option<(u64, u64)>,
    highest_answered: Option<u64>,
    given_up: VecDeque<u64>,
}

impl Heartbeats {
    /// The most numbers of given up heartbeats that are kept.
    const MOST: usize = 1024;

    pub(super) fn new(far: FarKind) -> Self {
        Self { far, waiting: VecDeque::new(), sent: None, highest_answered: None, given_up: VecDeque::new() }
    }

    /// This one was sent. Numbers grow.
    pub(super) fn sent(&mut self, number: u64, planned: WatchMoment) {
        self.waiting.push_back((number, planned));
        self.sent = Some((self.sent.map_or(number, |(first, _)| first), number));
    }

    /// An answer arrived.
    pub(super) fn answered(&mut self, answer: &[u8]) -> AnswerMeaning {
        let Some(number) = number(answer, self.far) else { return AnswerMeaning::Wrong };
        if !self.sent.is_some_and(|(first, last)| (first..=last).contains(&number)) {
            return AnswerMeaning::Wrong;
        }
        let is_behind = self.highest_answered.is_some_and(|highest| number < highest);
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == number) {
            self.highest_answered = self.highest_answered.max(Some(number));
            let planned = self.waiting.remove(at).map(|(_, planned)| planned).unwrap_or_default();
            return if is_behind { AnswerMeaning::Reordered(planned) } else { AnswerMeaning::Answered(planned) };
        }
        match self.given_up.iter().position(|given_up| *given_up == number) {
            Some(at) => {
                self.given_up.remove(at);
                AnswerMeaning::GivenUp
            }
            None => AnswerMeaning::Duplicated,
        }
    }

    /// The earliest that waits for its answer: when it was planned.
    pub(super) fn earliest(&self) -> Option<WatchMoment> {
        self.waiting.front().map(|(_, planned)| *planned)
    }

    /// How many wait for their answers.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// The earliest one gets no answer any more.
    pub(super) fn give_up_earliest(&mut self) {
        let Some((number, _)) = self.waiting.pop_front() else { return };
        if self.given_up.len() == Self::MOST {
            self.given_up.pop_front();
        }
        self.given_up.push_back(number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> WatchMoment {
        let time = Duration::from_millis(ms);
        WatchMoment { awake: time, at: time }
    }

    fn three(far: FarKind) -> Heartbeats {
        let mut beats = Heartbeats::new(far);
        (5..8).for_each(|number| beats.sent(number, at(number * 100)));
        beats
    }

    #[test]
    fn answers_are_those_of_the_server_that_greeted() {
        assert_eq!(line(17), b"heartbeat 17\n");
        let (echo, reply): (&[u8], &[u8]) = (b"heartbeat 17", b"Server received: heartbeat 17");
        for (far, echoes, replies) in
            [(FarKind::Echo, true, false), (FarKind::Reply, false, true), (FarKind::Probe, true, true)]
        {
            assert_eq!((number(echo, far).is_some(), number(reply, far).is_some()), (echoes, replies), "{far:?}");
        }
        assert_eq!(number(b"heartbeat 17\r", FarKind::Echo), Some(17));
        for wrong in ["", "heartbeat ", "heartbeat +1", "heartbeat 1 ", "Heartbeat 1", "heartbeat 99999999999999999999"]
        {
            assert_eq!(number(wrong.as_bytes(), FarKind::Echo), None, "{wrong}");
        }
    }

    #[test]
    fn answers_in_their_order_come_once() {
        let mut beats = three(FarKind::Echo);
        assert_eq!(beats.answered(b"heartbeat 5"), AnswerMeaning::Answered(at(500)));
        assert_eq!(beats.answered(b"heartbeat 5"), AnswerMeaning::Duplicated);
        assert_eq!(beats.answered(b"heartbeat 7"), AnswerMeaning::Answered(at(700)));
        assert_eq!(beats.answered(b"heartbeat 6"), AnswerMeaning::Reordered(at(600)));
        assert_eq!(beats.answered(b"heartbeat 6"), AnswerMeaning::Duplicated);
        assert_eq!((beats.waiting(), beats.earliest()), (0, None));
    }

    #[test]
    fn an_answer_of_another_connection_is_wrong() {
        let mut beats = three(FarKind::Echo);
        for wrong in [&b"heartbeat 4"[..], b"heartbeat 8", b"heartbeet 5", b""] {
            assert_eq!(beats.answered(wrong), AnswerMeaning::Wrong);
        }
        assert_eq!(Heartbeats::new(FarKind::Echo).answered(b"heartbeat 0"), AnswerMeaning::Wrong);
        assert_eq!(beats.waiting(), 3);
    }

    #[test]
    fn a_given_up_one_may_be_answered_once() {
        let mut beats = three(FarKind::Echo);
        beats.give_up_earliest();
        assert_eq!((beats.waiting(), beats.earliest()), (2, Some(at(600))));
        assert_eq!(beats.answered(b"heartbeat 5"), AnswerMeaning::GivenUp);
        assert_eq!(beats.answered(b"heartbeat 5"), AnswerMeaning::Duplicated);
    }
}
