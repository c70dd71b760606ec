//! [`ProbeRequest`]: the first line of a connection, by which a client asks the far end to
//! cooperate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the first line begins, whatever its version.
pub(crate) const FAMILY: &str = "resound-probe/";
/// How the line of this version begins.
pub const PREFIX: &str = "resound-probe/1 ";
/// The far end never sends more than it has received and this much.
pub const CREDIT: u64 = 1024 * 1024;
/// The most bytes that a request waits for in all: sums of them never overflow.
const MOST_BYTES: u64 = 1 << 40;
/// The largest piece of [`Step::Pieces`], and the largest answer of [`Step::Halves`]: this many
/// bytes wait to be sent.
pub(super) const LARGEST_PIECE: u32 = 256 * 1024;
/// The most steps of a request.
const MOST_STEPS: usize = 16;
/// The longest wait of one step: more than the two hours of the longest idle timers in the field.
const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// The longest name of a session.
const LONGEST_NAME: usize = 64;

/// The check of a line's JSON (FNV-1a, 64 bits), in hexadecimal digits: what changes bytes of a
/// stream may change those of a line.
pub(crate) fn check_of(json: &[u8]) -> String {
    let hash = json
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// A line of the protocol: the prefix, JSON and its check.
pub(crate) fn line_of(json: &str) -> String {
    format!("{PREFIX}{json} {}\n", check_of(json.as_bytes()))
}

/// The JSON of a line, after its prefix. `None` if its check shows that it was changed.
pub(crate) fn checked(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
    let (json, check) = rest.split_at_checked(rest.len().checked_sub(17)?)?;
    (check.first() == Some(&b' ') && &check[1..] == check_of(json).as_bytes()).then_some(json)
}

/// What the far end does, one step after the other. It counts and compares what arrives during all
/// of them but [`Step::Wait`] and [`Step::Hold`], in which it reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Sends a line of JSON: the session so far, with what the system knows of the socket.
    Tell,
    /// Waits until this many more bytes have arrived.
    Read(u64),
    /// Sends this many bytes.
    Send(u64),
    /// Reads and sends this many bytes, at the same time.
    Both(u64),
    /// Waits for `ask` bytes and sends `bytes`, `count` times.
    Answers {
        /// How often.
        count: u32,
        /// Bytes of each question.
        ask: u32,
        /// Bytes of each answer.
        bytes: u32,
    },
    /// Sends pieces with pauses between them.
    Pieces {
        /// How many.
        count: u32,
        /// Bytes of each.
        bytes: u32,
        /// From one to the next, in milliseconds.
        every_ms: u64,
    },
    /// Waits for `ask` bytes and sends `bytes`, `count` times: alternately at once and in two
    /// halves.
    Halves {
        /// How often.
        count: u32,
        /// Bytes of each question.
        ask: u32,
        /// Bytes of each answer.
        bytes: u32,
        /// Between the halves, in milliseconds.
        gap_ms: u64,
    },
    /// Reads nothing for this many milliseconds.
    Wait(u64),
    /// The same, but goes on as soon as another connection sends `go`.
    Hold(u64),
    /// Waits for the client's FIN.
    Eof,
    /// Half-closes: sends a FIN, and goes on reading.
    Finish,
    /// Closes: sends a FIN, and discards what arrives.
    Close,
    /// Resets the connection once the peer's system has acknowledged what was sent.
    Reset,
}

impl Step {
    /// The bytes that the far end sends.
    #[must_use]
    pub fn sends(self) -> u64 {
        match self {
            Self::Send(bytes) | Self::Both(bytes) => bytes,
            Self::Pieces { count, bytes, .. }
            | Self::Answers { count, bytes, .. }
            | Self::Halves { count, bytes, .. } => u64::from(count) * u64::from(bytes),
            _ => 0,
        }
    }

    /// The bytes that it receives.
    #[must_use]
    pub fn reads(self) -> u64 {
        match self {
            Self::Read(bytes) | Self::Both(bytes) => bytes,
            Self::Answers { count, ask, .. } | Self::Halves { count, ask, .. } => u64::from(count) * u64::from(ask),
            _ => 0,
        }
    }

    fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Self::Wait(ms) | Self::Hold(ms) => ms,
            Self::Pieces { count, every_ms: pause, .. } | Self::Halves { count, gap_ms: pause, .. } => {
                pause.saturating_mul(count.into())
            }
            _ => 0,
        })
    }
}

/// A request that is not played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Its check shows that the line was changed on its way.
    Garbled,
    /// What is wrong with it, in words for its sender.
    Wrong(String),
}

/// The first line of a connection, without its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// Steps to play on this connection. None at all: the far end only tells what it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<Vec<Step>>,
    /// A name under which other connections ask about this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Seed of the bytes that are sent and compared.
    #[serde(default)]
    pub seed: u64,
    /// The hello is short: it fits into the smallest packets, and says nothing of the socket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brief: bool,
    /// Asks what became of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Ends the [`Step::Hold`] of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<String>,
}

impl ProbeRequest {
    /// Asks for these steps.
    #[must_use]
    pub fn play(session: &str, seed: u64, steps: &[Step]) -> Self {
        Self { play: Some(steps.to_vec()), session: Some(session.into()), seed, ..Self::default() }
    }

    /// Asks what became of a session.
    #[must_use]
    pub fn ask(session: &str) -> Self {
        Self { ask: Some(session.into()), ..Self::default() }
    }

    /// Ends the hold of a session, and asks what became of it.
    #[must_use]
    pub fn go(session: &str) -> Self {
        Self { go: Some(session.into()), ..Self::default() }
    }

    /// The whole line, with its newline.
    #[must_use]
    pub fn line(&self) -> String {
        line_of(&serde_json::to_string(self).unwrap_or_default())
    }

    /// What a line asks for. `None` if it is no line of the protocol.
    ///
    /// # Errors
    ///
    /// What is wrong with a line of the protocol.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Result<Self, BadRequest>> {
        let rest = line.strip_prefix(FAMILY.as_bytes())?;
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        let Some(rest) = rest.strip_prefix(b"1 ") else {
            return Some(Err(BadRequest::Wrong("this version of the protocol is not known; known is 1".into())));
        };
        // A line that was typed ends with its JSON.
        let json = match rest.last() {
            Some(b'}') => rest,
            _ => match checked(rest) {
                Some(json) => json,
                None => return Some(Err(BadRequest::Garbled)),
            },
        };
        let parsed = serde_json::from_slice::<Self>(json).map_err(|error| error.to_string());
        let parsed = parsed.and_then(|request| request.check().map(|()| request));
        Some(parsed.map_err(BadRequest::Wrong))
    }

    /// Whether it may be played: how long, how much, and one thing at a time.
    fn check(&self) -> Result<(), String> {
        let asks = usize::from(self.play.is_some()) + usize::from(self.ask.is_some()) + usize::from(self.go.is_some());
        if asks != 1 {
            return Err("a request has one of play, ask and go".into());
        }
        let names = [&self.session, &self.ask, &self.go];
        if names.into_iter().flatten().any(|name| name.len() > LONGEST_NAME || name.is_empty()) {
            return Err(format!("the name of a session has 1 to {LONGEST_NAME} bytes"));
        }
        let steps = self.play.as_deref().unwrap_or_default();
        if steps.len() > MOST_STEPS {
            return Err(format!("a request has at most {MOST_STEPS} steps"));
        }
        let (mut reads, mut sends, mut lasts) = (0_u64, 0_u64, Duration::ZERO);
        for step in steps {
            if matches!(step, Step::Pieces { bytes, .. } | Step::Halves { bytes, .. } if *bytes > LARGEST_PIECE) {
                return Err(format!("a piece has at most {LARGEST_PIECE} bytes"));
            }
            sends = sends.saturating_add(step.sends());
            reads = reads.saturating_add(step.reads());
            if reads > MOST_BYTES {
                return Err(format!("a request waits for at most {MOST_BYTES} bytes"));
            }
            if sends > reads.saturating_add(CREDIT) {
                return Err(format!("the far end sends at most {CREDIT} bytes more than it has received"));
            }
            lasts = lasts.saturating_add(step.lasts());
        }
        if lasts > LONGEST {
            return Err(format!("the waits of a request last at most {} s", LONGEST.as_secs()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let steps = [
            Step::Tell,
            Step::Read(5),
            Step::Pieces { count: 2, bytes: 1, every_ms: 10 },
            Step::Halves { count: 2, ask: 1, bytes: 2, gap_ms: 5 },
            Step::Hold(1000),
            Step::Eof,
            Step::Finish,
        ];
        for request in [
            ProbeRequest::play("a", u64::MAX, &steps),
            ProbeRequest::play("a", 0, &[]),
            ProbeRequest { brief: true, ..ProbeRequest::play("a", 0, &[]) },
            ProbeRequest::ask("b"),
            ProbeRequest::go("c"),
        ] {
            assert_eq!(ProbeRequest::parse(request.line().as_bytes()), Some(Ok(request)));
        }
        assert_eq!(ProbeRequest::parse(b"Hello\n"), None);
    }

    #[test]
    fn what_cannot_be_played_is_answered() {
        let wrong = |line: &str| match ProbeRequest::parse(line.as_bytes()) {
            Some(Err(BadRequest::Wrong(why))) => why,
            other => panic!("{line}: {other:?}"),
        };
        assert!(wrong("resound-probe/2 {}\n").contains("version"));
        assert!(wrong("resound-probe/1 {}\n").contains("one of play, ask and go"));
        assert!(wrong("resound-probe/1 {\"play\":[\"dance\"]}\n").contains("dance"));
        assert!(wrong("resound-probe/1 {\"play\":[],\"plya\":1}\n").contains("plya"));
        assert!(wrong("resound-probe/1 {\"play\":[{\"send\":1048577}]}\n").contains("at most 1048576 bytes"));
        assert!(wrong("resound-probe/1 {\"play\":[{\"wait\":99999999999}]}\n").contains("at most 10800 s"));
        assert!(wrong(&format!("resound-probe/1 {{\"ask\":\"{}\"}}\n", "x".repeat(65))).contains("1 to 64"));
        let changed = ProbeRequest::ask("zz").line().replace("zz", "zy");
        assert_eq!(ProbeRequest::parse(changed.as_bytes()), Some(Err(BadRequest::Garbled)));
        let many = vec![Step::Tell; 17];
        assert!(wrong(&ProbeRequest::play("a", 0, &many).line()).contains("16 steps"));
        let piece = [Step::Pieces { count: 1, bytes: LARGEST_PIECE + 1, every_ms: 0 }];
        assert!(wrong(&ProbeRequest::play("a", 0, &piece).line()).contains("a piece has at most"));
        for huge in [[Step::Read(1), Step::Read(u64::MAX), Step::Send(u64::MAX)], [Step::Both(u64::MAX); 3]] {
            assert!(wrong(&ProbeRequest::play("a", 0, &huge).line()).contains("waits for at most"));
        }
        let both = [Step::Both(1 << 30), Step::Send(CREDIT)];
        assert!(ProbeRequest::parse(ProbeRequest::play("a", 0, &both).line().as_bytes()).unwrap().is_ok());
    }
}
