//! The results of a load run: shown, saved, judged, merged and compared.

mod bars;
mod bins;
mod codec;
mod compare;
mod comparison;
mod describe;
mod document;
mod encode;
pub(crate) mod files;
mod formats;
mod gate;
mod hdr;
mod html;
mod interval;
mod junit;
pub(crate) mod live;
pub(crate) mod markup;
mod measured;
mod merge;
mod metric;
mod notes;
mod outcome;
mod page;
mod rates;
mod read;
mod regression;
mod repeat;
mod run;
#[cfg(test)]
mod samples;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use resound_console::json;

use resound_load::Record;

use anyhow::Result;

pub(crate) use self::bars::Glyphs;
use self::comparison::Compared;
use self::document::Document;
pub(crate) use self::gate::Gate;
pub(crate) use self::html::STYLE;
pub(crate) use self::live::{LiveView, tick};
use self::page::Style;
pub(crate) use self::read::is_stdin;
pub(crate) use self::regression::{Condition, Regression};
pub(crate) use self::run::Run;
#[cfg(test)]
pub(crate) use self::samples::settings;
#[cfg(test)]
pub(crate) use self::tests::schema::tighten_schema;
use crate::colour::Colour;
use crate::exit;
use crate::result_output::ResultOutput;
use crate::stdio::say;

/// The percentiles that tables list.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// Returns whether less than one of `samples` samples lies beyond a percentile, so that it is the
/// maximum.
fn cannot_show(percent: f64, samples: u64) -> bool {
    percent < 100.0 && (100.0 - percent) / 100.0 * samples as f64 <= 1.0 - 1e-9
}

/// Failures of a ramp's step that no condition limits. Any of them fails the step.
pub(crate) fn unforgiven(run: &Run, until: &[Gate]) -> Option<String> {
    let counts = &run.record.total.counts;
    let is_forgiven = |class| until.iter().any(|gate| gate.classes().contains(&class));
    let failures = text::by_class(counts, |class| !is_forgiven(class));
    (!failures.is_empty()).then_some(failures)
}

/// The outputs of a run or a report.
pub(crate) struct Output {
    /// JSON on stdout instead of a table.
    pub(crate) prints_json: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) hdr: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) junit: Option<PathBuf>,
    pub(crate) gates: Vec<Gate>,
    /// Conditions on a comparison.
    pub(crate) regressions: Vec<Regression>,
    /// The length of an interval, if one was given; with `prints_json` each interval is then an
    /// object of its own.
    pub(crate) interval: Option<Duration>,
    /// A condition that cannot be judged passes.
    pub(crate) forgives_doubt: bool,
    /// Without progress.
    pub(crate) quiet: bool,
}

impl Output {
    /// The length of a record's interval.
    pub(crate) fn interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(1))
    }

    /// Fails if a report cannot be written, or would overwrite something.
    pub(crate) fn check(&self, inputs: &[PathBuf]) -> Result<()> {
        files::check([&self.hdr, &self.html, &self.junit, &self.json].into_iter().flatten(), inputs)
    }
}

/// The arguments of `resound report`.
pub(crate) struct Plan {
    pub(crate) files: Vec<PathBuf>,
    /// The base of a comparison, in one file or several.
    pub(crate) base: Vec<PathBuf>,
    /// Several files are repetitions of one run. Otherwise they are the generators of one load.
    pub(crate) are_repeated: bool,
    pub(crate) output: Output,
}

/// Reads saved results, merges and compares them, and shows them as a run shows its own.
pub(crate) fn run(plan: Plan) -> Result<ExitCode> {
    plan.output.check(&[&plan.files[..], &plan.base].concat())?;
    let join = if plan.are_repeated { repeat::repeat } else { merge::merge };
    let all = |files: &[PathBuf]| join(files.iter().map(|path| read::read(path)).collect::<Result<_>>()?);
    let base = (!plan.base.is_empty()).then(|| all(&plan.base)).transpose()?;
    finish(&all(&plan.files)?, base.as_ref(), &plan.output)
}

/// Shows, saves and judges the record of a run. The exit code reports broken gates, wrong answers
/// and network failures. `unread`: the run ended early because its output was closed.
pub(crate) fn conclude(record: &Record, output: &Output, unread: bool) -> Result<ExitCode> {
    finish(&Run { unread, ..Run::of(record.clone()) }, None, output)
}

fn finish(run: &Run, base: Option<&Run>, output: &Output) -> Result<ExitCode> {
    let compared = base.map(|base| Compared::of(base, run));
    let regressions = compared.iter().flat_map(|compared| output.regressions.iter().map(|it| it.judge(compared)));
    let outcomes: Vec<_> = output.gates.iter().map(|gate| gate.judge(run)).chain(regressions).collect();
    let code = verdict::exit_code(run, &outcomes, output.forgives_doubt);
    // An unwritable file must not hide the other outputs.
    let mut saved = true;
    let mut save = |path: &Option<PathBuf>, render: &dyn Fn() -> Result<Vec<u8>>| {
        let Some(path) = path else { return };
        saved &= match render() {
            Ok(bytes) => files::is_saved(path, &bytes),
            Err(error) => {
                say(&format!("cannot write {}: {error:#}", path.display()));
                false
            }
        };
    };
    save(&output.hdr, &|| hdr::render(run));
    save(&output.junit, &|| Ok(junit::render(run, &outcomes).into()));
    save(&output.html, &|| Ok(html::render(run, base, compared.as_ref(), &outcomes).into()));
    let document = || -> Result<Vec<u8>> {
        let mut document = Document::of(run, &outcomes, code)?;
        document.comparison = compared.clone();
        Ok(json::object(&document))
    };
    save(&output.json, &document);
    let (mut out, stdout) = (ResultOutput, io::stdout());
    if output.prints_json {
        out.write_all(&document()?)?;
    } else {
        let style = Style {
            colour: Colour::of(&stdout),
            glyphs: Glyphs::of_environment(),
            width: if stdout.is_terminal() { live::columns() } else { 80 },
        };
        out.write_all(text::render(run, &outcomes, compared.as_ref(), style).as_bytes())?;
    }
    // A verdict takes precedence over an unwritten file.
    Ok(ExitCode::from(if saved || code != 0 { code } else { exit::USAGE }))
}
