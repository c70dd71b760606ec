//! The part of the results that an interval is, and the distributions in it.

use std::time::Duration;

use anyhow::Result;
use resound_load::{Bounded, Fault, Figure, Interval, Latency};
use serde::{Deserialize, Serialize};

use super::encode;
use super::stream::BulkDirection;

#[derive(Serialize, Deserialize)]
pub(crate) struct IntervalPart {
    pub(crate) start_s: f64,
    pub(crate) length_s: f64,
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    #[serde(default)]
    pub(crate) held: u64,
    /// Nothing of a version that did not tell who was at fault for what was never sent.
    #[serde(default)]
    pub(crate) lagged: Option<u64>,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) unanswered: u64,
    pub(crate) verified: u64,
    #[serde(default)]
    pub(crate) by_kernel: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_late: u64,
    /// Of those that came in time; not read again.
    #[serde(default)]
    pub(crate) bits_sent_per_s: f64,
    #[serde(default)]
    pub(crate) bits_received_per_s: f64,
    pub(crate) opened: u64,
    #[serde(default)]
    pub(crate) unconnected: u64,
    #[serde(default)]
    pub(crate) silent: u64,
    #[serde(default)]
    pub(crate) outage_s: f64,
    #[serde(default)]
    pub(crate) stall_s: f64,
    pub(crate) closed: u64,
    pub(crate) errors: u64,
    /// By class; those that did not happen are left out.
    pub(crate) errors_by_class: std::collections::BTreeMap<String, u64>,
    pub(crate) connect: LatencyPart,
    #[serde(default)]
    pub(crate) handshake: LatencyPart,
    pub(crate) service: LatencyPart,
    pub(crate) response: LatencyPart,
    pub(crate) lag: LatencyPart,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct LatencyPart {
    pub(crate) count: u64,
    pub(crate) min_us: Option<f64>,
    pub(crate) mean_us: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p90_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p99_9_us: Option<f64>,
    pub(crate) p99_99_us: Option<f64>,
    pub(crate) max_us: Option<f64>,
    /// HdrHistogram V2, compressed, base64, of nanoseconds; null where there is nothing.
    pub(crate) hdr: Option<String>,
    /// Those that are lower bounds, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<AtLeastPart>,
}

/// Times of messages of which nothing came, each known to be at least that.
#[derive(Serialize, Deserialize)]
pub(crate) struct AtLeastPart {
    pub(crate) count: u64,
    /// Which of the figures may be more in truth.
    #[serde(default)]
    pub(crate) figures: Vec<String>,
    pub(crate) hdr: Option<String>,
}

impl IntervalPart {
    pub(super) fn of(interval: &Interval) -> Result<Self> {
        let counts = &interval.counts;
        let by_class = Fault::ALL.iter().zip(counts.failures).filter(|(_, n)| *n > 0);
        Ok(Self {
            start_s: interval.start.as_secs_f64(),
            length_s: interval.length.as_secs_f64(),
            planned: counts.planned,
            sent: counts.sent,
            held: counts.held,
            lagged: Some(counts.lagged),
            received: counts.received,
            late: counts.late,
            unanswered: counts.unanswered,
            verified: counts.verified,
            by_kernel: counts.by_kernel,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            bytes_late: counts.bytes_late,
            bits_sent_per_s: BulkDirection::Sent.bits(interval).unwrap_or(0.0),
            bits_received_per_s: BulkDirection::Received.bits(interval).unwrap_or(0.0),
            opened: counts.opened,
            unconnected: counts.unconnected,
            silent: counts.silent,
            outage_s: interval.outage.as_secs_f64(),
            stall_s: interval.stall.as_secs_f64(),
            closed: counts.closed,
            errors: counts.errors(),
            errors_by_class: by_class.map(|(class, n)| (class.name().into(), n)).collect(),
            connect: LatencyPart::of(&interval.connect)?,
            handshake: LatencyPart::of(&interval.handshake)?,
            service: LatencyPart::bounded(interval.service())?,
            response: LatencyPart::bounded(interval.response())?,
            lag: LatencyPart::bounded(interval.lag())?,
        })
    }
}

impl LatencyPart {
    fn of(times: &Latency) -> Result<Self> {
        let us = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1e3);
        let percentile = |percent| us(times.percentile(percent));
        Ok(Self {
            count: times.count(),
            min_us: us(times.min()),
            mean_us: us(times.mean()),
            p50_us: percentile(50.0),
            p90_us: percentile(90.0),
            p99_us: percentile(99.0),
            p99_9_us: percentile(99.9),
            p99_99_us: percentile(99.99),
            max_us: us(times.max()),
            hdr: if times.is_empty() { None } else { Some(encode::encode(times)?) },
            at_least: None,
        })
    }

    fn bounded(times: Bounded<'_>) -> Result<Self> {
        let mut part = Self::of(times.all)?;
        if times.bounds.is_empty() {
            return Ok(part);
        }
        let percentile = |percent| times.percentile(percent);
        let figures = [
            ("min_us", times.min()),
            ("mean_us", times.mean()),
            ("p50_us", percentile(50.0)),
            ("p90_us", percentile(90.0)),
            ("p99_us", percentile(99.0)),
            ("p99_9_us", percentile(99.9)),
            ("p99_99_us", percentile(99.99)),
            ("max_us", times.max()),
        ];
        let is_bound = |figure: &Option<Figure>| figure.is_some_and(|figure| figure.is_bound);
        part.at_least = Some(AtLeastPart {
            count: times.bounds.count(),
            figures: figures.iter().filter(|(_, figure)| is_bound(figure)).map(|(name, _)| (*name).into()).collect(),
            hdr: Some(encode::encode(times.bounds)?),
        });
        Ok(part)
    }
}
