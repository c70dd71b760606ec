//! The record of a run that failed before it began: reports and gates need one for every run.

use std::time::{Duration, SystemTime};

use resound_load::{Failure, LoadFailure, Mode, Record};

use super::plan::LoadPlan;

/// `None` if the error is no network failure: then there was no run.
pub(super) fn record(plan: &LoadPlan, error: &anyhow::Error) -> Option<Record> {
    let class = LoadFailure::from(crate::explain::explain(error).1?);
    let mut settings = plan.settings.clone();
    settings.mode = plan.mode.unwrap_or(Mode::Echo);
    let mut record = Record { started: SystemTime::now(), ..Record::empty(settings) };
    record.total.counts.failures[class.index()] = 1;
    let what = format!("{error:#}");
    record.failures.push(Failure { class, at: Duration::ZERO, connection: 0, sequence: None, what });
    record.generator.version = env!("CARGO_PKG_VERSION").into();
    Some(record)
}
