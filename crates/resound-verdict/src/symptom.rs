//! [`Symptom`]: how a try on the path went wrong.

use std::fmt;
use std::io;
use std::time::Duration;

use resound::client::FailureClass;
use resound::tls::TlsFailure;

use crate::report::PathDirection;
use resound_probe::WrongBytes;

/// How the text of [`Symptom::Stalled`] begins.
pub(crate) const STALLED: &str = "nothing moved any more";

/// The alerts about a record that was changed on its way (RFC 8446, 6.2): unexpected_message,
/// bad_record_mac, record_overflow, illegal_parameter, decode_error, decrypt_error.
const BROKEN_RECORD: [u8; 6] = [10, 20, 22, 47, 50, 51];

/// How a try went wrong. The checks decide whose fault that is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Symptom {
    /// This machine could not do its part: no descriptor, no free port.
    Local(String),
    /// The address cannot be reached.
    NoConnection { class: FailureClass, after: Duration, text: String },
    /// The TLS handshake failed.
    NoTls(String),
    /// The TLS handshake ended, or stayed silent, in place of an answer to the ClientHello.
    HelloLost(NoHello),
    /// The connection was made, and then ended, or stayed silent, before the far end had said
    /// who it is.
    NoHello(NoHello),
    /// The far end cannot cooperate: another server or version answered.
    NotPlayed(String),
    /// A RST arrived that no end has sent.
    Reset { sent: u64, received: u64 },
    /// The far end received a RST that this end has not sent.
    FarReset { sent: u64, received: u64 },
    /// The stream ended too early, in order.
    Closed { sent: u64, received: u64 },
    /// The last bytes before an end in order are missing.
    Cut { received: u64, of: u64 },
    /// Bytes came after the last ones that a sender has sent before its FIN.
    Added { direction: PathDirection, received: u64, of: u64, wrong: WrongBytes },
    /// All bytes arrived, and the FIN after them never did.
    NoFin { bytes: u64 },
    /// Nothing moved any more for longer than retransmissions take.
    Stalled { sent: u64, acknowledged: Option<u64>, received: u64, wanted: u64 },
    /// Wrong bytes.
    Wrong(PathDirection, WrongBytes),
    /// A line between the ends was changed in this direction.
    Garbled(PathDirection),
    /// TLS found a record that was changed in this direction.
    BrokenRecord(PathDirection),
    /// The far end had sent the last byte that could provoke a RST before this end's RST.
    TooLate,
    /// The path answers one connection at a time, and what the far end has seen is asked for on a
    /// second one.
    NoSecondConnection,
    /// What the far end says of the session was cut off.
    AnswerCut { received: u64 },
    /// The far end says nothing of the session: its program ended, or another backend answered.
    Forgotten,
    /// Another server answered than on other connections, with these words.
    Stray(String),
    /// What one check alone looks for, in its words.
    Own(String),
}

/// How a connection went on that no far end has greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHello {
    /// It was reset before this end had sent anything.
    ResetAtOnce,
    /// It was closed before this end had sent anything.
    ClosedAtOnce,
    /// It was reset after the first bytes.
    Reset,
    /// It was closed after the first bytes.
    Closed,
    /// Nothing came.
    Silent,
}

impl Symptom {
    /// A failed read or write, after this many bytes.
    pub(crate) fn of(error: &io::Error, sent: u64, received: u64) -> Self {
        match FailureClass::of(error) {
            Some(FailureClass::Reset) => Self::Reset { sent, received },
            Some(FailureClass::Eof) => Self::Closed { sent, received },
            Some(FailureClass::Timeout | FailureClass::Unreachable) => {
                Self::Stalled { sent, acknowledged: None, received, wanted: 0 }
            }
            Some(FailureClass::Tls) => match TlsFailure::of_io(error) {
                Some(TlsFailure::Damaged | TlsFailure::Misbehaved | TlsFailure::NotTls) => {
                    Self::BrokenRecord(PathDirection::In)
                }
                Some(TlsFailure::Refused(alert)) if BROKEN_RECORD.contains(&alert) => {
                    Self::BrokenRecord(PathDirection::Out)
                }
                _ => Self::NoTls(error.to_string()),
            },
            _ => Self::Local(error.to_string()),
        }
    }

    /// The direction in which bytes were changed, if that is the matter.
    pub(crate) fn changed(&self) -> Option<PathDirection> {
        match self {
            Self::Wrong(direction, _) | Self::Garbled(direction) | Self::BrokenRecord(direction) => Some(*direction),
            _ => None,
        }
    }

    /// Whether a part of an answer had arrived, or a whole one that was changed.
    pub(crate) fn answer_had_begun(&self) -> bool {
        match self {
            Self::Reset { received, .. } | Self::Closed { received, .. } | Self::Stalled { received, .. } => {
                *received > 0
            }
            _ => self.changed().is_some(),
        }
    }

    /// Whether there was no connection, or none that a far end has greeted.
    pub(crate) fn never_reached_far_end(&self) -> bool {
        matches!(self, Self::NoConnection { .. } | Self::NoHello(_) | Self::HelloLost(_))
    }

    /// Whether this machine or the far end is to blame, and not the path.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Local(_) | Self::NotPlayed(_) | Self::Forgotten)
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(what) => write!(f, "this machine could not do its part: {what}"),
            Self::NoConnection { text, .. } => text.fmt(f),
            Self::NoTls(what) => write!(f, "the TLS handshake failed: {what}"),
            Self::HelloLost(how) => f.write_str(match how {
                NoHello::Reset | NoHello::ResetAtOnce => "the connection was reset in the TLS handshake",
                NoHello::Closed | NoHello::ClosedAtOnce => "the connection was closed in the TLS handshake",
                NoHello::Silent => "nothing answered the ClientHello of TLS",
            }),
            Self::NoHello(how) => how.fmt(f),
            Self::TooLate => f.write_str("the path is so slow that the far end had no bytes left to provoke a RST"),
            Self::NotPlayed(why) => write!(f, "the far end cannot play this: {why}"),
            Self::Reset { sent, received } => {
                write!(f, "a RST arrived, with {sent} bytes sent and {received} received")
            }
            Self::FarReset { sent, received } => {
                write!(f, "the far end received a RST, with {sent} bytes sent and {received} received here")
            }
            Self::Closed { sent, received } => {
                write!(f, "the stream ended early, with {sent} bytes sent and {received} received")
            }
            Self::Cut { received, of } => write!(f, "a FIN arrived, and only {received} of {of} bytes before it"),
            Self::Added { received, of, .. } => {
                write!(
                    f,
                    "before a FIN, {received} bytes arrived in place of {of}: something adds bytes to the last ones"
                )
            }
            Self::NoFin { bytes } => write!(f, "all {bytes} bytes arrived, and the FIN after them never did"),
            Self::Stalled { sent, acknowledged, received, wanted } => {
                write!(f, "{STALLED}: {sent} bytes sent")?;
                if let Some(acknowledged) = acknowledged {
                    write!(f, ", {acknowledged} acknowledged")?;
                }
                write!(f, ", {received} received")?;
                if *wanted > *received { write!(f, " of {wanted}") } else { Ok(()) }
            }
            Self::Wrong(direction, wrong) => write!(f, "on the way {direction}, {wrong}"),
            Self::Garbled(PathDirection::Both) => f.write_str("in both directions, lines of text were changed"),
            Self::Garbled(direction) => write!(f, "on the way {direction}, a line of text was changed"),
            Self::BrokenRecord(direction) => write!(f, "on the way {direction}, a TLS record was changed"),
            Self::AnswerCut { received } => {
                write!(f, "it is unknown what the far end saw: its answer ended after {received} bytes")
            }
            Self::Forgotten => f.write_str(
                "the far end does not know the connection any more: it started again, or another server answers",
            ),
            Self::NoSecondConnection => {
                f.write_str("the path answers one connection at a time: no second one could ask what arrived")
            }
            Self::Stray(words) => write!(f, "another server answered: {words}"),
            Self::Own(what) => what.fmt(f),
        }
    }
}

impl fmt::Display for NoHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResetAtOnce => "the connection was accepted, and reset before anything was sent",
            Self::ClosedAtOnce => "the connection was accepted, and closed before anything was sent",
            Self::Reset => "the connection was reset after the first line",
            Self::Closed => "the connection was closed after the first line, without an answer",
            Self::Silent => "nothing answered the first line",
        })
    }
}
