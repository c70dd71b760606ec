//! Where the next message ends.

use crate::service::Framing;

/// What stands at the head of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A whole message of this many bytes.
    Message(usize),
    /// The beginning of one; more must come first.
    More,
    /// A line that is longer than it may be.
    TooLong,
}

/// Looks at the head of `bytes`, of which the first `scanned` are known to hold no newline: a partial line is never scanned twice.
pub(super) fn cut(framing: Framing, bytes: &[u8], scanned: usize) -> Cut {
    match framing {
        Framing::Chunk if bytes.is_empty() => Cut::More,
        Framing::Chunk => Cut::Message(bytes.len()),
        Framing::Line { max } | Framing::Auto { max } => match memchr::memchr(b'\n', &bytes[scanned..]) {
            Some(at) if scanned + at <= max => Cut::Message(scanned + at + 1),
            None if bytes.len() <= max => Cut::More,
            _ => Cut::TooLong,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let line = Framing::Line { max: 3 };
        let cases: [(Framing, &[u8], Cut); 12] = [
            (Framing::Chunk, b"", Cut::More),
            (Framing::Chunk, b"a\nb", Cut::Message(3)),
            (line, b"", Cut::More),
            (line, b"a", Cut::More),
            (line, b"\n", Cut::Message(1)),
            (line, b"a\r\nb", Cut::Message(3)),
            (line, b"\0\xff\n", Cut::Message(3)),
            (line, b"abc\n", Cut::Message(4)),
            (line, b"abc", Cut::More),
            (line, b"abcd", Cut::TooLong),
            (line, b"abcd\n", Cut::TooLong),
            (Framing::Line { max: 0 }, b"\n\n", Cut::Message(1)),
        ];
        for (framing, bytes, want) in cases {
            let shown = bytes.escape_ascii().to_string();
            assert_eq!(cut(framing, bytes, 0), want, "{framing:?} {shown:?}");
            if let Framing::Line { max } = framing {
                assert_eq!(
                    cut(Framing::Auto { max }, bytes, 0),
                    want,
                    "a tail is no message before its time: {shown:?}"
                );
            }
        }
    }

    #[test]
    fn the_scanned_part_is_not_looked_at_again() {
        assert_eq!(cut(Framing::line(), b"\na", 1), Cut::More);
        assert_eq!(cut(Framing::line(), b"ab\n", 2), Cut::Message(3));
    }
}
