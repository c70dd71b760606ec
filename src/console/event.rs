//! The JSON log: one event a line.

use serde::Serialize;

use crate::proxied::ProxiedJson;
use crate::tls_summary::AgreedJson;

/// One line of the JSON log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum LogEvent {
    Started {
        address: String,
        /// Of a relay.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    Opened {
        conn: u64,
        peer: String,
        local: String,
        /// The proxy.
        #[serde(skip_serializing_if = "Option::is_none")]
        via: Option<Box<ProxiedJson>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<AgreedJson>,
    },
    /// A relay has connected a client to its target.
    #[serde(rename = "opened")]
    Relayed {
        conn: u64,
        peer: String,
        local: String,
        target: String,
        seconds: f64,
    },
    /// The target has not answered, and the client was reset.
    Unanswered {
        conn: u64,
        peer: String,
        target: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<&'static str>,
        detail: String,
    },
    /// A client of a relay and its target are disconnected.
    #[serde(rename = "closed")]
    Ended {
        conn: u64,
        peer: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        up: RelayedBytes,
        down: RelayedBytes,
        /// What ended the pair before both directions had their FIN.
        #[serde(skip_serializing_if = "Option::is_none")]
        ended_by: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        seconds: f64,
    },
    #[serde(rename = "stopped")]
    RelayStopped {
        connections: u64,
        unanswered: u64,
        bytes_up: u64,
        bytes_down: u64,
        cut: u64,
    },
    Certificate {
        how: &'static str,
        subject: String,
        names: Vec<String>,
        not_after: String,
        sha256: String,
    },
    Message {
        conn: u64,
        peer: String,
        bytes: usize,
        /// The message, if it is UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The message with escapes, if it is no UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        escaped: Option<String>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
    /// The previous message was the first of its connection that ended by a pause.
    Unterminated {
        conn: u64,
        peer: String,
        pause_ms: u64,
    },
    Closed {
        conn: u64,
        peer: String,
        reason: &'static str,
        /// The reason in words, unless the end was in order.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        messages: u64,
        bytes_in: u64,
        bytes_out: u64,
        seconds: f64,
    },
    Unopened {
        conn: u64,
        peer: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        via: Option<Box<ProxiedJson>>,
        reason: &'static str,
        /// The reason in words, such as the bytes that came instead of a header.
        detail: String,
    },
    Skipped {
        messages: u64,
        events: u64,
        lines: u64,
    },
    Draining {
        open: usize,
    },
    Stopped {
        connections: u64,
        messages: u64,
        bytes_in: u64,
        bytes_out: u64,
        closed: serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
        refused: serde_json::Map<String, serde_json::Value>,
    },
}

/// One direction of a relayed connection.
#[derive(Serialize)]
pub(super) struct RelayedBytes {
    pub(super) bytes: u64,
    pub(super) fin: bool,
}
