//! `resound report`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::LOAD_EXIT_CODES;
use super::output::OutputArgs;
use crate::report::{Plan, is_stdin};

#[derive(Args)]
#[command(after_help = LOAD_EXIT_CODES)]
pub(crate) struct ReportArgs {
    /// What `resound load --json` wrote, `-` from stdin; several are the generators of one load, and are merged
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Say what differs from this one, and what may be chance; several are merged as the others are
    /// (repeatable)
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    /// Several files repeat one run, and are no generators of one load: a comparison then draws
    /// runs before it draws intervals
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
                "{} files: merge {MOST} at most at once, and then what came out (--json)",
                self.files.len().max(self.compare.len())
            );
        }
        if self.files.iter().chain(&self.compare).filter(|file| is_stdin(file)).count() > 1 {
            bail!("stdin (-) can be read once only: save what comes from it in a file");
        }
        let output = self.output.meaning()?;
        if let Some(regression) = output.regressions.first().filter(|_| self.compare.is_empty()) {
            bail!("--fail-if '{regression}' compares with a base: say with --compare FILE what that is");
        }
        Ok(Plan { files: self.files, base: self.compare, are_repeated: self.repeated, output })
    }
}
