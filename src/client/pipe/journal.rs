//! `--json`: one event a line.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::{Attempt, FailureClass, TcpInfo};
use serde::Serialize;
use tokio::time::Instant;

use crate::tls_summary::AgreedJson;
use crate::{exit, explain, json};

/// Formats events, each with its time of day.
pub(super) struct Journal {
    start: Instant,
}

/// An event. Times are in microseconds; bytes that are no text are in hexadecimal.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum JournalEvent<'a> {
    /// A failed attempt to connect to an address.
    Attempt { remote: &'a str, class: Option<&'static str>, message: String, took_us: u128 },
    /// The connection is made.
    Connected {
        remote: String,
        local: String,
        took_us: u128,
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<AgreedJson>,
    },
    /// The system took these bytes for sending.
    Sent {
        bytes: usize,
        #[serde(flatten)]
        data: Data<'a>,
    },
    /// These bytes arrived.
    Received {
        bytes: usize,
        #[serde(flatten)]
        data: Data<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        since_sent_us: Option<u128>,
    },
    /// The server has closed, and stdin was silent for this time without ending: later input is not
    /// sent.
    GivenUp { stdin_silent_us: u128 },
    /// One side will send no more.
    Eof { side: Side },
    /// The connection has ended, in order or with a failure of this class.
    Closed { class: Option<&'static str> },
    /// The last line: the result of the run.
    End {
        ok: bool,
        exit: u8,
        class: Option<&'static str>,
        message: Option<String>,
        sent: u64,
        received: u64,
        elapsed_us: u128,
        tcp: Option<Tcp>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Data<'a> {
    Text(&'a str),
    Hex(String),
}

impl<'a> Data<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Local,
    Remote,
}

#[derive(Serialize)]
struct Tcp {
    rtt_us: u128,
    rtt_variation_us: u128,
    retransmits: u32,
}

impl From<TcpInfo> for Tcp {
    fn from(info: TcpInfo) -> Self {
        Self {
            rtt_us: info.rtt.as_micros(),
            rtt_variation_us: info.rtt_variation.as_micros(),
            retransmits: info.retransmits,
        }
    }
}

/// The result of the run.
pub(super) struct PipeOutcome {
    pub(super) exit: u8,
    pub(super) class: Option<FailureClass>,
    pub(super) message: Option<String>,
}

impl PipeOutcome {
    pub(super) fn of(result: &Result<ExitCode>) -> Self {
        match result {
            Ok(code) if *code == ExitCode::SUCCESS => Self { exit: 0, class: None, message: None },
            Ok(_) => Self { exit: exit::SIGNAL, class: None, message: Some("cut short by a signal".into()) },
            Err(error) => {
                let (exit, class, _) = explain::explain(error);
                Self { exit, class, message: Some(format!("{error:#}")) }
            }
        }
    }
}

impl Journal {
    pub(super) fn new(start: Instant) -> Self {
        Self { start }
    }

    pub(super) fn attempt(&self, attempt: &Attempt) -> Vec<u8> {
        json::line(&JournalEvent::Attempt {
            remote: &attempt.address,
            class: FailureClass::of(&attempt.error).map(FailureClass::name),
            message: attempt.error.to_string(),
            took_us: attempt.took.as_micros(),
        })
    }

    pub(super) fn connected(&self, stream: &Stream) -> Vec<u8> {
        let (remote, local) = (stream.peer().to_string(), stream.local().to_string());
        let tls = stream.tls().map(|secure| secure.info().into());
        json::line(&JournalEvent::Connected { remote, local, took_us: self.start.elapsed().as_micros(), tls })
    }

    pub(super) fn sent(&self, bytes: &[u8]) -> Vec<u8> {
        json::line(&JournalEvent::Sent { bytes: bytes.len(), data: Data::of(bytes) })
    }

    pub(super) fn received(&self, bytes: &[u8], since_sent: Option<Duration>) -> Vec<u8> {
        let since_sent_us = since_sent.map(|time| time.as_micros());
        json::line(&JournalEvent::Received { bytes: bytes.len(), data: Data::of(bytes), since_sent_us })
    }

    pub(super) fn given_up(&self, silent: Duration) -> Vec<u8> {
        json::line(&JournalEvent::GivenUp { stdin_silent_us: silent.as_micros() })
    }

    pub(super) fn eof(&self, side: Side) -> Vec<u8> {
        json::line(&JournalEvent::Eof { side })
    }

    pub(super) fn closed(&self, class: Option<FailureClass>) -> Vec<u8> {
        json::line(&JournalEvent::Closed { class: class.map(FailureClass::name) })
    }

    pub(super) fn end(&self, outcome: PipeOutcome, sent: u64, received: u64, tcp: Option<TcpInfo>) -> Vec<u8> {
        json::line(&JournalEvent::End {
            ok: outcome.exit == 0,
            exit: outcome.exit,
            class: outcome.class.map(FailureClass::name),
            message: outcome.message,
            sent,
            received,
            elapsed_us: self.start.elapsed().as_micros(),
            tcp: tcp.map(Tcp::from),
        })
    }
}
