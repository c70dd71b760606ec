//! `resound report`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::EXIT_CODES;
use super::output::OutputArgs;
use crate::report::Plan;

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ReportArgs {
    /// What `resound load --json` wrote; several are the generators of one load, and are merged
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Say what differs from this one, and what may be chance
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ReportArgs {
    pub(crate) fn meaning(self) -> Result<Plan> {
        const MOST: usize = 1000;
        if self.files.len() > MOST {
            bail!("{} files: merge {MOST} at most at once, and then what came out (--json)", self.files.len());
        }
        Ok(Plan { files: self.files, base: self.compare, output: self.output.meaning()? })
    }
}
