//! [`ConfigError`]: what is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use resound_console::escape;

/// Mistakes that are printed; the others are counted.
const SHOWN: usize = 10;
/// Characters of a line that are shown.
const SHOWN_OF_LINE: usize = 200;

/// A mistake in a file or in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigMistake {
    /// Where it is, and the order of those in one file.
    pub(super) place: String,
    pub(super) at: usize,
    sentence: String,
    /// The line of a file, and the place in it.
    shown: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError(Vec<ConfigMistake>);

impl ConfigMistake {
    pub(super) fn new(place: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { place: place.into(), at: 0, sentence: sentence.into(), shown: None }
    }

    /// A mistake at these bytes of a file.
    pub(super) fn within(file: &Path, text: &str, range: Range<usize>, sentence: impl Into<String>) -> Self {
        let (line, column, start) = position(text, range.start);
        let whole = text[start..].lines().next().unwrap_or_default();
        let marked = text.get(range.clone()).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
        let shown = (column <= SHOWN_OF_LINE).then(|| {
            let part: String = whole
                .chars()
                .take(SHOWN_OF_LINE)
                .map(|c| if c.is_control() || escape::is_dangerous(c) { ' ' } else { c })
                .collect();
            let most = (part.chars().count() + 1).saturating_sub(column).max(1);
            format!("  {part}\n  {}{}", " ".repeat(column - 1), "^".repeat(marked.clamp(1, most)))
        });
        Self { place: place_in(file, line, column), at: range.start, sentence: sentence.into(), shown }
    }
}

/// `resound.toml, line 3, column 9`.
pub(super) fn place_in(file: &Path, line: usize, column: usize) -> String {
    format!("{}, line {line}, column {column}", escape::text(file.display().to_string().as_bytes()))
}

/// The line and column of a byte, each from 1, and the start of the line.
pub(super) fn position(text: &str, at: usize) -> (usize, usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    (text[..start].matches('\n').count() + 1, text[start..at].chars().count() + 1, start)
}

impl ConfigError {
    /// In the order of the file; `None` without a mistake.
    pub(super) fn of(mut mistakes: Vec<ConfigMistake>) -> Option<Self> {
        mistakes.sort_by_key(|mistake| mistake.at);
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// What stderr gets: each mistake, with its line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for mistake in self.0.iter().take(SHOWN) {
            text += &format!("resound: {mistake}\n");
            text.extend(mistake.shown.iter().map(|shown| format!("{shown}\n")));
        }
        if self.0.len() > SHOWN {
            text += &format!("resound: ... and {} more mistakes\n", self.0.len() - SHOWN);
        }
        text
    }
}

impl From<ConfigMistake> for ConfigError {
    fn from(mistake: ConfigMistake) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It quotes what a file says, which must not move the cursor; its own lines stay.
        let lines = self.sentence.split('\n').map(|line| escape::plain(line.as_bytes()));
        write!(f, "{}: {}", self.place, lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The lines of a text as one.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// One line, for a log.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().take(SHOWN).map(|mistake| one_line(&mistake.to_string())).collect();
        f.write_str(&all.join("; "))
    }
}

impl std::error::Error for ConfigError {}
