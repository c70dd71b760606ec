//! [`cut`]: where the next message ends.

use crate::service::Framing;

/// The head of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole message of this many bytes.
    Message(usize),
    /// Bytes that are no message.
    Bytes(usize),
    /// The beginning of one; more must come first.
    More,
    /// A line that exceeds its limit.
    TooLong,
}

/// Finds the message at the head of `bytes`, of which the first `scanned` hold no newline: a
/// partial line is never scanned twice.
pub(super) fn cut(framing: Framing, bytes: &[u8], scanned: usize) -> Frame {
    match framing {
        Framing::Chunk | Framing::Stream if bytes.is_empty() => Frame::More,
        Framing::Stream => Frame::Bytes(bytes.len()),
        Framing::Chunk => Frame::Message(bytes.len()),
        Framing::Line { max } | Framing::Auto { max } => match memchr::memchr(b'\n', &bytes[scanned..]) {
            Some(at) if without_cr(&bytes[..scanned + at]) <= max => Frame::Message(scanned + at + 1),
            None if without_cr(bytes) <= max => Frame::More,
            _ => Frame::TooLong,
        },
    }
}

/// The length of a line without a carriage return at its end: it belongs to the line's ending.
fn without_cr(line: &[u8]) -> usize {
    match line {
        [line @ .., b'\r'] => line.len(),
        _ => line.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framing_finds_the_end_of_a_message() {
        let line = Framing::Line { max: 3 };
        let cases: [(Framing, &[u8], Frame); 18] = [
            (Framing::Chunk, b"", Frame::More),
            (Framing::Chunk, b"a\nb", Frame::Message(3)),
            (Framing::Stream, b"", Frame::More),
            (Framing::Stream, b"a\nb", Frame::Bytes(3)),
            (line, b"", Frame::More),
            (line, b"a", Frame::More),
            (line, b"\n", Frame::Message(1)),
            (line, b"a\r\nb", Frame::Message(3)),
            (line, b"\0\xff\n", Frame::Message(3)),
            (line, b"abc\n", Frame::Message(4)),
            (line, b"abc", Frame::More),
            (line, b"abcd", Frame::TooLong),
            (line, b"abcd\n", Frame::TooLong),
            (line, b"abc\r\n", Frame::Message(5)),
            (line, b"abc\r", Frame::More),
            (line, b"abc\r\r", Frame::TooLong),
            (line, b"abc\rd", Frame::TooLong),
            (Framing::Line { max: 0 }, b"\n\n", Frame::Message(1)),
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
    fn the_scanned_part_is_not_scanned_again() {
        assert_eq!(cut(Framing::line(), b"\na", 1), Frame::More);
        assert_eq!(cut(Framing::line(), b"ab\n", 2), Frame::Message(3));
    }
}
