//! What is expected of an answer, and what may be made of it while it comes.

use resound::Reply;

use crate::client::plan::Expect;

/// One check: what is sent at once, and what must come back.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) sent: Vec<u8>,
    pub(super) expected: Vec<u8>,
    /// What stands before each answer.
    prefix: &'static str,
    /// A FIN follows, and the server's own must come behind its answer.
    pub(super) last: bool,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerProgress {
    /// Right as far as it goes, and more must come.
    More,
    /// All of it is there.
    Complete,
    /// Every byte came back, but in other answers: one for each of the server's reads, and not one for each line.
    Reads,
    /// It is another.
    Differs,
}

pub(super) fn checks(expect: Expect) -> Vec<Check> {
    // Without spaces, which many servers would strip where their reads begin and end.
    let burst: Vec<String> = (1..=100).map(|n| format!("message-{n}-of-a-burst\n")).collect();
    let long = "0123456789abcdef".repeat(2048) + "\n";
    let bodies: [(&'static str, Vec<String>); 6] = [
        ("ASCII", vec!["Hello, server!\n".into()]),
        ("UTF-8", vec!["Gr\u{fc}\u{df}e, \u{4e16}\u{754c} \u{1f30d}\n".into()]),
        ("empty line", vec!["\n".into()]),
        ("long line", vec![long]),
        ("burst", burst),
        ("half-close", vec!["a last line without its newline".into()]),
    ];
    let prefix = match expect {
        Expect::Reply => Reply::PREFIX,
        Expect::Echo => "",
    };
    bodies
        .into_iter()
        .map(|(name, lines)| Check {
            name,
            sent: lines.concat().into(),
            expected: lines.iter().flat_map(|line| [prefix, line]).collect::<String>().into(),
            prefix,
            last: name == "half-close",
        })
        .collect()
}

impl Check {
    #[cfg(test)]
    pub(super) fn named(name: &str, expect: Expect) -> Self {
        checks(expect).into_iter().find(|check| check.name == name).unwrap()
    }

    /// How far the answer has come.
    pub(super) fn progress(&self, received: &[u8]) -> AnswerProgress {
        if received == self.expected {
            return AnswerProgress::Complete;
        }
        if self.expected.starts_with(received) {
            return AnswerProgress::More;
        }
        match self.read_by_read(received) {
            Some(at) if at == self.sent.len() => AnswerProgress::Reads,
            Some(_) => AnswerProgress::More,
            None => AnswerProgress::Differs,
        }
    }

    /// Is all there but the newline at the end?
    pub(super) fn lacks_newline(&self, received: &[u8]) -> bool {
        self.expected.strip_suffix(b"\n").is_some_and(|expected| expected == received)
    }

    /// How many bytes of what was sent have come back, if what has come are answers that begin anywhere. TCP cuts what is long or comes in a burst
    /// as it likes, so only there such answers say what the server does. Each may have a newline of its own at its end.
    fn read_by_read(&self, received: &[u8]) -> Option<usize> {
        let prefix = self.prefix.as_bytes();
        if prefix.is_empty() || !matches!(self.name, "long line" | "burst") {
            return None;
        }
        let (mut at, mut rest) = (0, received);
        while !rest.is_empty() {
            if prefix.starts_with(rest) {
                break;
            }
            rest = rest.strip_prefix(prefix)?;
            let n = self.sent[at..].iter().zip(rest).take_while(|(sent, received)| sent == received).count();
            at += n;
            rest = &rest[n..];
            // An answer of that newline alone is one to a read of the line's own newline, which is counted already.
            let own = rest.strip_prefix(b"\n").filter(|_| n > 0 || self.sent[..at].ends_with(b"\n"));
            match own {
                Some(behind) => rest = behind,
                // An answer to nothing is none.
                None if n == 0 && !rest.is_empty() => return None,
                None => {}
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_wherever_it_has_come_to() {
        let ascii = Check::named("ASCII", Expect::Reply);
        for at in 0..ascii.expected.len() {
            assert_eq!(ascii.progress(&ascii.expected[..at]), AnswerProgress::More);
        }
        assert_eq!(ascii.progress(&ascii.expected), AnswerProgress::Complete);
        assert!(ascii.lacks_newline(b"Server received: Hello, server!"));
        for wrong in ["Hello", "Server received: Hello, server!\r", "Server received: Hello, server!\n\n"] {
            assert_eq!(ascii.progress(wrong.as_bytes()), AnswerProgress::Differs, "{wrong:?}");
        }
    }

    #[test]
    fn answers_to_reads_are_known_wherever_they_were_cut() {
        let prefix = Reply::PREFIX.as_bytes();
        for (name, size) in
            [("long line", 1024), ("long line", 32_768), ("burst", 1024), ("burst", 65_536), ("burst", 7)]
        {
            let check = Check::named(name, Expect::Reply);
            let answers: Vec<u8> = check.sent.chunks(size).flat_map(|read| [prefix, read].concat()).collect();
            for at in (0..answers.len()).step_by(97) {
                assert_eq!(check.progress(&answers[..at]), AnswerProgress::More, "{name} by {size}, {at} bytes in");
            }
            assert_eq!(check.progress(&answers), AnswerProgress::Reads, "{name} by {size}");
            // Many take the newline away, and add one of their own.
            let own: Vec<u8> =
                check.sent.chunks(size).flat_map(|read| [prefix, read.trim_ascii(), b"\n"].concat()).collect();
            assert_eq!(check.progress(&own), AnswerProgress::Reads, "{name} by {size}, newline by newline");
            // What is lost, changed or said twice is no habit.
            let mut changed = answers.clone();
            *changed.last_mut().unwrap() ^= 1;
            let lost = [&answers[..prefix.len() + 3], &answers[prefix.len() + 4..]].concat();
            let empty_line = [&answers[..], b"\n\n"].concat();
            for wrong in [changed, lost, [prefix, &answers].concat(), [&answers[..], b"x"].concat(), empty_line] {
                assert_eq!(check.progress(&wrong), AnswerProgress::Differs, "{name} by {size}");
            }
        }
        let single = Check::named("ASCII", Expect::Reply);
        assert_eq!(single.progress(b"Server received: HelServer received: lo, server!\n"), AnswerProgress::Differs);
        let echo = Check::named("long line", Expect::Echo);
        assert_eq!(echo.progress(&[prefix, &echo.sent[..]].concat()), AnswerProgress::Differs);
    }
}
