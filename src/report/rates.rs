//! Rates per second.

use resound_load::{Mode, Record};
use serde::{Deserialize, Serialize};

use super::codec::{Codec as _, Rate};

/// What happened per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "RatesPart", into = "RatesPart")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Rates {
    /// Messages answered within the time measured; in discard mode, messages sent.
    pub(crate) messages: f64,
    /// Messages sent.
    pub(crate) sent: f64,
    /// Connections made.
    pub(crate) connections: f64,
    pub(crate) bytes_sent: f64,
    pub(crate) bytes_received: f64,
}

/// Rates per second. Those of generators that ran at once are added, each over its own time.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RatesPart {
    /// Messages answered; in discard mode, messages sent.
    #[serde(with = "Rate")]
    messages_per_s: f64,
    /// Messages sent.
    #[serde(with = "Rate")]
    sent_per_s: f64,
    /// Connections made.
    #[serde(with = "Rate")]
    connections_per_s: f64,
    /// Bytes sent.
    #[serde(with = "Rate")]
    bytes_sent_per_s: f64,
    /// Bytes received within the time measured.
    #[serde(with = "Rate")]
    bytes_received_per_s: f64,
    /// Bits sent.
    #[serde(default)]
    bits_sent_per_s: f64,
    /// Bits received within the time measured.
    #[serde(default)]
    bits_received_per_s: f64,
}

impl From<Rates> for RatesPart {
    fn from(rates: Rates) -> Self {
        Self {
            messages_per_s: rates.messages,
            sent_per_s: rates.sent,
            connections_per_s: rates.connections,
            bytes_sent_per_s: rates.bytes_sent,
            bytes_received_per_s: rates.bytes_received,
            bits_sent_per_s: rates.bytes_sent * 8.0,
            bits_received_per_s: rates.bytes_received * 8.0,
        }
    }
}

impl From<RatesPart> for Rates {
    fn from(part: RatesPart) -> Self {
        Self {
            messages: part.messages_per_s,
            sent: part.sent_per_s,
            connections: part.connections_per_s,
            bytes_sent: part.bytes_sent_per_s,
            bytes_received: part.bytes_received_per_s,
        }
    }
}

impl Rates {
    pub(crate) fn of(record: &Record) -> Self {
        let seconds = record.elapsed.as_secs_f64();
        let counts = &record.total.counts;
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let has_answers = record.settings.mode != Mode::Discard;
        Self {
            messages: per_second(if has_answers { counts.in_time() } else { counts.sent }),
            sent: per_second(counts.sent),
            connections: per_second(counts.opened),
            bytes_sent: per_second(counts.bytes_sent),
            bytes_received: per_second(counts.bytes_in_time()),
        }
    }

    pub(crate) fn scaled(&self, by: f64) -> Self {
        Self {
            messages: self.messages * by,
            sent: self.sent * by,
            connections: self.connections * by,
            bytes_sent: self.bytes_sent * by,
            bytes_received: self.bytes_received * by,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.sent += other.sent;
        self.connections += other.connections;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}
