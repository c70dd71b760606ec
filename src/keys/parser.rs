//! The bytes of a Unix terminal as keys.

use super::press::{KeyPress, LONGEST};
use resound_console::escape;

/// Parses the bytes of a terminal.
#[derive(Default)]
pub(super) struct KeyParser {
    /// The start of an incomplete sequence.
    bytes: Vec<u8>,
    /// The current paste is too long; its end has not arrived.
    overflown: bool,
    /// Esc is a key, and a paste is none.
    with_escape: bool,
}

const PASTE: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";
/// The longest sequence that the parser waits for.
const SEQUENCE: usize = 64;

impl KeyParser {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<KeyPress> {
        self.bytes.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.bytes);
        let (mut keys, mut at) = (Vec::new(), 0);
        while let Some((key, length)) = self.next(&bytes[at..]) {
            keys.extend(key);
            at += length;
        }
        self.bytes = bytes[at..].to_vec();
        keys
    }

    /// As `default`, where Esc is a key. The terminal was not asked to mark what is pasted: such a
    /// mark means nothing.
    pub(super) fn with_escape() -> Self {
        Self { with_escape: true, ..Self::default() }
    }

    /// Whether the first bytes of a sequence have come, but not of a paste.
    pub(super) fn is_within_sequence(&self) -> bool {
        self.bytes.first() == Some(&0x1b)
    }

    /// Ends a sequence whose rest does not come: Esc alone is a key.
    pub(super) fn end_sequence(&mut self) -> Vec<KeyPress> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == [0x1b] { vec![KeyPress::Escape] } else { Vec::new() }
    }

    /// The first key, and its length in bytes. `None` while it is incomplete.
    fn next(&mut self, bytes: &[u8]) -> Option<(Option<KeyPress>, usize)> {
        if !self.with_escape && (bytes.starts_with(PASTE) || self.overflown) {
            return self.pasted(bytes);
        }
        match *bytes.first()? {
            0x1b if self.with_escape && bytes.get(1) == Some(&0x1b) => Some((Some(KeyPress::Escape), 1)),
            0x1b => escaped(bytes),
            _ => character(bytes),
        }
    }

    fn pasted(&mut self, bytes: &[u8]) -> Option<(Option<KeyPress>, usize)> {
        let Some(end) = memchr::memmem::find(bytes, PASTE_END) else {
            // The end mark of a paste may arrive in two reads.
            let surplus = bytes.len().saturating_sub(PASTE_END.len());
            self.overflown |= surplus > PASTE.len() + LONGEST;
            return (self.overflown && surplus > 0).then_some((None, surplus));
        };
        let length = end + PASTE_END.len();
        if std::mem::take(&mut self.overflown) {
            return Some((Some(KeyPress::TooLong), length));
        }
        Some((Some(KeyPress::pasted(&bytes[PASTE.len()..end])), length))
    }
}

fn character(bytes: &[u8]) -> Option<(Option<KeyPress>, usize)> {
    let longest = &bytes[..bytes.len().min(4)];
    let chunk = longest.utf8_chunks().next()?;
    let Some(c) = chunk.valid().chars().next() else {
        let is_beginning = escape::unfinished(longest) == longest.len();
        return (!is_beginning).then_some((Some(KeyPress::NotUtf8), chunk.invalid().len()));
    };
    let key = match c {
        '\x7f' => KeyPress::Ctrl('h'),
        '\0'..='\x1f' => KeyPress::Ctrl(char::from(c as u8 + b'@').to_ascii_lowercase()),
        c => KeyPress::Char(c),
    };
    Some((Some(key), c.len_utf8()))
}

fn escaped(bytes: &[u8]) -> Option<(Option<KeyPress>, usize)> {
    let (introducer, rest) = (bytes.get(1)?, &bytes[2..]);
    match introducer {
        // Escape before a key.
        0x1b => Some((None, 1)),
        b'O' => Some((arrow(*rest.first()?, false), 3)),
        // Function keys of the Linux console.
        b'[' if rest.first() == Some(&b'[') => rest.get(1).map(|_| (None, 4)),
        b'[' => match rest.iter().position(|byte| !matches!(byte, b' '..=b'?')) {
            Some(end) if matches!(rest[end], b'@'..=b'~') => Some((sequence(&rest[..end], rest[end]), end + 3)),
            // A malformed sequence ends before the first foreign byte.
            Some(end) => Some((None, end + 2)),
            None => (rest.len() > SEQUENCE).then_some((None, bytes.len())),
        },
        _ => {
            let (key, length) = character(&bytes[1..])?;
            let key = match key {
                Some(KeyPress::Char(c)) => Some(KeyPress::Alt(c.to_ascii_lowercase())),
                Some(KeyPress::Ctrl('h')) => Some(KeyPress::Alt('\x08')),
                key => key,
            };
            Some((key, 1 + length))
        }
    }
}

/// A control sequence (ECMA-48): its parameters and its final byte.
fn sequence(parameters: &[u8], what: u8) -> Option<KeyPress> {
    let mut numbers =
        parameters.split(|&byte| byte == b';').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
    let (first, second): (Option<usize>, Option<usize>) = (numbers.next().flatten(), numbers.next().flatten());
    match (what, first) {
        (b'R', _) => Some(KeyPress::CursorAt(second?.saturating_sub(1))),
        (b'~', Some(1 | 7)) => Some(KeyPress::Ctrl('a')),
        (b'~', Some(3)) => Some(KeyPress::Delete),
        (b'~', Some(4 | 8)) => Some(KeyPress::Ctrl('e')),
        (b'~', Some(5)) => Some(KeyPress::Alt('<')),
        (b'~', Some(6)) => Some(KeyPress::Alt('>')),
        // With Alt or Ctrl.
        (what, _) => arrow(what, matches!(second, Some(3 | 5))),
    }
}

fn arrow(what: u8, is_of_words: bool) -> Option<KeyPress> {
    let letter = match what {
        b'A' => 'p',
        b'B' => 'n',
        b'C' => 'f',
        b'D' => 'b',
        b'F' => 'e',
        b'H' => 'a',
        _ => return None,
    };
    Some(if is_of_words && matches!(letter, 'f' | 'b') { KeyPress::Alt(letter) } else { KeyPress::Ctrl(letter) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_at_any_split() {
        let cases = [
            ("a", KeyPress::Char('a')),
            ("\u{20ac}", KeyPress::Char('\u{20ac}')),
            ("\x01", KeyPress::Ctrl('a')),
            ("\x7f", KeyPress::Ctrl('h')),
            ("\r", KeyPress::Ctrl('m')),
            ("\x1f", KeyPress::Ctrl('_')),
            ("\x1b[A", KeyPress::Ctrl('p')),
            ("\x1bOD", KeyPress::Ctrl('b')),
            ("\x1b\x1b[B", KeyPress::Ctrl('n')),
            ("\x1b[1;5C", KeyPress::Alt('f')),
            ("\x1b[1;3D", KeyPress::Alt('b')),
            ("\x1b[1;2D", KeyPress::Ctrl('b')),
            ("\x1bF", KeyPress::Alt('f')),
            ("\x1b\x7f", KeyPress::Alt('\x08')),
            ("\x1b[3~", KeyPress::Delete),
            ("\x1b[[A\x1b[24;2~\x1b[<0;1;1Mx", KeyPress::Char('x')),
            ("\x1b[200~b\r\nc\x1b[D\x1b[201~", KeyPress::Pasted("b\nc\x1b[D".into(), true)),
            ("\x1b[12;40R", KeyPress::CursorAt(39)),
            ("\x1b[3\r", KeyPress::Ctrl('m')),
        ];
        let bytes = cases.iter().map(|case| case.0).collect::<String>().into_bytes();
        for cut in 0..=bytes.len() {
            let mut parser = KeyParser::default();
            let mut typed = parser.feed(&bytes[..cut]);
            typed.extend(parser.feed(&bytes[cut..]));
            assert!(typed.iter().eq(cases.iter().map(|case| &case.1)), "cut at {cut}: {typed:?}");
        }
    }

    #[test]
    fn an_esc_is_a_key_if_nothing_follows() {
        let mut parser = KeyParser::with_escape();
        assert!(!parser.is_within_sequence());
        for (begun, want) in [("\x1b", vec![KeyPress::Escape]), ("\x1b[", vec![]), ("\x1b[1;", vec![])] {
            assert_eq!(parser.feed(begun.as_bytes()), []);
            assert!(parser.is_within_sequence());
            assert_eq!(parser.end_sequence(), want, "{begun:?}");
            assert_eq!(parser.feed(b"A"), [KeyPress::Char('A')]);
        }
        assert_eq!(parser.feed(b"\x1b\x1b[A"), [KeyPress::Escape, KeyPress::Ctrl('p')]);
        assert_eq!(parser.feed(b"\x1b[200~q"), [KeyPress::Char('q')], "the mark of a paste means nothing here");
    }

    #[test]
    fn input_that_is_no_utf_8_is_detected() {
        let mut parser = KeyParser::default();
        assert_eq!(parser.feed(b"f\xe9"), [KeyPress::Char('f')]);
        assert_eq!(parser.feed(b"\r\xff"), [KeyPress::NotUtf8, KeyPress::Ctrl('m'), KeyPress::NotUtf8]);
        assert_eq!(parser.feed(b"\x1b[200~\xff\x1b[201~"), [KeyPress::Pasted("\u{fffd}".into(), false)]);
    }

    #[test]
    fn a_paste_without_end_does_not_fill_the_memory() {
        let mut parser = KeyParser::default();
        assert_eq!(parser.feed(PASTE), []);
        let piece = [b'\r'; 1 << 16];
        for _ in 0..2 * LONGEST / piece.len() {
            assert_eq!(parser.feed(&piece), []);
        }
        assert!(parser.bytes.len() < 1 << 10);
        assert_eq!(parser.feed(b"\x1b[201~a"), [KeyPress::TooLong, KeyPress::Char('a')]);
    }
}
