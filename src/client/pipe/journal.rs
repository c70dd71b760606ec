//! The events of `--json`. Times are in microseconds; bytes that are no text are in hexadecimal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::{Attempt, FailureClass, TcpInfo};
use resound_console::json::JsonObject;
use resound_console::tls_summary;

use crate::{exit, explain};

/// A failed attempt to connect to an address.
pub(super) fn attempt(attempt: &Attempt) -> JsonObject {
    JsonObject::event("attempt")
        .with("remote", &attempt.address)
        .with("class", FailureClass::of(&attempt.error).map(FailureClass::name))
        .with("message", attempt.error.to_string())
        .with("took_us", attempt.took.as_micros())
}

/// The connection is made.
pub(super) fn connected(stream: &Stream, took: Duration) -> JsonObject {
    JsonObject::event("connected")
        .with("remote", stream.peer().to_string())
        .with("local", stream.local().to_string())
        .with("took_us", took.as_micros())
        .with_object("tls", stream.tls().map(|secure| tls_summary::json(secure.info())))
}

/// The system took these bytes for sending.
pub(super) fn sent(bytes: &[u8]) -> JsonObject {
    with_data(JsonObject::event("sent"), bytes)
}

/// These bytes arrived.
pub(super) fn received(bytes: &[u8], since_sent: Option<Duration>) -> JsonObject {
    let since_sent_us = since_sent.map(|time| time.as_micros());
    with_data(JsonObject::event("received"), bytes).with_some("since_sent_us", since_sent_us)
}

fn with_data(event: JsonObject, bytes: &[u8]) -> JsonObject {
    let event = event.with("bytes", bytes.len());
    match std::str::from_utf8(bytes) {
        Ok(text) => event.with("text", text),
        Err(_) => event.with("hex", resound_probe::hex(bytes)),
    }
}

/// The result of the run.
pub(super) struct PipeOutcome {
    exit: u8,
    class: Option<&'static str>,
    message: Option<String>,
}

impl PipeOutcome {
    pub(super) fn of(result: &Result<ExitCode>) -> Self {
        match result {
            Ok(code) if *code == ExitCode::SUCCESS => Self { exit: 0, class: None, message: None },
            Ok(_) => Self { exit: exit::SIGNAL, class: None, message: Some("cut short by a signal".into()) },
            Err(error) => {
                let (exit, class, _) = explain::explain(error);
                Self { exit, class: class.map(FailureClass::name), message: Some(format!("{error:#}")) }
            }
        }
    }

    /// The connection has ended, in order or with a failure of this class.
    pub(super) fn closed(&self) -> JsonObject {
        JsonObject::event("closed").with("class", self.class)
    }

    /// The last line.
    pub(super) fn end(&self, sent: u64, received: u64, elapsed: Duration, tcp: Option<TcpInfo>) -> JsonObject {
        let end = JsonObject::event("end")
            .with("ok", self.exit == 0)
            .with("exit", self.exit)
            .with("class", self.class)
            .with("message", &self.message)
            .with("sent", sent)
            .with("received", received)
            .with("elapsed_us", elapsed.as_micros());
        let Some(tcp) = tcp else { return end.with("tcp", ()) };
        let path = JsonObject::default()
            .with("rtt_us", tcp.rtt.as_micros())
            .with("rtt_variation_us", tcp.rtt_variation.as_micros())
            .with("retransmits", tcp.retransmits);
        end.with_object("tcp", Some(path))
    }
}
