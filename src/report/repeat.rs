//! Joins repetitions of one run end to end, so that each keeps its intervals.

use std::time::Duration;

use anyhow::Result;
use resound_load::{Failure, Interval, Record, Timeline};

use super::compare::together;
use super::rates::Rates;
use super::run::{Run, RunSource};
use super::{describe, merge};

/// Joins repetitions. The rates are averages over the sum of their times; a single run stays as it
/// is.
pub(crate) fn repeat(mut runs: Vec<Run>) -> Result<Run> {
    if runs.len() == 1 {
        return Ok(runs.remove(0));
    }
    merge::reject_duplicates(&runs)?;
    let each = Timeline::MOST / runs.len();
    let (mut intervals, mut repetitions, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let (mut total, mut rates, mut elapsed) = (Interval::default(), Rates::default(), Duration::ZERO);
    let all: Duration = runs.iter().map(|run| run.record.elapsed).sum();
    for run in &runs {
        let of_run = Interval::coarser(&together(run), each);
        repetitions.push(of_run.len());
        let moved = |interval: Interval| Interval { start: elapsed.saturating_add(interval.start), ..interval };
        intervals.extend(of_run.into_iter().map(moved));
        total.add(&run.record.total);
        let share = if all.is_zero() { 0.0 } else { run.record.elapsed.as_secs_f64() / all.as_secs_f64() };
        rates.add(&run.rates, share);
        let behind = elapsed;
        failures.extend(merge::named(run).map(|it| Failure { at: it.at.saturating_add(behind), ..it }));
        elapsed += run.record.elapsed;
    }
    failures.truncate(Record::FAILURES);
    total.length = elapsed;
    let first = &runs[0].record;
    let mut settings = first.settings.clone();
    let planned: Option<f64> = runs.iter().map(|run| run.record.settings.rate).sum();
    settings.rate = planned.map(|sum| sum / runs.len() as f64);
    let record = Record {
        started: first.started,
        warm_up: first.warm_up,
        elapsed,
        intervals,
        total,
        failures,
        cut_short: runs.iter().any(|run| run.record.cut_short),
        generator: first.generator.clone(),
        warnings: warnings(&runs),
        ..Record::empty(settings)
    };
    let sources: Vec<RunSource> = runs.iter().flat_map(|run| run.sources.clone()).collect();
    Ok(Run { record, rates, sources, judged: None, repetitions, unread: false })
}

fn warnings(runs: &[Run]) -> Vec<String> {
    let mut warnings: Vec<_> = merge::of_settings(runs).into_iter().collect();
    let rates: Vec<_> = runs.iter().map(|run| run.record.settings.rate).collect();
    if rates.iter().any(|rate| *rate != rates[0]) {
        warnings.push(format!(
            "the repetitions do not repeat each other: their planned rates differ, from {} on",
            describe::pace(&runs[0].record.settings).join(", ")
        ));
    }
    warnings.extend(merge::of_each(runs));
    warnings
}
