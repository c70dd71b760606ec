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
