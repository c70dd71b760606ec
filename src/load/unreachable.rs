//! The record of a run that failed before it began: reports and gates need one for every run.

use std::time::{Duration, SystemTime};

use resound_load::{Failure, Fault, Generator, Interval, Mode, Record};

use super::plan::LoadPlan;

/// `None` if the error is no network failure: then there was no run.
pub(super) fn record(plan: &LoadPlan, error: &anyhow::Error) -> Option<Record> {
    let class = Fault::from(crate::explain::explain(error).1?);
    let mut settings = plan.settings.clone();
    settings.mode = plan.mode.unwrap_or(Mode::Echo);
    let mut total = Interval::default();
    total.counts.failures[class.index()] = 1;
    Some(Record {
        settings,
        started: SystemTime::now(),
        warm_up: Duration::ZERO,
        elapsed: Duration::ZERO,
        intervals: Vec::new(),
        total,
        steps: Vec::new(),
        failures: vec![Failure {
            class,
            at: Duration::ZERO,
            connection: 0,
            sequence: None,
            what: format!("{error:#}"),
        }],
        cut_short: false,
        generator: Generator { version: env!("CARGO_PKG_VERSION").into(), ..Generator::default() },
        warnings: Vec::new(),
    })
}
