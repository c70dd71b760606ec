//! What is wrong with answers: which of the things that can happen to a stream of messages explains the bytes that came.
//!
//! Every byte says which message it belongs to, so each explanation predicts what comes next, and the bytes decide between them.

use super::Fault;
use super::answers::Rules;

/// So many bytes that fit an explanation, beside what every answer begins with, are no chance.
const CONVINCING: usize = 16;
/// Fewer than these may well be.
const CHANCE: usize = 4;
/// How many messages an answer may be out of its place.
const REACH: u64 = 64;
/// More than this, and the longest answer, is not kept in the hope of an explanation.
const MOST_HELD: usize = 64 * 1024;

/// Which answers may come on a connection.
pub(super) struct AllowedAnswers<'a, L> {
    pub(super) rules: &'a Rules,
    pub(super) connection: u64,
    /// The next in order.
    pub(super) next: u64,
    /// Behind the last that was asked for.
    pub(super) end: u64,
    /// Passed over, and perhaps still to come.
    pub(super) late: L,
}

/// What the bytes are, from their first on.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    /// More bytes will tell.
    Unsure,
    /// What is due.
    Right,
    /// The answers before this one are passed over.
    Passed(u64),
    /// An answer that was passed over, and its length.
    Late(u64, usize),
    /// An answer that has come before, and its length.
    Again(u64, usize),
    /// The answer that is due, with something wrong, and how many bytes of it there are.
    Wrong(Fault, usize, String),
    /// Nothing that can be followed.
    Beyond(Fault, String),
}

/// How well bytes fit what they might be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    No,
    /// So many do, and more might still tell otherwise.
    Maybe(usize),
    Yes,
}

/// Finds the explanation. With `last` no more bytes are to be waited for.
pub(super) fn judge<L: Iterator<Item = u64> + Clone>(held: &[u8], due: &AllowedAnswers<'_, L>, last: bool) -> Finding {
    match explain(held, due, last) {
        // It is clear what it is, and not all of it is there.
        Finding::Late(_, len) | Finding::Again(_, len) if held.len() < len && !last => Finding::Unsure,
        finding => finding,
    }
}

fn explain<L: Iterator<Item = u64> + Clone>(held: &[u8], due: &AllowedAnswers<'_, L>, last: bool) -> Finding {
    let mut scale = Likelihood { last, perhaps: None };
    let due_len = due.len(due.next);

    let in_order = (due.next < due.end).then(|| (due.fits(held, None, due.next), Finding::Right));
    let late = due.late.clone().map(|late| (due.fits(held, Some(late), due.next), Finding::Late(late, due.len(late))));
    let ahead = (due.next + 1..due.end.min(due.next + REACH)).map(|to| (due.fits(held, None, to), Finding::Passed(to)));
    let known = |sequence: &u64| !due.late.clone().any(|late| late == *sequence);
    let before = (due.next.saturating_sub(REACH)..due.next).rev().filter(known);
    let again = before.map(|past| (due.fits(held, Some(past), due.next), Finding::Again(past, due.len(past))));
    if let Some(finding) = scale.first(in_order.into_iter().chain(late).chain(ahead).chain(again)) {
        return finding;
    }

    if due.next == due.end {
        return match scale.perhaps {
            Some(finding) if last => finding,
            Some(_) => Finding::Unsure,
            None => Finding::Beyond(Fault::Extra, format!("{} that answer nothing", bytes(held.len()))),
        };
    }
    let message = due.rules.message(due.connection, due.next);
    let payload = &due.rules.payload;
    let right = payload.differs(&message, 0, &held[..held.len().min(due_len)]).unwrap_or(held.len().min(due_len));
    let truncated = |len| Finding::Wrong(Fault::Truncated, len, format!("{len} of {} came", bytes(due_len)));
    // The first byte of the next answer may be the one that this answer would have had.
    let cuts = (right.saturating_sub(CHANCE).max(1)..=right).rev().filter(|&cut| cut < due_len.min(held.len()));
    let cuts = cuts.filter(|_| due.next + 1 < due.end);
    let cuts = cuts.map(|cut| (due.fits(&held[cut..], None, due.next + 1), truncated(cut)));
    // A line that is cut may have kept its newline.
    let line = payload.are_lines() && held.get(right) == Some(&b'\n') && right + 1 < due_len;
    let line = line.then(|| (due.fits(&held[right + 1..], None, due.next + 1), truncated(right + 1)));
    if let Some(finding) = scale.first(line.into_iter().chain(cuts)) {
        return finding;
    }

    if held.len() >= due_len {
        let expected = payload.answer_head(&message, due_len);
        let wrong = expected.iter().zip(held).filter(|(a, b)| a != b).count();
        let behind = due.fits(&held[due_len..], None, due.next + 1);
        // Most of a long answer is enough; a short one needs what follows it.
        let likely = wrong * 2 <= due_len || due_len < CONVINCING;
        if likely && behind != Fit::No {
            let what = format!("{} of {} differ, the first at {right}", wrong, bytes(due_len));
            return Finding::Wrong(Fault::Corrupt, due_len, what);
        }
    } else if !last {
        return Finding::Unsure;
    } else if right == held.len() {
        return truncated(right);
    }
    match scale.perhaps {
        Some(finding) if last => finding,
        Some(_) if held.len() < due.rules.lengths.longest() + MOST_HELD => Finding::Unsure,
        _ => {
            let mut what = format!("from byte {right} on what came is no answer to anything sent");
            let prefix = payload.answer_head(&message, payload.prefix_len());
            if !prefix.is_empty() && held[right..].starts_with(&prefix) {
                what += ", but another answer: the target may answer what one read returns, and not lines";
            }
            Finding::Beyond(Fault::Corrupt, what)
        }
    }
}

/// Weighs explanations, the likeliest first.
struct Likelihood {
    /// No more bytes are to be waited for.
    last: bool,
    /// The first that fits as far as it can be seen.
    perhaps: Option<Finding>,
}

impl Likelihood {
    fn first(&mut self, explanations: impl Iterator<Item = (Fit, Finding)>) -> Option<Finding> {
        for (fit, finding) in explanations {
            match fit {
                Fit::No => {}
                Fit::Yes => return Some(finding),
                Fit::Maybe(n) if n >= CHANCE && !self.last => return Some(Finding::Unsure),
                Fit::Maybe(_) => drop(self.perhaps.get_or_insert(finding)),
            }
        }
        None
    }
}

fn bytes(n: usize) -> String {
    format!("{n} byte{}", if n == 1 { "" } else { "s" })
}

impl<L> AllowedAnswers<'_, L> {
    fn len(&self, sequence: u64) -> usize {
        self.rules.payload.answer_len(&self.rules.message(self.connection, sequence))
    }

    /// Could this be the answer `first`, if any, and then those from `then` on?
    fn fits(&self, held: &[u8], first: Option<u64>, then: u64) -> Fit {
        let payload = &self.rules.payload;
        let enough = CONVINCING + payload.prefix_len();
        let mut at = 0;
        for sequence in first.into_iter().chain(then..self.end) {
            let message = self.rules.message(self.connection, sequence);
            let len = payload.answer_len(&message);
            let n = len.min(held.len() - at);
            if payload.differs(&message, 0, &held[at..at + n]).is_some() {
                return Fit::No;
            }
            at += n;
            // What follows may be the next thing that is wrong.
            if at >= enough {
                return Fit::Yes;
            }
            if n < len {
                return Fit::Maybe(at.saturating_sub(payload.prefix_len()));
            }
        }
        // All that could come has come, and nothing else.
        if at == held.len() { Fit::Yes } else { Fit::No }
    }
}
