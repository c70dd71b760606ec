//! What is wrong with answers: which explanation fits the bytes that arrived.
//!
//! Every byte is a function of its message, so each explanation predicts the bytes that follow, and
//! the bytes decide between explanations.

use super::LoadFailure;
use super::rules::Rules;

/// This many matching bytes, beyond the prefix that all answers share, are no coincidence.
const CONVINCING: usize = 16;
/// Fewer matching bytes than this may be a coincidence.
const CHANCE: usize = 4;
/// How many messages an answer may be away from its place.
const REACH: u64 = 64;
/// More unexplained bytes than this, beyond the longest answer, end the search.
const MOST_UNEXPLAINED: usize = 64 * 1024;

/// Which answers may arrive on a connection.
pub(super) struct AllowedAnswers<'a> {
    pub(super) rules: &'a Rules,
    pub(super) connection: u64,
    /// The sequence number of the next answer in order.
    pub(super) next: u64,
    /// One past the last message in flight.
    pub(super) end: u64,
    /// Skipped answers, which may still arrive.
    pub(super) late: Vec<u64>,
}

/// The explanation of the bytes, from the first on.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    /// More bytes are needed.
    Unsure,
    /// They are the next answer.
    Right,
    /// The answers before this one were skipped.
    Skipped(u64),
    /// They are a skipped answer: its number and its length.
    Late(u64, usize),
    /// They are an answer that arrived before: its number and its length.
    Repeated(u64, usize),
    /// They are the next answer with this fault, and this many bytes of it.
    Wrong(LoadFailure, usize, String),
    /// Nothing explains them.
    Unexplained(LoadFailure, String),
}

/// How well bytes fit an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    No,
    /// This many bytes fit, and further ones may differ.
    Maybe(usize),
    Yes,
}

/// Finds the explanation. With `last` the decision does not wait for more bytes.
pub(super) fn judge(received: &[u8], allowed: &AllowedAnswers<'_>, last: bool) -> Finding {
    match explain(received, allowed, last) {
        // The answer is known, and not complete.
        Finding::Late(_, len) | Finding::Repeated(_, len) if received.len() < len && !last => Finding::Unsure,
        finding => finding,
    }
}

fn explain(received: &[u8], allowed: &AllowedAnswers<'_>, last: bool) -> Finding {
    let mut search = ExplanationSearch { last, candidate: None };
    let next = allowed.next;
    if let Some(finding) = search.first(whole_answers(received, allowed)) {
        return finding;
    }
    if next == allowed.end {
        return match search.candidate {
            Some(finding) if last => finding,
            Some(_) => Finding::Unsure,
            None => Finding::Unexplained(LoadFailure::Extra, format!("{} that answer nothing", bytes(received.len()))),
        };
    }
    let message = allowed.rules.message(allowed.connection, next);
    let (payload, answer_len) = (&allowed.rules.payload, allowed.len(next));
    let compared = received.len().min(answer_len);
    let right = payload.differs(&message, 0, &received[..compared]).unwrap_or(compared);
    if let Some(finding) = search.first(truncations(received, allowed, right)) {
        return finding;
    }

    if received.len() >= answer_len {
        let expected = payload.answer_head(&message, answer_len);
        let wrong = expected.iter().zip(received).filter(|(a, b)| a != b).count();
        let rest = allowed.fits(&received[answer_len..], None, next + 1);
        // Half of a long answer suffices; a short one needs the bytes that follow it.
        let is_likely = wrong * 2 <= answer_len || answer_len < CONVINCING;
        if is_likely && rest != Fit::No {
            let what = format!("{} of {} differ, the first at {right}", wrong, bytes(answer_len));
            return Finding::Wrong(LoadFailure::Corrupt, answer_len, what);
        }
    } else if !last {
        return Finding::Unsure;
    } else if right == received.len() {
        return truncated(right, answer_len);
    }
    match search.candidate {
        Some(finding) if last => finding,
        Some(_) if received.len() < allowed.rules.lengths.longest() + MOST_UNEXPLAINED => Finding::Unsure,
        _ => {
            let mut what = format!("from byte {right} on, the bytes are no answer to anything that was sent");
            let prefix = payload.answer_head(&message, payload.prefix.len());
            if !prefix.is_empty() && received[right..].starts_with(&prefix) {
                what += ", but another answer: the target may answer what one read returns, and not lines";
            }
            Finding::Unexplained(LoadFailure::Corrupt, what)
        }
    }
}

/// Explanations in which the bytes begin with a whole right answer, the likeliest first.
fn whole_answers(received: &[u8], allowed: &AllowedAnswers<'_>) -> impl Iterator<Item = (Fit, Finding)> {
    let (next, end) = (allowed.next, allowed.end);
    let fits = move |first, then| allowed.fits(received, first, then);
    let in_order = (next < end).then(|| (fits(None, next), Finding::Right));
    let late = allowed.late.iter().map(move |&late| (fits(Some(late), next), Finding::Late(late, allowed.len(late))));
    let ahead = (next + 1..end.min(next + REACH)).map(move |to| (fits(None, to), Finding::Skipped(to)));
    let was_answered = |sequence: &u64| !allowed.late.contains(sequence);
    let before = (next.saturating_sub(REACH)..next).rev().filter(was_answered);
    let repeated = before.map(move |past| (fits(Some(past), next), Finding::Repeated(past, allowed.len(past))));
    in_order.into_iter().chain(late).chain(ahead).chain(repeated)
}

/// Explanations in which the next answer, right up to `right`, was cut there or a little before.
fn truncations(received: &[u8], allowed: &AllowedAnswers<'_>, right: usize) -> impl Iterator<Item = (Fit, Finding)> {
    let (next, answer_len) = (allowed.next, allowed.len(allowed.next));
    let fit = move |cut: usize| (allowed.fits(&received[cut..], None, next + 1), truncated(cut, answer_len));
    // A truncated line may have kept its newline.
    let has_newline = allowed.rules.payload.lines && received.get(right) == Some(&b'\n') && right + 1 < answer_len;
    let line = has_newline.then(|| fit(right + 1));
    // The first bytes of the following answer may equal those that were cut off.
    let cuts = (right.saturating_sub(CHANCE).max(1)..=right).rev();
    let cuts = cuts.filter(move |&cut| cut < answer_len.min(received.len()) && next + 1 < allowed.end);
    line.into_iter().chain(cuts.map(fit))
}

fn truncated(len: usize, of: usize) -> Finding {
    Finding::Wrong(LoadFailure::Truncated, len, format!("{len} of {} came", bytes(of)))
}

/// Tries explanations, the likeliest first.
struct ExplanationSearch {
    /// The decision does not wait for more bytes.
    last: bool,
    /// The first explanation that fits all bytes so far.
    candidate: Option<Finding>,
}

impl ExplanationSearch {
    fn first(&mut self, explanations: impl Iterator<Item = (Fit, Finding)>) -> Option<Finding> {
        for (fit, finding) in explanations {
            match fit {
                Fit::No => {}
                Fit::Yes => return Some(finding),
                Fit::Maybe(n) if n >= CHANCE && !self.last => return Some(Finding::Unsure),
                Fit::Maybe(_) => drop(self.candidate.get_or_insert(finding)),
            }
        }
        None
    }
}

fn bytes(n: usize) -> String {
    format!("{n} byte{}", if n == 1 { "" } else { "s" })
}

impl AllowedAnswers<'_> {
    fn len(&self, sequence: u64) -> usize {
        self.rules.payload.answer_len(&self.rules.message(self.connection, sequence))
    }

    /// Do the bytes fit the answer `first`, if any, and then those from `then` on?
    fn fits(&self, received: &[u8], first: Option<u64>, then: u64) -> Fit {
        let payload = &self.rules.payload;
        let enough = CONVINCING + payload.prefix.len();
        let mut at = 0;
        for sequence in first.into_iter().chain(then..self.end) {
            let message = self.rules.message(self.connection, sequence);
            let len = payload.answer_len(&message);
            let n = len.min(received.len() - at);
            if payload.differs(&message, 0, &received[at..at + n]).is_some() {
                return Fit::No;
            }
            at += n;
            // Further bytes may hold the next fault.
            if at >= enough {
                return Fit::Yes;
            }
            if n < len {
                return Fit::Maybe(at.saturating_sub(payload.prefix.len()));
            }
        }
        // All allowed answers are complete; further bytes fit none.
        if at == received.len() { Fit::Yes } else { Fit::No }
    }
}
