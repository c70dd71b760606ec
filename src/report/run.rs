//! A run as reports see it: the record of one generator, or the merged records of several.

use std::time::{Duration, SystemTime};

use resound_load::{Bounded, Counts, Generator, Interval, Latency, Mode, Record, Shape};
use serde::{Deserialize, Serialize};

use super::codec::{Codec as _, DateTime, Seconds};
use super::formats::GeneratorFormat;
use super::outcome::SavedPart;
use super::rates::Rates;

/// The input of all reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) record: Record,
    /// Rates per second. Those of generators that ran at once are added, each over its own time.
    pub(crate) rates: Rates,
    /// The generators, one or more.
    pub(crate) sources: Vec<RunSource>,
    /// The verdict of a saved run when it was saved.
    pub(crate) judged: Option<SavedPart>,
    /// The run ended early because the reader of its output closed it, or a write failed: this is
    /// no failure.
    pub(crate) unread: bool,
    /// The number of intervals of each repetition, in order.
    pub(crate) repetitions: Vec<usize>,
}

/// A generator's part in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct RunSource {
    /// The file it came from; absent if the run has just ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(flatten, with = "GeneratorFormat")]
    pub(crate) generator: Generator,
    /// The seed of its messages.
    pub(crate) seed: u64,
    /// When it began to measure.
    #[serde(with = "DateTime")]
    pub(crate) started: SystemTime,
    /// The time it measured.
    #[serde(rename = "elapsed_s", with = "Seconds")]
    pub(crate) elapsed: Duration,
    pub(crate) rates: Rates,
}

/// The kinds of times that an interval has, the most important first.
pub(crate) const KINDS: [&str; 5] = ["response", "service", "lag", "connect", "handshake"];

/// The times of one of the [`KINDS`].
pub(crate) fn times<'a>(interval: &'a Interval, kind: &str) -> Bounded<'a> {
    match kind {
        "response" => interval.response(),
        "lag" => interval.lag(),
        "connect" => Bounded::exact(&interval.connect),
        "handshake" => Bounded::exact(&interval.handshake),
        _ => interval.service(),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Run {
    /// The run of one generator.
    pub(crate) fn of(record: Record) -> Self {
        let rates = Rates::of(&record);
        let source = RunSource {
            file: None,
            generator: record.generator.clone(),
            seed: record.settings.seed,
            started: record.started,
            elapsed: record.elapsed,
            rates,
        };
        Self { record, rates, sources: vec![source], judged: None, repetitions: Vec::new(), unread: false }
    }

    /// The most important times: response times with a plan, since they include the wait for a late
    /// send, otherwise service times.
    pub(crate) fn main(&self) -> (&'static str, Bounded<'_>) {
        let total = &self.record.total;
        let name = match (total.response.is_empty(), total.service.is_empty() && !total.connect.is_empty()) {
            (false, _) => "response",
            (true, true) => "connect",
            (true, false) => "service",
        };
        (name, times(total, name))
    }

    /// The share of connection time without answers.
    pub(crate) fn silence(&self) -> f64 {
        let total = &self.record.total;
        self.share(total.outage.saturating_add(total.stall))
    }

    /// The share of the time of all connections.
    fn share(&self, time: Duration) -> f64 {
        let (record, n) = (&self.record, self.sources.len().max(1) as f64);
        let each = match self.repetitions.is_empty() {
            true => self.sources.iter().map(|source| source.elapsed.as_secs_f64()).sum::<f64>() / n,
            false => record.elapsed.as_secs_f64(),
        };
        let all = each * record.settings.most_connections() as f64;
        if all > 0.0 { (time.as_secs_f64() / all).min(1.0) } else { 0.0 }
    }

    /// Estimates how many messages besides `messages` would have been sent without the outages.
    /// With a plan all messages are known.
    pub(crate) fn unplanned(&self, messages: u64) -> u64 {
        self.estimate_omitted(messages, self.record.total.outage)
    }

    /// Estimates the messages besides `messages` that would have been sent without the stalls, and
    /// their waits: each at most as long as the message that met the stall.
    pub(crate) fn delayed(&self, messages: u64) -> Latency {
        let stalls = self.record.total.stalls();
        let count = self.estimate_omitted(messages, self.record.total.stall);
        let weight = |time: u64, count: u64| time as f64 * count as f64;
        let all: f64 = stalls.buckets().map(|bucket| weight(bucket.to, bucket.count)).sum();
        // A stall without a time, because its answer was wrong or missing, may have had any length.
        if all <= 0.0 {
            return Latency::of([(nanos(self.record.elapsed), count)]);
        }
        let part = |time, n| (count as f64 * weight(time, n) / all).ceil() as u64;
        Latency::of(stalls.buckets().map(|bucket| (bucket.to, part(bucket.to, bucket.count))))
    }

    /// Estimates how many further connections would have been made without the outages and stalls,
    /// where each connection follows the one before it.
    pub(crate) fn unattempted(&self) -> u64 {
        let total = &self.record.total;
        if self.record.settings.shape != Shape::Connect {
            return 0;
        }
        let attempts = total.counts.opened.saturating_add(total.counts.unconnected);
        self.estimate_omitted(attempts, total.outage.saturating_add(total.stall))
    }

    fn estimate_omitted(&self, messages: u64, time: Duration) -> u64 {
        let share = self.share(time);
        if self.record.settings.is_open() || share <= 0.0 {
            return 0;
        }
        (messages.max(1) as f64 * share / (1.0 - self.silence())) as u64
    }

    /// What would show the messages that silence has hidden.
    pub(crate) fn settles_silence(&self) -> &'static str {
        match self.record.settings.shape {
            Shape::Closed | Shape::Open => "a plan (--rate), which counts each message that cannot be sent",
            Shape::Connect | Shape::Stream | Shape::Ramp => "a run in which the target answers all the time",
        }
    }

    /// Messages whose response times hold a delay of the generator's own making.
    pub(crate) fn own_delays(&self) -> u64 {
        let total = &self.record.total;
        let lags = total.lag.without(&total.bounds.lag);
        let is_late = |from: u64| u128::from(from) >= Counts::LATE.as_nanos();
        let late =
            lags.buckets().filter(|bucket| is_late(bucket.from)).fold(0, |sum: u64, it| sum.saturating_add(it.count));
        late.saturating_sub(total.counts.held).saturating_add(total.counts.lagged)
    }

    /// Returns whether the target answers.
    pub(crate) fn expects_answers(&self) -> bool {
        self.record.settings.mode != Mode::Discard
    }

    /// Returns whether there were only failures: no connection, no message and no answer.
    pub(crate) fn had_only_failures(&self) -> bool {
        let counts = &self.record.total.counts;
        counts.errors() > 0 && counts.opened == 0 && counts.sent == 0 && counts.bytes_received == 0
    }

    /// Bytes per second that arrived: at the generator, or in discard mode at the peer's system.
    pub(crate) fn goodput(&self) -> f64 {
        if self.expects_answers() { self.rates.bytes_received } else { self.rates.bytes_sent }
    }
}
