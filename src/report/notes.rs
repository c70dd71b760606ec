//! Facts that a reader needs to judge the figures.

use resound_load::{Mode, Shape};

use super::run::Run;
use crate::units;

/// The warnings of the run, and those derived from its figures.
pub(crate) fn all(run: &Run) -> Vec<String> {
    let mut notes = run.record.warnings.clone();
    for note in derived(run) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// The warnings derived from a run's figures.
pub(crate) fn derived(run: &Run) -> Vec<String> {
    let record = &run.record;
    let counts = &record.total.counts;
    let mut notes = Vec::new();
    if record.cut_short {
        notes.push("the run was cut short: these are the results up to then".into());
    }
    if run.had_only_failures() {
        notes.push("no connection could be used, so nothing was measured".into());
    } else if counts.sent == 0 && counts.opened == 0 && counts.bytes_received == 0 {
        notes.push("nothing was measured".into());
    }
    if record.settings.mode == Mode::Discard {
        notes.push("the target answers nothing, so there are no times of answers, and losses cannot be seen".into());
        if record.settings.shape == Shape::Connect {
            notes.push("a target that ends each connection at once by a FIN looks like one that discards".into());
        }
    }
    let (name, times) = run.main();
    let few: Vec<_> = super::PERCENTILES
        .iter()
        .filter(|percent| super::cannot_show(**percent, times.all.count()))
        .map(|percent| format!("p{percent}"))
        .collect();
    if !times.all.is_empty() && !few.is_empty() {
        notes.push(format!(
            "{} of {name} time cannot show {}: the maximum is in its place",
            units::counted(times.all.count(), "sample"),
            few.join(", "),
        ));
    }
    notes
}
