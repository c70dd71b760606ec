//! The results of a load run: shown, saved, judged, merged and compared.

mod bars;
mod bins;
mod compare;
mod describe;
mod document;
mod encode;
mod gate;
mod hdr;
mod html;
mod junit;
pub(crate) mod live;
mod markup;
mod merge;
mod notes;
mod read;
mod regression;
mod run;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use resound::load::Record;

use self::bars::Glyphs;
use self::compare::Compared;
use self::document::Document;
pub(crate) use self::gate::Gate;
pub(crate) use self::live::Live;
pub(crate) use self::read::is_stdin;
pub(crate) use self::regression::{Condition, Regression};
pub(crate) use self::run::Run;
use self::text::Style;
use crate::colour::Colour;
use crate::json;

/// The percentiles that tables list.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// What is made of the results.
pub(crate) struct Output {
    /// JSON on stdout instead of a table.
    pub(crate) json: bool,
    pub(crate) hdr: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) junit: Option<PathBuf>,
    pub(crate) gates: Vec<Gate>,
    /// Of a comparison.
    pub(crate) regressions: Vec<Regression>,
    /// How long an interval is, where that was said; with `json` each is then an object of its own.
    pub(crate) interval: Option<Duration>,
    /// No progress.
    pub(crate) quiet: bool,
}

impl Output {
    /// How long an interval of a record is.
    pub(crate) fn interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(1))
    }

    /// Fails where a file could not be written: better before a long run than after it.
    pub(crate) fn check(&self) -> Result<()> {
        for path in [&self.hdr, &self.html, &self.junit].into_iter().flatten() {
            // Of a link that leads nowhere yet it is the file at its end that is made.
            let is_new = !path.exists();
            fs::OpenOptions::new().append(true).create(true).open(path).with_context(|| unwritable(path))?;
            if is_new {
                fs::canonicalize(path).and_then(fs::remove_file).with_context(|| unwritable(path))?;
            }
        }
        Ok(())
    }
}

/// `resound report`: what is to be read.
pub(crate) struct Plan {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) base: Option<PathBuf>,
    pub(crate) output: Output,
}

/// Reads saved results, makes them one, compares them, and shows them as a run shows its own.
pub(crate) fn run(plan: Plan) -> Result<ExitCode> {
    plan.output.check()?;
    let base = plan.base.as_deref().map(read::read).transpose()?;
    let runs = plan.files.iter().map(|path| read::read(path)).collect::<Result<_>>()?;
    let merged = merge::merge(runs)?;
    finish(&merged, base.as_ref(), &plan.output)
}

/// Shows, saves and judges what a run measured. The exit code says whether a gate broke, answers were wrong, or the network failed.
pub(crate) fn conclude(record: &Record, output: &Output) -> Result<ExitCode> {
    finish(&Run::of(record.clone()), None, output)
}

fn finish(run: &Run, base: Option<&Run>, output: &Output) -> Result<ExitCode> {
    let compared = base.map(|base| Compared::of(base, run));
    let regressions = compared.iter().flat_map(|compared| output.regressions.iter().map(|it| it.judge(compared)));
    let outcomes: Vec<_> = output.gates.iter().map(|gate| gate.judge(run)).chain(regressions).collect();
    let exit = verdict::exit_code(run, &outcomes);
    // What cannot be written to a file must not keep the rest from being seen.
    let mut saved = Ok(());
    let mut save = |path: &Option<PathBuf>, write: &dyn Fn(&mut dyn Write) -> Result<()>| {
        if let Some(path) = path {
            let result = fs::File::create(path).map_err(anyhow::Error::from).and_then(|file| {
                let mut file = BufWriter::new(file);
                write(&mut file)?;
                Ok(file.flush()?)
            });
            saved = std::mem::replace(&mut saved, Ok(())).and(result.with_context(|| unwritable(path)));
        }
    };
    save(&output.hdr, &|to| hdr::write(run, to));
    save(&output.junit, &|to| Ok(to.write_all(junit::render(run, &outcomes).as_bytes())?));
    save(&output.html, &|to| Ok(to.write_all(html::render(run, base, compared.as_ref(), &outcomes).as_bytes())?));
    let mut out = io::stdout().lock();
    if output.json {
        let mut document = Document::of(run, &outcomes, exit)?;
        document.comparison = compared;
        out.write_all(&json::object(&document))?;
    } else {
        let style = Style {
            colour: Colour::of(&out),
            glyphs: Glyphs::of_environment(),
            width: if out.is_terminal() { live::columns() } else { 80 },
        };
        out.write_all(text::render(run, &outcomes, style).as_bytes())?;
        if let Some(compared) = &compared {
            out.write_all(compared.render("Compared", style).as_bytes())?;
        }
    }
    out.flush()?;
    saved?;
    Ok(ExitCode::from(exit))
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
