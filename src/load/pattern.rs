//! What a character generator sends (RFC 864), checked as it comes.

use crate::service::{CHARGEN_LINE, chargen_pattern};

/// Where a connection stands in the pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pattern {
    received: u64,
}

impl Pattern {
    /// These bytes have come: how many lines that completed, as far as they are right, and which byte of all is the first that is not.
    pub(super) fn received(&mut self, bytes: &[u8], verify: bool) -> (u64, Option<u64>) {
        let (line, pattern) = (CHARGEN_LINE as u64, chargen_pattern());
        let before = self.received;
        self.received += bytes.len() as u64;
        let mut wrong = None;
        let mut rest = bytes;
        while verify && !rest.is_empty() && wrong.is_none() {
            let at = self.received - rest.len() as u64;
            let expected = &pattern[(at % pattern.len() as u64) as usize..];
            let n = expected.len().min(rest.len());
            if rest[..n] != expected[..n] {
                wrong = rest.iter().zip(expected).position(|(a, b)| a != b).map(|differs| at + differs as u64);
            }
            rest = &rest[n..];
        }
        (wrong.unwrap_or(self.received) / line - before / line, wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_known_wherever_it_is_cut_and_a_wrong_byte_is_found() {
        let twice = [chargen_pattern(), chargen_pattern()].concat();
        for size in [1, 7, 74, 1000, twice.len()] {
            let mut pattern = Pattern::default();
            let mut lines = 0;
            for part in twice.chunks(size) {
                let (completed, wrong) = pattern.received(part, true);
                assert_eq!(wrong, None);
                lines += completed;
            }
            assert_eq!(lines, 2 * 95);
        }
        let mut wrong = twice;
        wrong[7500] ^= 1;
        let mut pattern = Pattern::default();
        assert_eq!(pattern.received(&wrong[..7400], true), (100, None));
        // One line more was right before it.
        assert_eq!(pattern.received(&wrong[7400..], true), (1, Some(7500)));
    }
}
