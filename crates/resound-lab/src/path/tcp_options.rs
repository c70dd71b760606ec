//! The options of a TCP header, and which of them a box strips.

use std::fmt;
use std::ops::Range;

pub(super) const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

const WORDS: [&str; 5] = ["sack", "timestamps", "wscale", "ecn", "all-unknown"];
const ECN: u8 = 1 << 3;

/// Options that are stripped: a bit for each of [`WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrippedOptions(u8);

impl StrippedOptions {
    pub(super) const WHAT: &'static str =
        "options like sack+timestamps, of sack, timestamps, wscale, ecn and all-unknown";

    /// `sack+timestamps`; of a word that is none of them, that word.
    pub(super) fn parse(text: &str) -> Result<Self, &str> {
        let mut bits = 0;
        for word in text.split('+') {
            bits |= 1 << WORDS.iter().position(|known| *known == word).ok_or(word)?;
        }
        Ok(Self(bits))
    }

    pub(super) fn words() -> [&'static str; 5] {
        WORDS
    }

    pub(super) fn has_ecn(self) -> bool {
        self.0 & ECN != 0
    }

    fn has(self, kind: u8) -> bool {
        let bit = match kind {
            0 | 1 | MSS => return false,
            SACK_PERMITTED | SACK => 0,
            TIMESTAMPS => 1,
            WINDOW_SCALE => 2,
            _ => 4,
        };
        self.0 & 1 << bit != 0
    }

    /// The options of a header that are among them: which, and where.
    pub(super) fn found(self, options: &[u8]) -> Vec<(u8, Range<usize>)> {
        entries(options).filter(|(kind, _)| self.has(*kind)).collect()
    }
}

impl fmt::Display for StrippedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = WORDS.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        f.write_str(&words.map(|(_, word)| *word).collect::<Vec<_>>().join("+"))
    }
}

/// Each option with its kind and its bytes, up to the end or to what is no option.
pub(super) fn entries(options: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let kind = *options.get(at)?;
        let length = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        if length == 0 || (kind != 1 && length < 2) || at + length > options.len() {
            at = options.len();
            return None;
        }
        let range = at..at + length;
        at = range.end;
        Some((kind, range))
    })
}

/// The name of an option, for a decision.
pub(super) fn option_name(kind: u8) -> String {
    match kind {
        MSS => "MSS".into(),
        WINDOW_SCALE => "window scale".into(),
        SACK_PERMITTED => "SACK permitted".into(),
        SACK => "SACK".into(),
        TIMESTAMPS => "timestamps".into(),
        kind => format!("option {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_up_to_what_is_none() {
        let options = [1, 2, 4, 5, 180, 1, 3, 3, 7, 34, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2];
        let kinds: Vec<_> = entries(&options).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 2, 1, 3, 34, 8]);
        for bad in [&[2_u8][..], &[2, 0], &[2, 1], &[2, 5, 0], &[8]] {
            assert_eq!(entries(bad).count(), 0, "{bad:?}");
        }
        let unknown = StrippedOptions::parse("all-unknown+wscale").unwrap();
        assert_eq!(unknown.found(&options), [(3, 6..9), (34, 9..11)]);
        assert_eq!(unknown.to_string(), "wscale+all-unknown");
        assert_eq!(StrippedOptions::parse("sack+sak"), Err("sak"));
    }
}
