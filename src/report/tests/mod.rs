//! The reports of invented runs, checked by independent readers.

mod files;
mod pages;
pub(super) mod schema;
mod several;
mod texts;

use resound_load::{Counts, Generator, Latency, LoadFailure};

use super::bars::Glyphs;
use super::document::Document;
use super::gate::Gate;
use super::outcome::GateOutcome;
use super::page::Style;
use super::run::Run;
use super::{read, samples};
use crate::colour::Colour;
use resound_console::json;

/// Text of a hostile peer or file.
const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[2J\u{202e}\"'&\n]]>\0";

fn some() -> Run {
    Run::of(samples::record(1_000, 1, true))
}

/// A run with hostile texts and the largest numbers.
fn hostile() -> Run {
    let mut record = samples::record(100, 1, true);
    let settings = &mut record.settings;
    (settings.target, settings.command) = (HOSTILE.into(), HOSTILE.into());
    (settings.connections, settings.seed, settings.rate) = (u64::MAX, u64::MAX, Some(f64::MAX));
    record.generator = Generator {
        version: HOSTILE.into(),
        host: HOSTILE.into(),
        engine: HOSTILE.into(),
        workers: u64::MAX / 4,
        ..Generator::default()
    };
    record.warnings = vec![HOSTILE.into()];
    for failure in &mut record.failures {
        failure.what = HOSTILE.into();
        (failure.connection, failure.sequence) = (u64::MAX, Some(u64::MAX));
    }
    let most = Counts {
        planned: u64::MAX,
        sent: u64::MAX,
        held: u64::MAX,
        lagged: u64::MAX,
        received: u64::MAX,
        late: u64::MAX,
        unanswered: u64::MAX,
        verified: u64::MAX,
        by_kernel: u64::MAX,
        bytes_sent: u64::MAX,
        bytes_received: u64::MAX,
        bytes_late: u64::MAX,
        opened: u64::MAX,
        unconnected: u64::MAX,
        silent: u64::MAX,
        closed: u64::MAX,
        failures: [u64::MAX; LoadFailure::ALL.len()],
    };
    record.total.counts = most;
    record.intervals[3].counts = most;
    record.intervals[4].response = Latency::of([(i64::MAX as u64, i64::MAX as u64)]);
    record.total.response = Latency::of([(0, 1), (i64::MAX as u64, 3)]);
    Run::of(record)
}

fn all() -> Vec<Run> {
    vec![some(), hostile(), samples::empty()]
}

fn judged(run: &Run, gates: &[&str]) -> Vec<GateOutcome> {
    gates.iter().map(|gate| Gate::parse(gate).unwrap().judge(run)).collect()
}

fn plain(width: usize) -> Style {
    Style { colour: Colour::never(), glyphs: Glyphs::Ascii, width }
}

fn saved(run: &Run) -> Vec<u8> {
    json::object(&Document::of(run, &judged(run, &["p99>1ms", "errors>0"]), 3).unwrap())
}

fn named(run: &Run, file: &str) -> Run {
    read::parse(&saved(run), file).unwrap()
}
