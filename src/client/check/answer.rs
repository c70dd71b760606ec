//! The checks, and the progress of an answer.

use resound::Reply;

use crate::client::plan::Expect;

/// One check: the bytes to send, and the expected answer.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) sent: Vec<u8>,
    pub(super) expected: Vec<u8>,
    /// The prefix of each answer.
    pub(super) prefix: &'static str,
    /// A FIN follows, and the server must answer and then close.
    pub(super) last: bool,
}

/// The progress of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerProgress {
    /// Right so far, and incomplete.
    More,
    /// Complete.
    Complete,
    /// Every byte came back, but in one answer for each read of the server instead of each line.
    Reads,
    /// Wrong.
    Differs,
}

pub(super) fn checks(expect: Expect) -> Vec<Check> {
    // Without spaces, because many servers strip them at the ends of a read.
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

    /// The progress of an answer.
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

    /// Is only the last newline missing?
    pub(super) fn lacks_newline(&self, received: &[u8]) -> bool {
        self.expected.strip_suffix(b"\n").is_some_and(|expected| expected == received)
    }

    /// The sent bytes that came back, if the answers start anywhere in a line. Only for checks that
    /// are long or a burst: TCP splits those anywhere, so such answers reveal that the server
    /// answers reads. Each may end with its own newline.
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
            // An answer of a newline alone replies to a read of the line's own newline, already
            // counted.
            let own = rest.strip_prefix(b"\n").filter(|_| n > 0 || self.sent[..at].ends_with(b"\n"));
            match own {
                Some(behind) => rest = behind,
                // An answer to an empty read is wrong.
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
    fn progress_is_right_after_each_byte() {
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
    fn answers_to_reads_are_recognized_at_any_split() {
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
            // Many servers strip the newline and add their own.
            let own: Vec<u8> =
                check.sent.chunks(size).flat_map(|read| [prefix, read.trim_ascii(), b"\n"].concat()).collect();
            assert_eq!(check.progress(&own), AnswerProgress::Reads, "{name} by {size}, newline by newline");
            // Lost, changed or repeated bytes are no habit.
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
        // Without a prefix nothing shows where an answer begins: a newline too many is wrong.
        let own: Vec<u8> = echo.sent.chunks(1024).flat_map(|read| [read.trim_ascii(), b"\n"].concat()).collect();
        assert_eq!(echo.progress(&own), AnswerProgress::Differs);
    }
}
