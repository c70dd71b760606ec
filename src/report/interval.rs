//! An interval in a file of results, and the distributions in it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use resound_load::{Bounded, Bounds, Counts, Figure, Interval, Latency, LoadFailure};
use serde::{Deserialize, Serialize};

use super::codec::{Codec as _, Seconds, SummedSeconds};
use super::formats::CountsFormat;
use super::stream::BulkDirection;
use super::{PERCENTILES, encode};

/// How many bytes the distributions of a file may still take in memory.
pub(super) struct ByteBudget(pub(super) usize);

/// A part of a run, or all of it.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct IntervalPart {
    /// When it began, counted from `started`.
    #[serde(rename = "start_s", with = "Seconds")]
    start: Duration,
    /// Its length.
    #[serde(rename = "length_s", with = "Seconds")]
    length: Duration,
    #[serde(flatten, with = "CountsFormat")]
    counts: Counts,
    /// Messages that were planned and never sent because the generator itself was late.
    // Older versions did not tell them from others that were never sent.
    #[serde(default)]
    lagged: Option<u64>,
    /// Failures of all classes.
    errors: u64,
    /// Bits sent per second of it.
    #[serde(default)]
    bits_sent_per_s: f64,
    /// Bits received per second of it, within the time measured.
    #[serde(default)]
    bits_received_per_s: f64,
    /// The time without answers after failures, summed over all connections: from a failure to the
    /// next answer, if another failure came between, no answer came in time, or the wait took half
    /// a second.
    #[serde(default, rename = "outage_s", with = "SummedSeconds")]
    outage: Duration,
    /// The time spent waiting for answers that took much longer than most (ten times the median,
    /// and 10 ms at least), summed over all connections. The total and steps have it; 0 with a
    /// plan.
    #[serde(default, rename = "stall_s", with = "SummedSeconds")]
    stall: Duration,
    /// How long TCP's handshake took.
    connect: LatencyPart,
    /// How long TLS's handshake took, after that of TCP.
    #[serde(default)]
    handshake: LatencyPart,
    /// From the actual send to the last byte of the answer; of messages that were never answered,
    /// to the end of the run.
    service: BoundedPart,
    /// From the planned instant to the last byte of the answer; of messages that were never sent or
    /// never answered, to the end of the run. Empty in a closed loop.
    response: BoundedPart,
    /// From the planned instant to the actual send; of messages that were never sent, to the end of
    /// the run. Empty in a closed loop.
    lag: BoundedPart,
}

/// A distribution of times, in microseconds. Every value but `count` is null if it is empty.
#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LatencyPart {
    /// How many times there are.
    count: u64,
    min_us: Option<f64>,
    mean_us: Option<f64>,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    p99_9_us: Option<f64>,
    p99_99_us: Option<f64>,
    max_us: Option<f64>,
    /// The whole distribution in nanoseconds: HdrHistogram V2, compressed, base64. Add these to
    /// merge; never average percentiles.
    hdr: Option<String>,
}

/// A distribution of times among which some may be lower bounds.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct BoundedPart {
    #[serde(flatten)]
    all: LatencyPart,
    /// The lower bounds; left out if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<AtLeastPart>,
}

/// Lower bounds: the times of messages that were never sent or never answered, each of which waited
/// at least that long. They are in the distribution as well.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AtLeastPart {
    /// How many there are.
    count: u64,
    /// The figures of the whole distribution that may be higher in truth.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("items" = serde_json::json!({ "enum": FIGURES }))))]
    figures: Vec<String>,
    /// Their distribution, in the encoding of the whole one.
    hdr: Option<String>,
}

impl IntervalPart {
    pub(super) fn of(interval: &Interval) -> Result<Self> {
        let counts = interval.counts;
        Ok(Self {
            start: interval.start,
            length: interval.length,
            counts,
            lagged: Some(counts.lagged),
            errors: counts.errors(),
            bits_sent_per_s: BulkDirection::Sent.bits(interval).unwrap_or(0.0),
            bits_received_per_s: BulkDirection::Received.bits(interval).unwrap_or(0.0),
            outage: interval.outage,
            stall: interval.stall,
            connect: LatencyPart::of(Bounded::exact(&interval.connect))?,
            handshake: LatencyPart::of(Bounded::exact(&interval.handshake))?,
            service: BoundedPart::of(interval.service())?,
            response: BoundedPart::of(interval.response())?,
            lag: BoundedPart::of(interval.lag())?,
        })
    }

    /// The interval of a run, open loop or not, if it is consistent and within the budget.
    pub(super) fn decode(&self, is_open: bool, budget: &mut ByteBudget) -> Result<Interval> {
        let mut counts = Counts { lagged: self.lagged.unwrap_or(0), ..self.counts };
        ensure!(counts.errors() == self.errors, "the classes of the {} errors do not add up", self.errors);
        // A version that did not count unsent messages still counted the plan.
        if self.lagged.is_none() && is_open {
            counts.failures[LoadFailure::Unsent.index()] = counts.planned.saturating_sub(counts.sent);
        }
        let (service, service_bounds) = self.service.decode(budget).context("service")?;
        let (response, response_bounds) = self.response.decode(budget).context("response")?;
        let (lag, lag_bounds) = self.lag.decode(budget).context("lag")?;
        Ok(Interval {
            start: self.start,
            length: self.length,
            counts,
            outage: self.outage,
            stall: self.stall,
            connect: self.connect.decode(budget).context("connect")?,
            handshake: self.handshake.decode(budget).context("handshake")?,
            service,
            response,
            lag,
            bounds: Bounds { service: service_bounds, response: response_bounds, lag: lag_bounds },
        })
    }
}

/// The names of a distribution's figures.
const FIGURES: [&str; 8] = ["min_us", "mean_us", "p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"];

/// The figures of these names.
fn figures(times: Bounded<'_>) -> [Option<Figure>; 8] {
    let [p50, p90, p99, p99_9, p99_99] = PERCENTILES.map(|percent| times.percentile(percent));
    [times.min(), times.mean(), p50, p90, p99, p99_9, p99_99, times.max()]
}

impl LatencyPart {
    fn of(times: Bounded<'_>) -> Result<Self> {
        let us = |figure: Option<Figure>| figure.map(|figure| figure.time.as_nanos() as f64 / 1e3);
        let [min_us, mean_us, p50_us, p90_us, p99_us, p99_9_us, p99_99_us, max_us] = figures(times).map(us);
        let hdr = if times.all.is_empty() { None } else { Some(encode::encode(times.all)?) };
        let count = times.all.count();
        Ok(Self { count, min_us, mean_us, p50_us, p90_us, p99_us, p99_9_us, p99_99_us, max_us, hdr })
    }

    fn decode(&self, budget: &mut ByteBudget) -> Result<Latency> {
        histogram(self.hdr.as_deref(), self.count, budget)
    }
}

impl BoundedPart {
    fn of(times: Bounded<'_>) -> Result<Self> {
        let all = LatencyPart::of(times)?;
        if times.bounds.is_empty() {
            return Ok(Self { all, at_least: None });
        }
        let is_bound = |figure: Option<Figure>| figure.is_some_and(|figure| figure.is_bound);
        let bounds = FIGURES.into_iter().zip(figures(times)).filter(|(_, figure)| is_bound(*figure));
        let at_least = AtLeastPart {
            count: times.bounds.count(),
            figures: bounds.map(|(name, _)| name.into()).collect(),
            hdr: Some(encode::encode(times.bounds)?),
        };
        Ok(Self { all, at_least: Some(at_least) })
    }

    /// All times, and those that are lower bounds.
    fn decode(&self, budget: &mut ByteBudget) -> Result<(Latency, Latency)> {
        let bounds = match &self.at_least {
            Some(part) => histogram(part.hdr.as_deref(), part.count, budget)?,
            None => Latency::default(),
        };
        Ok((self.all.decode(budget)?, bounds))
    }
}

fn histogram(hdr: Option<&str>, count: u64, budget: &mut ByteBudget) -> Result<Latency> {
    let times = hdr.map_or(Ok(Latency::default()), encode::decode)?;
    ensure!(times.count() == count, "its histogram holds {} times and not {count}", times.count());
    budget.0 = budget.0.checked_sub(times.size()).context("its histograms are larger than those of any run")?;
    Ok(times)
}
