//! The results as JSON, described by `schema/load.schema.json`. Names have their units; times count
//! from the start of measuring.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use resound_load::{Interval, Settings};
use serde::{Deserialize, Serialize};

use super::codec::{Codec as _, DateTime, Seconds};
use super::comparison::Compared;
use super::formats::{FailurePart, SettingsFormat};
use super::interval::IntervalPart;
use super::outcome::{GateOutcome, SavedPart, VerdictPart};
use super::rates::Rates;
use super::run::{Run, RunSource};
use super::{merge, notes};

/// The version of the format. Another number means that old readers would misread it.
pub(crate) const FORMAT: &str = "resound-load/1";

/// A whole run.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document {
    /// The version of the format. Another number means that old readers would misread it.
    #[cfg_attr(test, schemars(extend("const" = FORMAT)))]
    pub(crate) format: String,
    /// The kind of object.
    #[cfg_attr(test, schemars(with = "String", extend("const" = "result")))]
    pub(crate) event: LineEvent,
    #[serde(with = "SettingsFormat")]
    pub(crate) settings: Settings,
    /// When measuring began.
    #[serde(with = "DateTime")]
    pub(crate) started: SystemTime,
    /// The time before `started`, which is in none of the figures.
    #[serde(rename = "warm_up_s", with = "Seconds")]
    pub(crate) warm_up: Duration,
    /// The time measured.
    #[serde(rename = "elapsed_s", with = "Seconds")]
    pub(crate) elapsed: Duration,
    /// A signal ended the run early.
    pub(crate) cut_short: bool,
    pub(crate) rates: Rates,
    pub(crate) total: IntervalPart,
    pub(crate) verdict: VerdictPart,
    /// The first failures.
    #[cfg_attr(test, schemars(length(max = 100)))]
    pub(super) failures: Vec<FailurePart>,
    /// Facts that a reader needs to judge the figures.
    pub(crate) warnings: Vec<String>,
    /// The generators of the load.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(crate) generators: Vec<RunSource>,
    /// The steps of a ramp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved: Option<SavedPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) merged: Option<MergedPart>,
    /// The number of intervals of each repetition, if the runs of several files repeat one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) repetitions: Vec<usize>,
    /// About a thousand intervals at most; in long runs neighbours are joined.
    pub(crate) intervals: Vec<IntervalPart>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineEvent {
    Interval,
    Result,
}

/// An interval, while the run goes on.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct IntervalLine {
    /// The version of the format.
    #[cfg_attr(test, schemars(extend("const" = FORMAT)))]
    format: &'static str,
    /// The kind of object.
    #[cfg_attr(test, schemars(with = "String", extend("const" = "interval")))]
    event: LineEvent,
    #[serde(flatten)]
    interval: IntervalPart,
}

/// When several generators ran, and how their rates were merged.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct MergedPart {
    /// The time in which all of them ran.
    #[serde(rename = "together_s", with = "Seconds")]
    together: Duration,
    /// The time in which any of them ran.
    #[serde(rename = "covered_s", with = "Seconds")]
    covered: Duration,
    rates: RatesAre,
}

/// How rates were merged.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum RatesAre {
    /// The generators ran at once: their rates are added.
    Added,
    /// They did not: the rates are averages over the time in which any of them ran.
    OverCoveredTime,
    /// They repeat one run: the rates are averages over the sum of their times.
    OverAllTime,
}

/// A step of a ramp.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StepPart {
    /// Messages per second, or connections.
    #[cfg_attr(test, schemars(range(min = 0.0)))]
    pub(crate) level: f64,
    /// The condition that was true, with the value measured.
    pub(crate) broken: Option<String>,
    #[serde(flatten)]
    pub(crate) total: IntervalPart,
}

impl Document {
    pub(crate) fn of(run: &Run, outcomes: &[GateOutcome], exit: u8) -> Result<Self> {
        let record = &run.record;
        let intervals = record.intervals.iter().map(IntervalPart::of).collect::<Result<_>>()?;
        let steps = record.steps.iter().map(|step| {
            Ok(StepPart { level: step.level, broken: step.broken.clone(), total: IntervalPart::of(&step.total)? })
        });
        Ok(Self {
            format: FORMAT.into(),
            event: LineEvent::Result,
            settings: record.settings.clone(),
            started: record.started,
            warm_up: record.warm_up,
            elapsed: record.elapsed,
            cut_short: record.cut_short,
            rates: run.rates,
            total: IntervalPart::of(&record.total)?,
            verdict: VerdictPart::of(outcomes, exit),
            failures: record.failures.iter().cloned().map(FailurePart).collect(),
            warnings: notes::all(run),
            generators: run.sources.clone(),
            steps: steps.collect::<Result<_>>()?,
            comparison: None,
            saved: run.judged.clone(),
            merged: MergedPart::of(run),
            repetitions: run.repetitions.clone(),
            intervals,
        })
    }
}

impl IntervalLine {
    pub(crate) fn of(interval: &Interval) -> Result<Self> {
        Ok(Self { format: FORMAT, event: LineEvent::Interval, interval: IntervalPart::of(interval)? })
    }
}

impl MergedPart {
    fn of(run: &Run) -> Option<Self> {
        let sources = &run.sources;
        let rates = match run.repetitions.is_empty() {
            false => RatesAre::OverAllTime,
            true if merge::ran_at_once(sources) => RatesAre::Added,
            true => RatesAre::OverCoveredTime,
        };
        (sources.len() > 1).then(|| Self {
            together: merge::together(sources).0,
            covered: merge::covered(sources),
            rates,
        })
    }
}
