//! Merges the runs of several generators: distributions and counts are added, and so are rates if
//! the runs were simultaneous. Nothing is averaged.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use resound_console::escape;
use resound_load::{Failure, Interval, Record, Settings};

use super::bins::{self, GeneratorTrack};
use super::rates::Rates;
use super::run::{Run, RunSource};
use crate::units;

/// The share of time that runs must have in common to be one load.
const TOGETHER: f64 = 0.9;

/// Merges runs; a single run stays as it is.
pub(crate) fn merge(mut runs: Vec<Run>) -> Result<Run> {
    if runs.len() == 1 {
        return Ok(runs.remove(0));
    }
    reject_duplicates(&runs)?;
    let started = runs.iter().map(|run| run.record.started).min().unwrap_or(SystemTime::UNIX_EPOCH);
    let offset = |run: &Run| run.record.started.duration_since(started).unwrap_or_default();
    let elapsed = runs.iter().map(|run| offset(run) + run.record.elapsed).max().unwrap_or_default();
    let tracks: Vec<_> =
        runs.iter().map(|run| GeneratorTrack { offset: offset(run), intervals: &run.record.intervals }).collect();
    let intervals = bins::merge(&tracks);
    let warnings = warnings(&runs);
    let sources: Vec<RunSource> = runs.iter().flat_map(|run| run.sources.clone()).collect();
    let moved = |run| named(run).map(move |it| Failure { at: it.at.saturating_add(offset(run)), ..it });
    let mut failures: Vec<_> = runs.iter().flat_map(moved).collect();
    failures.sort_by_key(|failure| failure.at);
    failures.truncate(Record::FAILURES);
    let mut rates = Rates::default();
    let mut total = Interval { length: elapsed, ..Interval::default() };
    // Rates of runs at different times do not add up: the rate is taken over the time in which any
    // of them ran.
    let (at_once, covered) = (ran_at_once(&sources), covered(&sources));
    let weight = |elapsed: Duration| match at_once {
        true => 1.0,
        false if covered.is_zero() => 0.0,
        false => elapsed.as_secs_f64() / covered.as_secs_f64(),
    };
    for source in &sources {
        rates.add(&source.rates, weight(source.elapsed));
    }
    for run in &runs {
        total.add(&run.record.total);
    }
    let mut settings = runs[0].record.settings.clone();
    settings.connections = runs.iter().fold(0, |sum, run| run.record.settings.connections.saturating_add(sum));
    let planned = |run: &Run| Some(run.record.settings.rate? * weight(self::covered(&run.sources)));
    settings.rate = runs.iter().map(planned).sum();
    settings.messages = runs.iter().try_fold(0_u64, |sum, run| Some(sum.saturating_add(run.record.settings.messages?)));
    settings.connect_rate = runs.iter().map(|run| run.record.settings.connect_rate).sum();
    let record = Record {
        started,
        warm_up: runs.iter().map(|run| run.record.warm_up).max().unwrap_or_default(),
        elapsed,
        intervals,
        total,
        failures,
        cut_short: runs.iter().any(|run| run.record.cut_short),
        generator: runs[0].record.generator.clone(),
        warnings,
        ..Record::empty(settings)
    };
    Ok(Run { record, rates, sources, judged: None, repetitions: Vec::new(), unread: false })
}

/// The failures of one run of several, each with the run's name.
pub(super) fn named(run: &Run) -> impl Iterator<Item = Failure> {
    let named = |failure: &Failure| Failure { what: format!("{}: {}", name(run), failure.what), ..failure.clone() };
    run.record.failures.iter().map(named)
}

/// Each generator counts once, even if two files hold it: two runs on a machine never begin in the
/// same nanosecond.
pub(super) fn reject_duplicates(runs: &[Run]) -> Result<()> {
    let mut seen = HashMap::new();
    for source in runs.iter().flat_map(|run| &run.sources) {
        let which = identity(source);
        if let Some(other) = seen.insert(which, source.file.as_deref().unwrap_or_default()) {
            bail!(
                "{} and {} hold the same run, of {} from {} on: it would count twice",
                other,
                source.file.as_deref().unwrap_or_default(),
                escape::text(source.generator.host.as_bytes()),
                humantime::format_rfc3339_millis(source.started)
            );
        }
    }
    Ok(())
}

fn identity(source: &RunSource) -> (&str, SystemTime, u64) {
    (&source.generator.host, source.started, source.seed)
}

/// A run that both sides hold.
pub(crate) fn shared<'a>(some: &'a [RunSource], others: &[RunSource]) -> Option<&'a RunSource> {
    some.iter().find(|source| others.iter().any(|other| identity(other) == identity(source)))
}

/// Returns whether the runs overlapped for nearly all of their time. A single run does.
pub(crate) fn ran_at_once(sources: &[RunSource]) -> bool {
    let (all, longest) = together(sources);
    sources.len() < 2 || all.as_secs_f64() >= longest.as_secs_f64() * TOGETHER && !all.is_zero()
}

/// The time in which any of the runs measured.
pub(crate) fn covered(sources: &[RunSource]) -> Duration {
    let mut times: Vec<_> = sources.iter().map(|source| (source.started, source.elapsed)).collect();
    times.sort_unstable();
    let (mut covered, mut until) = (Duration::ZERO, SystemTime::UNIX_EPOCH);
    for (started, elapsed) in times {
        let end = started.checked_add(elapsed).unwrap_or(started);
        covered += end.duration_since(started.max(until)).unwrap_or_default();
        until = until.max(end);
    }
    covered
}

/// The time in which all runs measured, and the time of the longest.
pub(crate) fn together(sources: &[RunSource]) -> (Duration, Duration) {
    let all = overlap(sources).and_then(|(from, to)| to.duration_since(from).ok()).unwrap_or_default();
    let longest = sources.iter().map(|source| source.elapsed).max().unwrap_or_default();
    (all, longest)
}

/// The first and the last instant at which all runs measured. The last may be before the first.
pub(crate) fn overlap(sources: &[RunSource]) -> Option<(SystemTime, SystemTime)> {
    let end = |source: &RunSource| source.started.checked_add(source.elapsed).unwrap_or(source.started);
    Some((sources.iter().map(|source| source.started).max()?, sources.iter().map(end).min()?))
}

/// The settings that differ and change the meaning of the figures.
pub(crate) fn differing(settings: &[&Settings]) -> Vec<&'static str> {
    let Some((first, others)) = settings.split_first() else { return Vec::new() };
    let others = || others.iter();
    let differs = [
        ("targets", others().any(|other| other.target != first.target)),
        ("shapes", others().any(|other| other.shape != first.shape)),
        ("modes", others().any(|other| other.mode != first.mode)),
        ("sizes", others().any(|other| other.size != first.size)),
        ("depths", others().any(|other| other.depth != first.depth)),
        ("arrivals", others().any(|other| other.arrivals != first.arrivals)),
        ("timestamps", others().any(|other| other.timestamps != first.timestamps)),
        ("TLS", others().any(|other| other.tls != first.tls)),
        ("PROXY headers", others().any(|other| other.proxy != first.proxy)),
        ("verification", others().any(|other| other.verify != first.verify)),
    ];
    differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect()
}

fn warnings(runs: &[Run]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let sources: Vec<RunSource> = runs.iter().flat_map(|run| run.sources.clone()).collect();
    let (all, longest) = together(&sources);
    let over = "so their rates are not added: each is taken over the whole time in which any of them ran";
    if all.is_zero() {
        warnings.push(format!("the runs did not overlap in time, {over}"));
    } else if !ran_at_once(&sources) {
        warnings.push(format!(
            "the runs overlapped for only {} of {}, {over}",
            units::latency(all),
            units::latency(longest)
        ));
    }
    warnings.extend(of_settings(runs));
    warnings.extend(of_each(runs));
    warnings
}

/// A warning about runs with different settings.
pub(super) fn of_settings(runs: &[Run]) -> Option<String> {
    let settings: Vec<_> = runs.iter().map(|run| &run.record.settings).collect();
    let differs = differing(&settings).join(", ");
    (!differs.is_empty())
        .then(|| format!("the runs differ in their settings ({differs}); those shown are of {}", name(&runs[0])))
}

/// Warnings about what a merged run leaves out, and the warnings of each run.
pub(super) fn of_each(runs: &[Run]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    if runs.iter().any(|run| !run.record.steps.is_empty()) {
        warnings.push("the steps of ramps cannot be merged and are left out".into());
    }
    if runs.iter().any(|run| run.judged.is_some()) {
        warnings.push("the gates and comparisons of each run are left out: --fail-if judges the merged run".into());
    }
    for run in runs {
        for warning in &run.record.warnings {
            // A warning that all runs share appears once.
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
