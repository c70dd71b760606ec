//! Rates per second.

use resound_load::{Mode, Record};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// What happened per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "RatesPart")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Rates {
    /// Messages answered within the time measured; in discard mode, messages sent.
    #[serde(rename = "messages_per_s", deserialize_with = "rate")]
    pub(crate) messages: f64,
    /// Messages sent.
    #[serde(rename = "sent_per_s", deserialize_with = "rate")]
    pub(crate) sent: f64,
    /// Connections made.
    #[serde(rename = "connections_per_s", deserialize_with = "rate")]
    pub(crate) connections: f64,
    #[serde(rename = "bytes_sent_per_s", deserialize_with = "rate")]
    pub(crate) bytes_sent: f64,
    #[serde(rename = "bytes_received_per_s", deserialize_with = "rate")]
    pub(crate) bytes_received: f64,
}

/// Rates per second. Those of generators that ran at once are added, each over its own time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RatesPart {
    /// Messages answered; in discard mode, messages sent.
    messages_per_s: f64,
    /// Messages sent.
    sent_per_s: f64,
    /// Connections made.
    connections_per_s: f64,
    /// Bytes sent.
    bytes_sent_per_s: f64,
    /// Bytes received within the time measured.
    bytes_received_per_s: f64,
    /// Bits sent.
    #[serde(default)]
    bits_sent_per_s: f64,
    /// Bits received within the time measured.
    #[serde(default)]
    bits_received_per_s: f64,
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let rate = f64::deserialize(from)?;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err(D::Error::custom("a rate is negative")) }
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

    /// Adds other rates, each times `weight`.
    pub(crate) fn add(&mut self, other: &Self, weight: f64) {
        self.messages += other.messages * weight;
        self.sent += other.sent * weight;
        self.connections += other.connections * weight;
        self.bytes_sent += other.bytes_sent * weight;
        self.bytes_received += other.bytes_received * weight;
    }
}
