//! What the owner asks of the lab's first process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::Side;

/// A request; the answer is a number that is negative for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LabRequest {
    /// Start a command; with the three standard streams and a pipe for its exit status. The answer
    /// is its process number.
    Start { side: Side, is_apart: bool, words: Vec<OsString> },
    /// Make a socket. It comes with the answer.
    Socket { side: Side, domain: i32, kind: i32 },
    /// Send a signal to a process, or to a group if the number is negative.
    Signal { process: i32, signal: i32 },
    /// Does anything listen at an end? The answer is 1 or 0.
    IsListening { side: Side },
}

impl LabRequest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = |kind: u8, side: u8, one: i32, other: i32| {
            [&[kind, side][..], &one.to_ne_bytes(), &other.to_ne_bytes()].concat()
        };
        match self {
            LabRequest::Start { side, is_apart, words } => {
                let mut message = vec![0, side.number(), u8::from(*is_apart)];
                for word in words {
                    message.extend_from_slice(word.as_bytes());
                    message.push(0);
                }
                message
            }
            LabRequest::Socket { side, domain, kind } => numbers(1, side.number(), *domain, *kind),
            LabRequest::Signal { process, signal } => numbers(2, 0, *process, *signal),
            LabRequest::IsListening { side } => vec![3, side.number()],
        }
    }

    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let (&kind, rest) = message.split_first()?;
        let (&side, rest) = rest.split_first()?;
        let number = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
        if kind == 2 {
            return Some(LabRequest::Signal { process: number(0)?, signal: number(4)? });
        }
        let side = Side::of_number(side)?;
        Some(match kind {
            0 => {
                let (&is_apart, words) = rest.split_first()?;
                let words = words.strip_suffix(b"\0")?.split(|byte| *byte == 0);
                let words = words.map(|word| OsString::from_vec(word.into())).collect();
                LabRequest::Start { side, is_apart: is_apart == 1, words }
            }
            1 => LabRequest::Socket { side, domain: number(0)?, kind: number(4)? },
            3 => LabRequest::IsListening { side },
            _ => return None,
        })
    }
}

/// Can a word of a command pass?
pub(super) fn is_word(word: &OsStr) -> bool {
    !word.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let words = ["sh", "-c", "", "é"].map(OsString::from).to_vec();
        for request in [
            LabRequest::Start { side: Side::Far, is_apart: true, words },
            LabRequest::Start { side: Side::Near, is_apart: false, words: vec!["".into()] },
            LabRequest::Socket { side: Side::Near, domain: 2, kind: 1 },
            LabRequest::Signal { process: -7, signal: 15 },
            LabRequest::IsListening { side: Side::Far },
        ] {
            assert_eq!(LabRequest::decode(&request.encode()), Some(request));
        }
        assert_eq!(LabRequest::decode(&[]), None);
        assert_eq!(LabRequest::decode(&[0, 9, 0]), None);
        assert_eq!(LabRequest::decode(&[2, 0, 1]), None);
    }
}
