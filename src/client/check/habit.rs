//! [`AnswerHabit`]: a common mistake of a server, recognized by the bytes of its answer.

use resound::Reply;

use super::answer::Check;
use crate::escape;

/// Bytes of a greeting or prefix that the explanation shows.
const SHOWN: usize = 60;

/// A common mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerHabit {
    /// It strips the newline.
    StripsNewline,
    /// It ends its lines with CR LF.
    EndsWithCrLf,
    /// It keeps the newline and adds its own.
    AddsNewline,
    /// It ends each answer with a newline, even to a line without one.
    EndsWithNewline,
    /// It echoes the line.
    Echoes,
    /// It replies `Server received: `, but the line alone was expected.
    Replies,
    Capitals,
    /// It takes the PROXY header for a message.
    AnswersProxyHeader,
    /// It sends this first, and then answers correctly.
    Greets(Vec<u8>),
    /// It sends this before the line.
    Prefix(Vec<u8>),
}

impl AnswerHabit {
    /// The habit that an answer to this check shows.
    pub(super) fn of(check: &Check, received: &[u8]) -> Option<Self> {
        let (sent, expected) = (&check.sent[..], &check.expected[..]);
        let (line, answer) = (escape::without_ending(sent), escape::without_ending(expected));
        if check.lacks_newline(received) {
            return Some(Self::StripsNewline);
        }
        match received.strip_prefix(answer) {
            Some(b"\n" | b"\r\n") if !sent.ends_with(b"\n") => return Some(Self::EndsWithNewline),
            Some(b"\r\n") => return Some(Self::EndsWithCrLf),
            Some(b"\n\n" | b"\n\r\n") => return Some(Self::AddsNewline),
            _ => {}
        }
        if line.is_empty() || received.is_empty() {
            return None;
        }
        let has = |part: &[u8]| memchr::memmem::find(received, part).is_some();
        if [&b"PROXY TCP"[..], b"PROXY UNKNOWN"].iter().any(|header| has(header)) || has(b"\0\r\n") && has(b"QUIT\n") {
            return Some(Self::AnswersProxyHeader);
        }
        let got = escape::without_ending(received);
        if got.starts_with(&line[..line.len().min(got.len())]) && answer != line {
            return Some(Self::Echoes);
        }
        if received.starts_with(Reply::PREFIX.as_bytes()) && answer == line {
            return Some(Self::Replies);
        }
        if let Some(at) = memchr::memmem::find(received, answer).filter(|at| *at > 0 && answer != line) {
            return Some(Self::Greets(received[..at].to_vec()));
        }
        let capital = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_uppercase();
        if capital(got) == capital(answer) || capital(got) == capital(line) {
            return Some(Self::Capitals);
        }
        if let Some(before) = got.strip_suffix(line).filter(|before| !before.is_empty()) {
            // Whole lines are a greeting, text in the line is a prefix.
            return Some(match before.ends_with(b"\n") {
                true => Self::Greets(before.to_vec()),
                false => Self::Prefix(before.to_vec()),
            });
        }
        None
    }

    /// The habit, and the remedy.
    pub(super) fn explanation(&self) -> String {
        let shown = |bytes: &[u8]| {
            let cut = if bytes.len() > SHOWN { "..." } else { "" };
            format!("'{}{cut}'", escape::text(&bytes[..bytes.len().min(SHOWN)]))
        };
        match self {
            Self::StripsNewline => {
                "The server strips the newline from its answer. TCP keeps no boundaries, so no client can tell where\n\
                                    such an answer ends: send the newline back, as it came."
                    .into()
            }
            Self::EndsWithCrLf => {
                "The server ends its lines with CR LF, where the line that was sent ends with LF.".into()
            }
            Self::AddsNewline => {
                "The server adds a newline to one that is there already: each answer is followed by an empty line."
                    .into()
            }
            Self::EndsWithNewline => {
                "The server ends each answer with a newline, also where the line that was sent had none.".into()
            }
            Self::Echoes => {
                "The server sends the lines back as they are; if that is what it is for, add --expect echo.".into()
            }
            Self::Replies => {
                "The server replies as `resound server` does; if that is what it is for, leave out --expect echo."
                    .into()
            }
            Self::Capitals => "The server changes capital and small letters.".into(),
            Self::AnswersProxyHeader => {
                "The server took the PROXY header for a message: leave out --send-proxy, or start the server \
                 so that it\nexpects a header (`resound server --proxy-protocol require`)."
                    .into()
            }
            Self::Greets(words) => format!("The server speaks first: {} came before its answer.", shown(words)),
            Self::Prefix(words) => {
                format!("The server sends {} before the line, not '{}'.", shown(words), Reply::PREFIX)
            }
        }
    }
}

/// Printed after checks that passed although the server answers reads.
pub(super) const READS: &str =
    "The server answers whatever one read returned (as with recv(1024)), and not lines. Nothing was lost, so this is
a warning: a line that is long, or comes in two segments, gets several answers, and lines that come together
get one. A server that reads on up to the newline answers each line once.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::plan::Expect;

    #[test]
    fn an_answer_reveals_the_habit_of_its_server() {
        let reply = Check::named("ASCII", Expect::Reply);
        let cases: [(&str, Option<AnswerHabit>); 17] = [
            ("Server received: Hello, server!", Some(AnswerHabit::StripsNewline)),
            ("Server received: Hello, server!\r\n", Some(AnswerHabit::EndsWithCrLf)),
            ("Server received: Hello, server!\n\n", Some(AnswerHabit::AddsNewline)),
            ("Hello, server!\n", Some(AnswerHabit::Echoes)),
            ("Hello, server!", Some(AnswerHabit::Echoes)),
            ("Hello, server!\r\n", Some(AnswerHabit::Echoes)),
            ("HELLO, SERVER!\n", Some(AnswerHabit::Capitals)),
            ("Server received: HELLO, SERVER!\n", Some(AnswerHabit::Capitals)),
            ("SERVER RECEIVED: HELLO, SERVER!", Some(AnswerHabit::Capitals)),
            ("Welcome!\nServer received: Hello, server!\n", Some(AnswerHabit::Greets(b"Welcome!\n".to_vec()))),
            ("Welcome! Server received: Hello, server!", Some(AnswerHabit::Greets(b"Welcome! ".to_vec()))),
            ("Echo: Hello, server!\n", Some(AnswerHabit::Prefix(b"Echo: ".to_vec()))),
            ("Hi\nHello, server!\n", Some(AnswerHabit::Greets(b"Hi\n".to_vec()))),
            (
                "Server received: PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nServer received: Hello, server!\n",
                Some(AnswerHabit::AnswersProxyHeader),
            ),
            ("\r\n\r\n\0\r\nQUIT\n!\x11\0\x0cHello, server!\n", Some(AnswerHabit::AnswersProxyHeader)),
            ("Server received: something else\n", None),
            ("", None),
        ];
        for (received, want) in cases {
            assert_eq!(AnswerHabit::of(&reply, received.as_bytes()), want, "{received:?}");
        }
        let echo = Check::named("ASCII", Expect::Echo);
        assert_eq!(AnswerHabit::of(&echo, b"Server received: Hello, server!\n"), Some(AnswerHabit::Replies));
        assert_eq!(AnswerHabit::of(&echo, b"Hello, server!"), Some(AnswerHabit::StripsNewline));
        assert_eq!(AnswerHabit::of(&echo, b"hello, server!\n"), Some(AnswerHabit::Capitals));
        let last = Check::named("half-close", Expect::Reply);
        assert_eq!(AnswerHabit::of(&last, &[&last.expected[..], b"\n"].concat()), Some(AnswerHabit::EndsWithNewline));
        let empty = Check::named("empty line", Expect::Reply);
        assert_eq!(AnswerHabit::of(&empty, b"Server received: "), Some(AnswerHabit::StripsNewline));
        assert_eq!(AnswerHabit::of(&empty, b"Server received: \r\n"), Some(AnswerHabit::EndsWithCrLf));
    }
}
