//! How results are shown and saved, and what fails them: the same for a run and for what was saved of one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::report::{Condition, Output};
use crate::units;

/// Under this heading in the help.
const RESULTS: &str = "Results";

/// What `load` and `report` have in common.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Write the results as JSON to stdout, instead of a table
    #[arg(help_heading = RESULTS, short, long)]
    json: bool,
    /// Write an HdrHistogram log, with a histogram of each interval
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write a page with charts, complete in one file
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a JUnit report: a test case per gate, and one for failures that no gate allows
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Exit with 3 if this is true of the results, such as 'p99>5ms', 'errors>0' or 'rate<10000'; of report --compare also 'p99 worse>10%'
    /// (repeatable)
    #[arg(help_heading = RESULTS, long, value_name = "CONDITION", value_parser = Condition::parse)]
    fail_if: Vec<Condition>,
    /// What becomes of what cannot be told, where nothing failed: pass instead of exiting with 4
    #[arg(help_heading = RESULTS, long, value_enum, value_name = "OUTCOME")]
    cannot_tell: Option<CannotTell>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CannotTell {
    Pass,
}

/// What only a run has, which takes time.
#[derive(Args)]
pub(crate) struct ProgressArgs {
    /// How long an interval is; with --json also: write an object for each, one a line, and the results last [default: 1s]
    #[arg(help_heading = RESULTS, long, value_name = "DURATION", value_parser = units::duration)]
    interval: Option<Duration>,
    /// Show no progress
    #[arg(help_heading = RESULTS, short, long)]
    quiet: bool,
}

impl OutputArgs {
    pub(crate) fn meaning(self) -> Result<Output> {
        let files = [&self.hdr, &self.html, &self.junit];
        for (at, file) in files.iter().enumerate() {
            if file.is_some() && files[at + 1..].contains(file) {
                bail!("two reports cannot be written to one file");
            }
        }
        let (mut gates, mut regressions) = (Vec::new(), Vec::new());
        for condition in self.fail_if {
            match condition {
                Condition::Gate(gate) => gates.push(gate),
                Condition::Regression(regression) => regressions.push(regression),
            }
        }
        Ok(Output {
            json: self.json,
            hdr: self.hdr,
            html: self.html,
            junit: self.junit,
            gates,
            regressions,
            forgives_doubt: self.cannot_tell == Some(CannotTell::Pass),
            interval: None,
            quiet: false,
        })
    }

    /// As `meaning`, of a run.
    pub(crate) fn meaning_with(self, progress: ProgressArgs) -> Result<Output> {
        const SHORTEST: Duration = Duration::from_millis(100);
        if progress.interval.is_some_and(|interval| interval < SHORTEST) {
            bail!("--interval: {} is the shortest", units::elapsed(SHORTEST));
        }
        let output = self.meaning()?;
        if let Some(regression) = output.regressions.first() {
            bail!(
                "--fail-if '{regression}' is a comparison: save the run (--json), and give it to `resound report FILE --compare BASE`"
            );
        }
        Ok(Output { interval: progress.interval, quiet: progress.quiet, ..output })
    }
}
