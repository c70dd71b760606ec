//! Runs of several generators, made one: distributions and counts are added, rates too, nothing is averaged.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use resound::load::{Interval, Record, Timeline};

use super::run::{Rates, Run, Source};
use crate::units;

/// Runs that shared less of their time than this are not one load.
const TOGETHER: f64 = 0.9;

/// Makes several runs one; one alone stays as it is.
pub(crate) fn merge(mut runs: Vec<Run>) -> Result<Run> {
    if runs.len() == 1 {
        return Ok(runs.remove(0));
    }
    for (at, run) in runs.iter().enumerate() {
        if let Some(other) = runs[at + 1..].iter().find(|other| other.record == run.record) {
            bail!("{} and {} are the same run, which would count twice", name(run), name(other));
        }
    }
    let started = runs.iter().map(|run| run.record.started).min().unwrap_or(SystemTime::UNIX_EPOCH);
    let offset = |run: &Run| run.record.started.duration_since(started).unwrap_or_default();
    let elapsed = runs.iter().map(|run| offset(run) + run.record.elapsed).max().unwrap_or_default();
    let intervals = intervals(&runs, offset, elapsed);
    let warnings = warnings(&runs);
    let sources: Vec<Source> = runs.iter().flat_map(|run| run.sources.clone()).collect();
    let mut failures = Vec::new();
    for run in &runs {
        for mut failure in run.record.failures.iter().cloned() {
            failure.at = failure.at.saturating_add(offset(run));
            failure.what = format!("{}: {}", name(run), failure.what);
            failures.push(failure);
        }
    }
    failures.sort_by_key(|failure| failure.at);
    failures.truncate(Record::FAILURES);
    let mut rates = Rates::default();
    let mut total = Interval { length: elapsed, ..Interval::default() };
    for run in &runs {
        rates.add(&run.rates);
        total.add(&run.record.total);
    }
    let mut settings = runs[0].record.settings.clone();
    settings.connections = runs.iter().fold(0, |sum, run| run.record.settings.connections.saturating_add(sum));
    settings.rate = runs.iter().map(|run| run.record.settings.rate).sum();
    settings.messages = runs.iter().map(|run| run.record.settings.messages).sum();
    settings.connect_rate = runs.iter().map(|run| run.record.settings.connect_rate).sum();
    let record = Record {
        settings,
        started,
        warm_up: runs.iter().map(|run| run.record.warm_up).max().unwrap_or_default(),
        elapsed,
        intervals,
        total,
        steps: Vec::new(),
        failures,
        cut_short: runs.iter().any(|run| run.record.cut_short),
        generator: runs[0].record.generator.clone(),
        warnings,
    };
    Ok(Run { record, rates, sources })
}

/// For how long all of them ran at once, and for how long any did.
pub(crate) fn together(sources: &[Source]) -> (Duration, Duration) {
    let end = |source: &Source| source.started.checked_add(source.elapsed).unwrap_or(source.started);
    let first_end = sources.iter().map(end).min();
    let last_start = sources.iter().map(|source| source.started).max();
    let all = match (first_end, last_start) {
        (Some(end), Some(start)) => end.duration_since(start).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let longest = sources.iter().map(|source| source.elapsed).max().unwrap_or_default();
    (all, longest)
}

/// By the time of day: what happened in the same second on several machines is one interval.
fn intervals(runs: &[Run], offset: impl Fn(&Run) -> Duration, elapsed: Duration) -> Vec<Interval> {
    let longest = runs.iter().flat_map(|run| &run.record.intervals).map(|interval| interval.length).max();
    // However far apart the runs were.
    let step = longest.unwrap_or_default().max(elapsed / Timeline::MOST as u32).max(Duration::from_millis(1));
    let mut bins: BTreeMap<u64, Interval> = BTreeMap::new();
    for run in runs {
        for interval in &run.record.intervals {
            let middle = offset(run) + interval.start + interval.length / 2;
            let bin = (middle.as_nanos() / step.as_nanos()) as u64;
            let merged = bins.entry(bin).or_insert_with(|| Interval {
                start: step.saturating_mul(u32::try_from(bin).unwrap_or(u32::MAX)),
                length: step,
                ..Interval::default()
            });
            merged.add(interval);
        }
    }
    bins.into_values().collect()
}

fn warnings(runs: &[Run]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let sources: Vec<Source> = runs.iter().flat_map(|run| run.sources.clone()).collect();
    let (all, longest) = together(&sources);
    if all.is_zero() {
        warnings.push(
            "the runs did not overlap in time: their rates are added as if they had run at once, which they did not"
                .into(),
        );
    } else if all.as_secs_f64() < longest.as_secs_f64() * TOGETHER {
        warnings.push(format!(
            "the runs overlapped for only {} of {}: their rates are added as if they had run at once",
            units::latency(all),
            units::latency(longest)
        ));
    }
    let first = &runs[0].record.settings;
    let settings = || runs[1..].iter().map(|run| &run.record.settings);
    let differs = [
        ("targets", settings().any(|other| other.target != first.target)),
        ("shapes", settings().any(|other| other.shape != first.shape)),
        ("modes", settings().any(|other| other.mode != first.mode)),
        ("sizes", settings().any(|other| other.size != first.size)),
        ("depths", settings().any(|other| other.depth != first.depth)),
        ("arrivals", settings().any(|other| other.arrivals != first.arrivals)),
        ("verification", settings().any(|other| other.verify != first.verify)),
    ];
    let differs: Vec<_> = differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect();
    if !differs.is_empty() {
        warnings.push(format!(
            "the runs differ in their settings ({}); those shown are of {}",
            differs.join(", "),
            name(&runs[0])
        ));
    }
    if runs.iter().any(|run| !run.record.steps.is_empty()) {
        warnings.push("the steps of ramps cannot be merged and are left out".into());
    }
    for run in runs {
        for warning in &run.record.warnings {
            // What all of them say is said once.
            if runs.iter().all(|run| run.record.warnings.contains(warning)) {
                if !warnings.contains(warning) {
                    warnings.push(warning.clone());
                }
            } else {
                warnings.push(format!("{}: {warning}", name(run)));
            }
        }
    }
    warnings
}

fn name(run: &Run) -> &str {
    run.sources.first().and_then(|source| source.file.as_deref()).unwrap_or("a run")
}
