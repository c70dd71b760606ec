//! [`Chargen`]: the character generator of RFC 864.

use super::{Cx, Service};

/// The printing characters of ASCII, space included.
const PRINTING: usize = 95;
/// Characters in a line, and with its CR LF.
const LINE: usize = 72;
const LINE_WITH_ENDING: usize = LINE + 2;
/// After this many bytes the pattern begins again.
const PERIOD: usize = PRINTING * LINE_WITH_ENDING;
/// The same for a ring without the space.
const PERIOD_WITHOUT_SPACE: usize = (PRINTING - 1) * LINE_WITH_ENDING;
/// Periods sent at once: about 41 KiB, one large write, and what a peer that reads nothing costs.
const AT_ONCE: usize = 6;

static PATTERN: [u8; PERIOD] = pattern(b' ');
static PATTERN_WITHOUT_SPACE: [u8; PERIOD_WITHOUT_SPACE] = pattern(b'!');

/// Bytes in a line, its CR LF included.
pub const CHARGEN_LINE: usize = LINE_WITH_ENDING;

/// The pattern that [`Chargen`] repeats.
pub fn chargen_pattern() -> &'static [u8] {
    &PATTERN
}

/// The pattern of servers whose ring of characters has no space in it.
pub fn chargen_pattern_without_space() -> &'static [u8] {
    &PATTERN_WITHOUT_SPACE
}

/// All lines of the ring from `first` to the tilde.
const fn pattern<const N: usize>(first: u8) -> [u8; N] {
    let ring = (b'~' - first) as usize + 1;
    let mut bytes = [0; N];
    let mut line = 0;
    while line < ring {
        let start = line * LINE_WITH_ENDING;
        let mut column = 0;
        while column < LINE {
            bytes[start + column] = first + ((line + column) % ring) as u8;
            column += 1;
        }
        bytes[start + LINE] = b'\r';
        bytes[start + LINE + 1] = b'\n';
        line += 1;
    }
    bytes
}

/// RFC 864: sends a rotating pattern of 72-character lines for as long as the peer takes it, and
/// discards its input.
///
/// A half-close does not stop it: only the end of the connection does, as the RFC wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chargen;

impl Service for Chargen {
    fn open(&mut self, cx: &mut Cx<'_>) {
        cx.no_answers();
        self.drained(cx);
    }

    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}

    fn drained(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..AT_ONCE {
            cx.send(&PATTERN);
        }
    }

    fn eof(&mut self, _cx: &mut Cx<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_rotate_as_in_the_rfc() {
        let lines: Vec<&[u8]> = PATTERN.chunks(LINE_WITH_ENDING).collect();
        assert!(lines[0].starts_with(b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFG"));
        assert!(lines[0].ends_with(b"defg\r\n"));
        assert!(lines[1].starts_with(b"!\"#$"));
        assert!(lines[1].ends_with(b"efgh\r\n"));
        assert!(lines[94].starts_with(b"~ !"));
        assert!(PATTERN.iter().all(|&b| b == b'\r' || b == b'\n' || (b' '..=b'~').contains(&b)));
    }
}
