//! The common mistakes of servers, recognized by the bytes of an answer.

use std::borrow::Cow;

use resound::Reply;
use resound_console::escape;

use super::answer::Check;

/// Bytes of a greeting or prefix that the explanation shows.
const SHOWN: usize = 60;

/// The common mistake of a server that the answer to this check shows, and its remedy.
pub(super) fn habit(check: &Check, received: &[u8]) -> Option<Cow<'static, str>> {
    let (sent, expected) = (&check.sent[..], &check.expected[..]);
    let (line, answer) = (escape::without_ending(sent), escape::without_ending(expected));
    if check.lacks_newline(received) {
        return Some(STRIPS_NEWLINE.into());
    }
    match received.strip_prefix(answer) {
        Some(b"\n" | b"\r\n") if !sent.ends_with(b"\n") => return Some(ENDS_WITH_NEWLINE.into()),
        Some(b"\r\n") => return Some(ENDS_WITH_CR_LF.into()),
        Some(b"\n\n" | b"\n\r\n") => return Some(ADDS_NEWLINE.into()),
        _ => {}
    }
    if line.is_empty() || received.is_empty() {
        return None;
    }
    let has = |part: &[u8]| memchr::memmem::find(received, part).is_some();
    if [&b"PROXY TCP"[..], b"PROXY UNKNOWN"].iter().any(|header| has(header)) || has(b"\0\r\n") && has(b"QUIT\n") {
        return Some(ANSWERS_PROXY_HEADER.into());
    }
    let got = escape::without_ending(received);
    if got.starts_with(&line[..line.len().min(got.len())]) && answer != line {
        return Some(ECHOES.into());
    }
    if received.starts_with(Reply::PREFIX.as_bytes()) && answer == line {
        return Some(REPLIES.into());
    }
    let greets = |words| Some(format!("The server speaks first: {} came before its answer.", shown(words)).into());
    if let Some(at) = memchr::memmem::find(received, answer).filter(|at| *at > 0 && answer != line) {
        return greets(&received[..at]);
    }
    let capital = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_uppercase();
    if capital(got) == capital(answer) || capital(got) == capital(line) {
        return Some("The server changes capital and small letters.".into());
    }
    match got.strip_suffix(line).filter(|before| !before.is_empty())? {
        // Whole lines are a greeting, text in the line is a prefix.
        lines if lines.ends_with(b"\n") => greets(lines),
        prefix => Some(format!("The server sends {} before the line, not '{}'.", shown(prefix), Reply::PREFIX).into()),
    }
}

fn shown(bytes: &[u8]) -> String {
    let cut = if bytes.len() > SHOWN { "..." } else { "" };
    format!("'{}{cut}'", escape::text(&bytes[..bytes.len().min(SHOWN)]))
}

const STRIPS_NEWLINE: &str =
    "The server strips the newline from its answer. TCP keeps no boundaries, so no client can tell where
such an answer ends: send the newline back, as it came.";
const ENDS_WITH_CR_LF: &str = "The server ends its lines with CR LF, where the line that was sent ends with LF.";
const ADDS_NEWLINE: &str =
    "The server adds a newline to one that is there already: each answer is followed by an empty line.";
const ENDS_WITH_NEWLINE: &str =
    "The server ends each answer with a newline, also where the line that was sent had none.";
const ECHOES: &str = "The server sends the lines back as they are; if that is what it is for, add --expect echo.";
const REPLIES: &str =
    "The server replies as `resound server` does; if that is what it is for, leave out --expect echo.";
const ANSWERS_PROXY_HEADER: &str =
    "The server took the PROXY header for a message: leave out --send-proxy, or start the server so that it
expects a header (`resound server --proxy-protocol require`).";

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
        const CAPITALS: &str = "The server changes capital and small letters.";
        let greets = |words: &str| format!("The server speaks first: '{words}' came before its answer.");
        let reply = Check::named("ASCII", Expect::Reply);
        let cases: [(&str, Option<&str>); 17] = [
            ("Server received: Hello, server!", Some(STRIPS_NEWLINE)),
            ("Server received: Hello, server!\r\n", Some(ENDS_WITH_CR_LF)),
            ("Server received: Hello, server!\n\n", Some(ADDS_NEWLINE)),
            ("Hello, server!\n", Some(ECHOES)),
            ("Hello, server!", Some(ECHOES)),
            ("Hello, server!\r\n", Some(ECHOES)),
            ("HELLO, SERVER!\n", Some(CAPITALS)),
            ("Server received: HELLO, SERVER!\n", Some(CAPITALS)),
            ("SERVER RECEIVED: HELLO, SERVER!", Some(CAPITALS)),
            ("Welcome!\nServer received: Hello, server!\n", Some(&greets("Welcome!\\n"))),
            ("Welcome! Server received: Hello, server!", Some(&greets("Welcome! "))),
            ("Echo: Hello, server!\n", Some("The server sends 'Echo: ' before the line, not 'Server received: '.")),
            ("Hi\nHello, server!\n", Some(&greets("Hi\\n"))),
            (
                "Server received: PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nServer received: Hello, server!\n",
                Some(ANSWERS_PROXY_HEADER),
            ),
            ("\r\n\r\n\0\r\nQUIT\n!\x11\0\x0cHello, server!\n", Some(ANSWERS_PROXY_HEADER)),
            ("Server received: something else\n", None),
            ("", None),
        ];
        for (received, want) in cases {
            assert_eq!(habit(&reply, received.as_bytes()).as_deref(), want, "{received:?}");
        }
        let shows = |check: &Check, received: &[u8], want| assert_eq!(habit(check, received).as_deref(), Some(want));
        let echo = Check::named("ASCII", Expect::Echo);
        shows(&echo, b"Server received: Hello, server!\n", REPLIES);
        shows(&echo, b"Hello, server!", STRIPS_NEWLINE);
        shows(&echo, b"hello, server!\n", CAPITALS);
        let last = Check::named("half-close", Expect::Reply);
        shows(&last, &[&last.expected[..], b"\n"].concat(), ENDS_WITH_NEWLINE);
        let empty = Check::named("empty line", Expect::Reply);
        shows(&empty, b"Server received: ", STRIPS_NEWLINE);
        shows(&empty, b"Server received: \r\n", ENDS_WITH_CR_LF);
    }
}
