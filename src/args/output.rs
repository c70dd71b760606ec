//! The flags of results: how they are shown, saved and judged, of a run and of a saved run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::report::{Condition, Output};
use crate::units;

/// A heading in the help.
const RESULTS: &str = "Results";

/// The flags that `load` and `report` share.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Print the results as one JSON document instead of a table, or write it to FILE beside it
    #[arg(
        help_heading = RESULTS, short, long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        default_missing_value = "-"
    )]
    json: Option<PathBuf>,
    /// Write an HdrHistogram log, with a histogram of each interval
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write a page with charts, complete in one file, without scripts
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a JUnit report: a test case per gate, and one for failures that no gate allows
    #[arg(help_heading = RESULTS, long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Gate: exit with 3 if the condition is true, such as 'p99>5ms', 'errors>0' or 'rate<10k'
    /// (repeatable)
    ///
    /// With report --compare also 'p99 worse>10%'.
    #[arg(help_heading = RESULTS, long, value_name = "CONDITION", value_parser = Condition::parse)]
    fail_if: Vec<Condition>,
    /// Outcome if nothing failed, but a gate could not be judged: pass exits with 0 [default: exit
    /// code 4]
    #[arg(help_heading = RESULTS, long, value_enum, value_name = "OUTCOME")]
    cannot_tell: Option<CannotTell>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CannotTell {
    Pass,
}

/// The flags that only a run has.
#[derive(Args)]
pub(crate) struct ProgressArgs {
    /// Length of an interval; with --json, also print an object for each interval [default: 1s]
    ///
    /// With --json each object is one line, and the whole results are the last line.
    #[arg(help_heading = RESULTS, long, value_name = "DURATION", value_parser = units::duration)]
    interval: Option<Duration>,
    /// Show no progress
    #[arg(help_heading = RESULTS, short, long)]
    quiet: bool,
}

impl OutputArgs {
    pub(crate) fn meaning(self) -> Result<Output> {
        let (prints_json, json) = match self.json {
            Some(path) if path == Path::new("-") => (true, None),
            path => (false, path),
        };
        let (mut gates, mut regressions) = (Vec::new(), Vec::new());
        for condition in self.fail_if {
            match condition {
                Condition::Gate(gate) => gates.push(gate),
                Condition::Regression(regression) => regressions.push(regression),
            }
        }
        Ok(Output {
            prints_json,
            json,
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

    /// As `meaning`, for a run.
    pub(crate) fn meaning_with(self, progress: ProgressArgs) -> Result<Output> {
        const SHORTEST: Duration = Duration::from_millis(100);
        if progress.interval.is_some_and(|interval| interval < SHORTEST) {
            bail!("--interval: {} is the shortest", units::elapsed(SHORTEST));
        }
        let output = self.meaning()?;
        if let Some(regression) = output.regressions.first() {
            bail!(
                "--fail-if '{}' is a comparison: save the run (--json), and give it to \
                 `resound report FILE --compare BASE`",
                regression.text
            );
        }
        Ok(Output { interval: progress.interval, quiet: progress.quiet, ..output })
    }
}
