//! What is wrong with a specification, and where.

use std::fmt;
use std::ops::Range;

/// The sort of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpecProblem {
    /// A part of the grammar is missing or in another's place.
    Syntax,
    /// A word that is none of those that may stand here.
    UnknownWord,
    /// A fault without the value that it needs, or with one that it does not take.
    Value,
    /// An amount that is not written as one, or is too small or too large.
    Amount,
    /// Something that has no meaning for this fault.
    Meaningless,
    /// A fault that the program cannot cause.
    Role,
    /// More rules than are allowed.
    TooMany,
}

/// A mistake in a specification or a file of faults. Its text is the sentence, and below it the
/// specification (or the file's line) with the place marked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SpecError {
    problem: SpecProblem,
    sentence: String,
    meant: Option<String>,
    text: String,
    range: Range<usize>,
    line: Option<usize>,
}

/// A mistake before the text around it is known: its place in that text, and what it is.
#[derive(Debug)]
pub struct Flaw {
    /// Its sort.
    pub problem: SpecProblem,
    /// What is wrong and what was expected, as one sentence without its full stop.
    pub sentence: String,
    /// The word that was probably meant.
    pub meant: Option<String>,
    /// The wrong bytes; empty where something is missing.
    pub range: Range<usize>,
}

impl Flaw {
    /// Without a word that was probably meant.
    pub fn new(problem: SpecProblem, range: Range<usize>, sentence: impl Into<String>) -> Self {
        Self { problem, sentence: sentence.into(), meant: None, range }
    }

    /// A word that is none of `known`, with the nearest of those.
    pub fn unknown<'a>(range: Range<usize>, word: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let meant = nearest(word, known).map(String::from);
        let sentence = format!("'{}' is not {what}", shortened(word));
        Self { problem: SpecProblem::UnknownWord, sentence, meant, range }
    }

    /// With the text around it; `line` is that of a file.
    pub fn within(self, text: &str, line: Option<usize>) -> SpecError {
        let Self { problem, sentence, meant, range } = self;
        // It quotes the text, and stays one line.
        let sentence = printable(&sentence);
        SpecError { problem, sentence, meant, text: text.into(), range, line }
    }
}

impl SpecError {
    /// The sort of the mistake.
    pub fn problem(&self) -> SpecProblem {
        self.problem
    }

    /// The bytes of [`text`](Self::text) that are wrong; empty where something is missing.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The specification; of a file, the line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of the file, from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The word that was probably meant.
    pub fn meant(&self) -> Option<&str> {
        self.meant.as_deref()
    }

    /// What is wrong and what was expected, as one sentence.
    pub fn sentence(&self) -> String {
        let line = self.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        match &self.meant {
            Some(meant) => format!("{line}{}; did you mean `{meant}`?", self.sentence),
            None => format!("{line}{}", self.sentence),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.range.start).unwrap_or(&self.text).chars().count();
        let marked = self.text.get(self.range.clone()).unwrap_or_default().chars().count().max(1);
        let gap = " ".repeat(before);
        write!(f, "{}\n  {}\n  {gap}{}", self.sentence(), printable(&self.text), "^".repeat(marked))
    }
}

/// Each control character becomes a space, so that the columns stay.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(word: &str) -> String {
    const MOST: usize = 40;
    match word.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &word[..at]),
        None => word.into(),
    }
}

/// The known word that differs by one or two typing errors; by one if the word is short.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A long text is no slip, and its distance would take long.
    if word.len() > 40 {
        return None;
    }
    let most = if word.len() < 5 { 1 } else { 2 };
    let near = |known: &'a str| Some((edits(&word, known), known)).filter(|(edits, _)| *edits <= most);
    known.into_iter().filter_map(near).min_by_key(|(edits, _)| *edits).map(|(_, known)| known)
}

/// The edit distance, where a swap of two neighbours counts as one.
fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let changed = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_or_two_slips_away() {
        let known = ["reset", "rate", "hold", "close"];
        for (word, want) in [
            ("rset", Some("reset")),
            ("erset", Some("reset")),
            ("resett", Some("reset")),
            ("RESET", Some("reset")),
            ("hodl", Some("hold")),
            ("clsoed", Some("close")),
            ("xate", Some("rate")),
            ("xxte", None),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }

    #[test]
    fn the_place_is_marked_below_the_text() {
        let error = Flaw::new(SpecProblem::Amount, 6..8, "it is too long").within("ä\tay=9x", None);
        assert_eq!(error.to_string(), "it is too long\n  ä ay=9x\n       ^^");
        assert_eq!(
            Flaw::new(SpecProblem::Syntax, 3..3, "more").within("abc", Some(4)).to_string(),
            "line 4: more\n  abc\n     ^"
        );
    }
}
