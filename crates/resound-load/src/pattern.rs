//! [`ChargenCheck`]: checks what a character generator sends (RFC 864).

use resound_proto::{CHARGEN_LINE, chargen_pattern, chargen_pattern_without_space};

/// The position of a connection in the pattern.
///
/// The RFC does not define where the ring of printing characters begins, and some servers leave out
/// the space. So the first byte determines the first line, and the byte after the first tilde
/// determines the ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChargenCheck {
    received: u64,
    /// The first received byte.
    first: u8,
    /// An exclamation mark followed the first tilde, and no space.
    without_space: bool,
}

impl ChargenCheck {
    /// Handles received bytes. Returns the number of right lines that they complete, and the
    /// position of the first wrong byte in the stream.
    pub(super) fn received(&mut self, bytes: &[u8], verify: bool) -> (u64, Option<u64>) {
        let line = CHARGEN_LINE as u64;
        let before = self.received;
        if let (0, Some(&first)) = (before, bytes.first()) {
            self.first = first;
        }
        self.received += bytes.len() as u64;
        let mut wrong = None;
        let mut rest = bytes;
        while verify && !rest.is_empty() && wrong.is_none() {
            let at = self.received - rest.len() as u64;
            let expected = self.expected(at);
            let n = expected.len().min(rest.len());
            if rest[..n] == expected[..n] {
                rest = &rest[n..];
                continue;
            }
            let differs = rest.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(n);
            rest = &rest[differs..];
            match !self.without_space && self.first != b' ' && (expected[differs], rest[0]) == (b' ', b'!') {
                true => self.without_space = true,
                false => wrong = Some(at + differs as u64),
            }
        }
        (wrong.unwrap_or(self.received) / line - before / line, wrong)
    }

    /// The expected bytes from byte `at` on, up to the end of the pattern.
    fn expected(&self, at: u64) -> &'static [u8] {
        let (pattern, first) =
            if self.without_space { (chargen_pattern_without_space(), b'!') } else { (chargen_pattern(), b' ') };
        let lines = (pattern.len() / CHARGEN_LINE) as u64;
        // A line cannot begin with another byte; it will differ from the first line.
        let line = u64::from(self.first.wrapping_sub(first));
        let start = if line < lines { line * CHARGEN_LINE as u64 } else { 0 };
        &pattern[((start + at) % pattern.len() as u64) as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_checked_across_reads() {
        let twice = [chargen_pattern(), chargen_pattern()].concat();
        for size in [1, 7, 74, 1000, twice.len()] {
            let mut pattern = ChargenCheck::default();
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
        let mut pattern = ChargenCheck::default();
        assert_eq!(pattern.received(&wrong[..7400], true), (100, None));
        // One more line was right before it.
        assert_eq!(pattern.received(&wrong[7400..], true), (1, Some(7500)));
    }

    #[test]
    fn the_ring_may_begin_anywhere_and_may_lack_the_space() {
        let line = |ring: &[u8], n: usize| -> Vec<u8> {
            ring.iter().cycle().skip(n % ring.len()).take(72).copied().chain(*b"\r\n").collect()
        };
        for first in [b' ', b'!'] {
            let ring: Vec<u8> = (first..=b'~').collect();
            for start in [0, 1, 33, ring.len() - 1] {
                let mut sent: Vec<u8> = (start..start + 200).flat_map(|n| line(&ring, n)).collect();
                for size in [1, 73, 5000] {
                    let mut pattern = ChargenCheck::default();
                    let lines: u64 = sent.chunks(size).map(|part| pattern.received(part, true)).map(|(n, _)| n).sum();
                    assert_eq!(lines, 200, "{} from {start} on, in parts of {size}", ring.len());
                }
                sent[9000] ^= 3;
                assert_eq!(ChargenCheck::default().received(&sent, true), (121, Some(9000)));
            }
        }
        // The first tilde determines the ring for good.
        let [with, without] = [b' ', b'!'].map(|first| (first..=b'~').collect::<Vec<u8>>());
        let mixed: Vec<u8> =
            (33..60).flat_map(|n| line(&without, n)).chain((60..90).flat_map(|n| line(&with, n))).collect();
        assert!(ChargenCheck::default().received(&mixed, true).1.is_some());
        assert_eq!(ChargenCheck::default().received(b"\x07 ", true).1, Some(0));
    }
}
