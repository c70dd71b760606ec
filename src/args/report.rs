//! The flags of `resound report`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::examples;
use super::output::OutputArgs;
use crate::report::{Plan, is_stdin};

#[derive(Args)]
#[command(after_help = examples::LOAD_NOTES, after_long_help = examples::long_help("report"))]
pub(crate) struct ReportArgs {
    /// Results that `resound load --json` wrote; `-` is stdin
    ///
    /// Several files are the generators of one load, and are merged.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Base to compare with (repeatable); several are merged as the others are
    ///
    /// The report gives each difference with its 95 % interval.
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    /// Several files are repetitions of one run, not generators of one load
    ///
    /// A comparison then draws whole runs, not intervals.
    #[arg(long)]
    repeated: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl ReportArgs {
    pub(crate) fn meaning(self) -> Result<Plan> {
        const MOST: usize = 1000;
        if self.files.len().max(self.compare.len()) > MOST {
            bail!(
                "{} files: merge {MOST} at most at once (--json), and then the results",
                self.files.len().max(self.compare.len())
            );
        }
        if self.files.iter().chain(&self.compare).filter(|file| is_stdin(file)).count() > 1 {
            bail!("stdin (-) can be read only once: save its input in a file");
        }
        let output = self.output.meaning()?;
        if let Some(regression) = output.regressions.first().filter(|_| self.compare.is_empty()) {
            bail!("--fail-if '{}' compares with a base: name one with --compare FILE", regression.text);
        }
        Ok(Plan { files: self.files, base: self.compare, are_repeated: self.repeated, output })
    }
}
