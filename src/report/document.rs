//! The results as JSON: `schema/load.schema.json` describes it. Names say their units; times are counted from the start of measuring.
//!
//! These types mirror the library's, which stays free of serialisation: a file format has a version and keeps its promises to files that are years old,
//! whatever becomes of the types in memory.

use anyhow::Result;
use resound_load::{Generator, Interval, RampSteps, Security, Settings, Sizes, Timestamps};
use serde::{Deserialize, Serialize};

use super::compare::Compared;
use super::interval::IntervalPart;
use super::outcome::{GateOutcome, Judgement};
use super::run::{Rates, Run, RunSource, SavedVerdict};
use super::stream::BulkDirection;
use super::{merge, notes};

/// What `format` says; another number means that old readers would misread it.
pub(crate) const FORMAT: &str = "resound-load/1";

#[derive(Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) format: String,
    pub(crate) event: IntervalEvent,
    pub(crate) settings: SettingsPart,
    pub(crate) started: String,
    pub(crate) warm_up_s: f64,
    pub(crate) elapsed_s: f64,
    pub(crate) cut_short: bool,
    pub(crate) rates: RatesPart,
    pub(crate) total: IntervalPart,
    /// What was asked of the results, and whether they passed.
    pub(crate) verdict: VerdictPart,
    pub(crate) failures: Vec<FailurePart>,
    pub(crate) warnings: Vec<String>,
    pub(crate) generators: Vec<GeneratorPart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
    /// Of a saved run: its verdict when it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) saved: Option<SavedPart>,
    /// Of several generators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) merged: Option<MergedPart>,
    /// Of repetitions of one run: how many intervals each of them has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) repetitions: Vec<usize>,
    pub(crate) intervals: Vec<IntervalPart>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntervalEvent {
    Interval,
    Result,
}

/// A line of `--json --interval`.
#[derive(Serialize)]
pub(crate) struct IntervalLine {
    format: &'static str,
    event: IntervalEvent,
    #[serde(flatten)]
    interval: IntervalPart,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SettingsPart {
    pub(crate) shape: String,
    pub(crate) target: String,
    pub(crate) mode: String,
    pub(crate) connections: u64,
    pub(crate) depth: u64,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) arrivals: String,
    pub(crate) size: SizesPart,
    pub(crate) duration_s: Option<f64>,
    pub(crate) messages: Option<u64>,
    pub(crate) messages_per_connection: Option<u64>,
    pub(crate) direction: Option<String>,
    pub(crate) ramp: Option<RampPart>,
    pub(crate) seed: u64,
    pub(crate) verify: bool,
    pub(crate) think_time_s: f64,
    pub(crate) connect_rate_per_s: Option<f64>,
    pub(crate) busy_poll_s: f64,
    /// Of a version before there were others.
    #[serde(default = "clock")]
    pub(crate) timestamps: String,
    pub(crate) interval_s: f64,
    #[serde(default)]
    pub(crate) tls: Option<TlsPart>,
    #[serde(default)]
    pub(crate) proxy: Option<u8>,
    pub(crate) command: String,
}

/// The TLS of a run; what was agreed on is of its first connection, and null where there was none.
#[derive(Serialize, Deserialize)]
pub(crate) struct TlsPart {
    pub(crate) checked: bool,
    pub(crate) resumes: bool,
    pub(crate) version: Option<String>,
    pub(crate) cipher_suite: Option<String>,
    pub(crate) group: Option<String>,
}

/// Levels are messages per second or connections, whichever `raises` says.
#[derive(Serialize, Deserialize)]
pub(crate) struct RampPart {
    pub(crate) raises: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) by: f64,
    pub(crate) every_s: f64,
    pub(crate) until: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum SizesPart {
    #[serde(rename = "fixed_bytes")]
    Fixed(u64),
    #[serde(rename = "range_bytes")]
    Range([u64; 2]),
    /// Bytes and weight.
    #[serde(rename = "weighted_bytes")]
    Weighted(Vec<(u64, f64)>),
}

fn clock() -> String {
    Timestamps::Clock.name().into()
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RatesPart {
    pub(crate) messages_per_s: f64,
    pub(crate) sent_per_s: f64,
    pub(crate) connections_per_s: f64,
    pub(crate) bytes_sent_per_s: f64,
    pub(crate) bytes_received_per_s: f64,
    /// The same in bits; not read again.
    #[serde(default)]
    pub(crate) bits_sent_per_s: f64,
    #[serde(default)]
    pub(crate) bits_received_per_s: f64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct VerdictPart {
    pub(crate) pass: bool,
    pub(crate) exit: u8,
    pub(crate) gates: Vec<GatePart>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SavedPart {
    pub(crate) verdict: VerdictPart,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
}

/// When several generators ran, and what that makes of their rates.
#[derive(Serialize, Deserialize)]
pub(crate) struct MergedPart {
    /// All of them at once.
    pub(crate) together_s: f64,
    /// Any of them.
    pub(crate) covered_s: f64,
    pub(crate) rates: RatesAre,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RatesAre {
    /// The generators ran at once.
    Added,
    /// They did not: the rates are those of all the time in which any of them ran.
    OverCoveredTime,
    /// They are repetitions of one run: the rates are those of all their time.
    OverAllTime,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct GatePart {
    /// It fails the run when this is true.
    pub(crate) fail_if: String,
    pub(crate) broken: bool,
    /// Nothing of a version that knew only whether it was broken.
    #[serde(default)]
    pub(crate) verdict: Option<Judgement>,
    pub(crate) measured: String,
    pub(crate) value: Option<f64>,
    pub(crate) unit: String,
    /// Where it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct FailurePart {
    pub(crate) class: String,
    pub(crate) at_s: f64,
    pub(crate) connection: u64,
    pub(crate) sequence: Option<u64>,
    pub(crate) what: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct GeneratorPart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    pub(crate) seed: u64,
    pub(crate) host: String,
    pub(crate) version: String,
    pub(crate) engine: String,
    pub(crate) workers: u64,
    pub(crate) cpu_user_s: f64,
    pub(crate) cpu_system_s: f64,
    pub(crate) started: String,
    pub(crate) elapsed_s: f64,
    pub(crate) rates: RatesPart,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StepPart {
    pub(crate) level: f64,
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
            event: IntervalEvent::Result,
            settings: SettingsPart::of(&record.settings),
            started: time(record.started),
            warm_up_s: record.warm_up.as_secs_f64(),
            elapsed_s: record.elapsed.as_secs_f64(),
            cut_short: record.cut_short,
            rates: RatesPart::of(&run.rates),
            total: IntervalPart::of(&record.total)?,
            verdict: VerdictPart::of(outcomes, exit),
            failures: record
                .failures
                .iter()
                .map(|failure| FailurePart {
                    class: failure.class.name().into(),
                    at_s: failure.at.as_secs_f64(),
                    connection: failure.connection,
                    sequence: failure.sequence,
                    what: failure.what.clone(),
                })
                .collect(),
            warnings: notes::all(run),
            generators: run.sources.iter().map(GeneratorPart::of).collect(),
            steps: steps.collect::<Result<_>>()?,
            comparison: None,
            saved: run.judged.as_ref().map(SavedPart::of),
            merged: MergedPart::of(run),
            repetitions: run.repetitions.clone(),
            intervals,
        })
    }
}

impl IntervalLine {
    pub(crate) fn of(interval: &Interval) -> Result<Self> {
        Ok(Self { format: FORMAT, event: IntervalEvent::Interval, interval: IntervalPart::of(interval)? })
    }
}

impl SettingsPart {
    fn of(settings: &Settings) -> Self {
        Self {
            shape: settings.shape.name().into(),
            target: settings.target.clone(),
            mode: settings.mode.name().into(),
            connections: settings.connections,
            depth: settings.depth,
            rate_per_s: settings.rate,
            arrivals: settings.arrivals.name().into(),
            size: match &settings.size {
                Sizes::Fixed(size) => SizesPart::Fixed(*size),
                Sizes::Range(from, to) => SizesPart::Range([*from, *to]),
                Sizes::Weighted(sizes) => SizesPart::Weighted(sizes.clone()),
            },
            duration_s: settings.duration.map(|time| time.as_secs_f64()),
            messages: settings.messages,
            messages_per_connection: settings.messages_per_connection,
            ramp: settings.ramp.as_ref().map(RampPart::of),
            direction: settings.direction.map(|direction| direction.name().into()),
            seed: settings.seed,
            verify: settings.verify,
            think_time_s: settings.think_time.as_secs_f64(),
            connect_rate_per_s: settings.connect_rate,
            busy_poll_s: settings.busy_poll.as_secs_f64(),
            timestamps: settings.timestamps.name().into(),
            interval_s: settings.interval.as_secs_f64(),
            tls: settings.tls.as_ref().map(TlsPart::of),
            proxy: settings.proxy,
            command: settings.command.clone(),
        }
    }
}

impl TlsPart {
    fn of(tls: &Security) -> Self {
        let agreed = tls.agreed.as_ref();
        Self {
            checked: tls.is_checked,
            resumes: tls.resumes,
            version: agreed.map(|agreed| agreed.version.clone()),
            cipher_suite: agreed.map(|agreed| agreed.cipher_suite.clone()),
            group: agreed.and_then(|agreed| agreed.group.clone()),
        }
    }
}

impl RampPart {
    fn of(steps: &RampSteps) -> Self {
        let RampSteps { of, from, to, by, every, until } = steps.clone();
        Self { raises: of.name().into(), from, to, by, every_s: every.as_secs_f64(), until }
    }
}

impl RatesPart {
    fn of(rates: &Rates) -> Self {
        Self {
            messages_per_s: rates.messages,
            sent_per_s: rates.sent,
            connections_per_s: rates.connections,
            bytes_sent_per_s: rates.bytes_sent,
            bytes_received_per_s: rates.bytes_received,
            bits_sent_per_s: BulkDirection::Sent.rate(rates),
            bits_received_per_s: BulkDirection::Received.rate(rates),
        }
    }
}

impl VerdictPart {
    fn of(outcomes: &[GateOutcome], exit: u8) -> Self {
        Self { pass: exit == 0, exit, gates: outcomes.iter().map(GatePart::of).collect() }
    }
}

impl SavedPart {
    fn of(judged: &SavedVerdict) -> Self {
        Self { verdict: VerdictPart::of(&judged.gates, judged.exit), comparison: judged.comparison.clone() }
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
            together_s: merge::together(sources).0.as_secs_f64(),
            covered_s: merge::covered(sources).as_secs_f64(),
            rates,
        })
    }
}

impl GatePart {
    fn of(outcome: &GateOutcome) -> Self {
        Self {
            fail_if: outcome.gate.clone(),
            broken: outcome.is_broken(),
            verdict: Some(outcome.judgement),
            measured: outcome.measured.clone(),
            value: outcome.value,
            unit: outcome.unit.to_string(),
            settled_by: outcome.settled_by.clone(),
        }
    }
}

impl GeneratorPart {
    fn of(source: &RunSource) -> Self {
        let Generator { version, host, engine, workers, cpu_user, cpu_system } = source.generator.clone();
        Self {
            file: source.file.clone(),
            seed: source.seed,
            host,
            version,
            engine,
            workers,
            cpu_user_s: cpu_user.as_secs_f64(),
            cpu_system_s: cpu_system.as_secs_f64(),
            started: time(source.started),
            elapsed_s: source.elapsed.as_secs_f64(),
            rates: RatesPart::of(&source.rates),
        }
    }
}

fn time(time: std::time::SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}
