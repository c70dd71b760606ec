//! What a server's own faults do to its answers.

use std::time::Duration;

use crate::direction::StreamDirection;
use crate::draws::{Draws, below, sequel};
use crate::effect::Effect;
use crate::kind::FaultKind;

/// Faults that wait for the next answer.
#[derive(Debug)]
pub(super) struct AnswerFaults {
    draws: Draws,
    due: Vec<DueFault>,
}

/// A fault that waits for the next answer.
#[derive(Debug)]
pub(super) struct DueFault {
    /// The connection's rule at this index.
    pub(super) own: usize,
    /// Its rule's place in the specification.
    pub(super) rule: usize,
    pub(super) effect: Effect,
    /// Of its event, as `offset`.
    pub(super) direction: Option<StreamDirection>,
    pub(super) offset: u64,
    /// The client's bytes before it.
    pub(super) drawn_at: u64,
}

impl AnswerFaults {
    pub(super) fn new(draws: Draws) -> Self {
        Self { draws, due: Vec::new() }
    }

    /// The next answer suffers from it.
    pub(super) fn push(&mut self, fault: DueFault) {
        self.due.push(fault);
        // In the order of the rules: whichever was due first.
        self.due.sort_by_key(|due| due.rule);
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Those that an answer suffers from.
    pub(super) fn take(&mut self) -> Vec<DueFault> {
        std::mem::take(&mut self.due)
    }

    /// Changes an answer. Returns how much later it comes.
    pub(super) fn change(&self, due: &DueFault, answer: &mut Vec<u8>) -> Duration {
        let bits = self.draws.bits(None, due.rule, due.drawn_at);
        match due.effect.kind {
            FaultKind::Garbage => {
                for (nth, chunk) in (0..).zip(answer.chunks_mut(8)) {
                    chunk.copy_from_slice(&sequel(bits, nth).to_le_bytes()[..chunk.len()]);
                }
            }
            FaultKind::WrongAnswer => differ(answer, bits),
            FaultKind::DuplicateLastLine => {
                let last = last_line(answer);
                answer.extend_from_within(last..);
            }
            FaultKind::LateAnswer => return due.effect.time(),
            _ => {}
        }
        Duration::ZERO
    }
}

/// Where the last line begins.
fn last_line(answer: &[u8]) -> usize {
    let text = answer.strip_suffix(b"\n").unwrap_or(answer);
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

/// One character of the answer becomes another one of its sort, so that its form stays: a letter
/// a letter, a digit a digit. Line endings stay, unless there is nothing else.
fn differ(answer: &mut [u8], bits: u64) {
    let is_ending = |byte: u8| matches!(byte, b'\r' | b'\n');
    let all = answer.iter().all(|byte| is_ending(*byte));
    let candidates = answer.iter_mut().filter(|byte| all || !is_ending(**byte));
    let mut candidates: Vec<_> = candidates.collect();
    if candidates.is_empty() {
        return;
    }
    let at = below(bits, candidates.len() as u64) as usize;
    let byte = &mut *candidates[at];
    *byte = match *byte {
        b'z' => b'a',
        b'Z' => b'A',
        b'9' => b'0',
        b'a'..=b'y' | b'A'..=b'Y' | b'0'..=b'8' => *byte + 1,
        other => other ^ 1,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::EffectValue;

    fn changed(kinds: &[FaultKind], answer: &str) -> (Vec<u8>, Duration) {
        let mut faults = AnswerFaults::new(Draws { seed: 7, number: 1 });
        for (rule, kind) in kinds.iter().enumerate() {
            let value = match kind {
                FaultKind::LateAnswer => EffectValue::Time(Duration::from_secs(rule as u64)),
                _ => EffectValue::Absent,
            };
            let effect = Effect { kind: *kind, value };
            faults.push(DueFault { own: rule, rule, effect, direction: None, offset: 0, drawn_at: 0 });
        }
        let mut bytes = answer.as_bytes().to_vec();
        let late = faults.take().iter().map(|due| faults.change(due, &mut bytes)).max().unwrap_or_default();
        assert!(!faults.is_due(), "once");
        (bytes, late)
    }

    #[test]
    fn the_last_line_comes_twice() {
        for (answer, want) in
            [("one\n", "one\none\n"), ("one\ntwo\n", "one\ntwo\ntwo\n"), ("one\ntwo", "one\ntwotwo"), ("\n", "\n\n")]
        {
            let (bytes, late) = changed(&[FaultKind::DuplicateLastLine], answer);
            assert_eq!((bytes.as_slice(), late), (want.as_bytes(), Duration::ZERO));
        }
    }

    #[test]
    fn a_wrong_answer_differs_in_one_character_and_keeps_its_form() {
        for answer in ["Server received: Hello\r\n", "0123456789\n", "\n", "\r\n", "zZ9"] {
            let (bytes, _) = changed(&[FaultKind::WrongAnswer], answer);
            let sort = |byte: u8| (byte.is_ascii_alphabetic(), byte.is_ascii_digit());
            let differing: Vec<_> = bytes.iter().zip(answer.as_bytes()).filter(|(got, sent)| got != sent).collect();
            let [(got, sent)] = differing[..] else { panic!("{answer:?}: {differing:?}") };
            assert_eq!((bytes.len(), sort(*got)), (answer.len(), sort(*sent)), "{answer:?}");
            assert!(answer.trim().is_empty() || !b"\r\n".contains(sent), "{answer:?}");
        }
        assert_eq!(changed(&[FaultKind::WrongAnswer], "").0, b"");
    }

    #[test]
    fn garbage_is_as_long_as_the_answer_and_the_same_again() {
        let answer = "Server received: Hello\n";
        let (bytes, _) = changed(&[FaultKind::Garbage], answer);
        assert_eq!(bytes.len(), answer.len());
        assert!(bytes.iter().zip(answer.as_bytes()).filter(|(got, sent)| got == sent).count() < 5, "{bytes:?}");
        assert_eq!(bytes, changed(&[FaultKind::Garbage], answer).0);
    }

    #[test]
    fn the_longest_delay_of_several_holds_and_rules_act_in_their_order() {
        use FaultKind::{DuplicateLastLine, LateAnswer, WrongAnswer};
        let (bytes, late) = changed(&[LateAnswer, DuplicateLastLine, LateAnswer, WrongAnswer], "5\n");
        assert_eq!(late, Duration::from_secs(2));
        assert!([&b"6\n5\n"[..], b"5\n6\n"].contains(&bytes.as_slice()), "{bytes:?}");
    }
}
