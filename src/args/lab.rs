//! The flags of `resound lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use resound_lab::Defects;

use super::examples;
use crate::lab::LabPlan;
use crate::units;

// Headings in the help, and tables in docs/lab.md.
const DEFECTS: &str = "Defects, in both directions";

/// The least MTU of a link with IPv6.
const LEAST_MTU: i64 = 1280;

#[derive(Args)]
#[command(override_usage = "resound lab [OPTIONS] [-- COMMAND...]")]
#[command(after_help = examples::LAB_NOTES, after_long_help = examples::long_help("lab"))]
pub(crate) struct LabArgs {
    /// Command to run in the near end, with its arguments [default: a shell]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
    /// Command to run in the far end first, by a shell; COMMAND starts when something listens there
    #[arg(long, value_name = "COMMAND")]
    far: Option<String>,
    /// How long the command of --far may take until something listens
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "5s", requires = "far")]
    far_wait: Duration,
    /// Defects, such as `up: loss=1%; down: mtu=1400` (repeatable)
    ///
    /// docs/lab.md has the grammar, and a table of all defects.
    #[arg(long, value_name = "SPEC")]
    defect: Vec<String>,
    /// File with defects, one specification a line
    #[arg(long, value_name = "FILE")]
    defects: Option<PathBuf>,
    /// Seed of all that is drawn: the same seed decides the same for each packet [default: drawn,
    /// and printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the packets of both sides to a file (pcapng), with a comment on each that was touched
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write the summary to a file (JSON; `-` for stdout)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// MTU of both links, in bytes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(LEAST_MTU..), default_value_t = 1500)]
    link_mtu: u16,
    /// Print no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    of_path: DefectArgs,
}

/// Declares a flag for each defect, which gives the words of the specification.
macro_rules! defect_flags {
    ($($(#[$doc:meta])* $field:ident $word:literal $value:tt;)*) => {
        /// Each flag is the defect of that name.
        #[derive(Args)]
        struct DefectArgs {
            $($(#[$doc])* #[arg(help_heading = DEFECTS, long = $word, value_name = $value)] $field: Option<String>,)*
        }

        impl DefectArgs {
            /// The specification of each that was given.
            fn specs(self) -> Vec<String> {
                let typed = [$(($word, self.$field)),*];
                typed.into_iter().filter_map(|(word, value)| Some(spec(word, &value?))).collect()
            }
        }
    };
}

fn spec(word: &str, value: &str) -> String {
    format!("{word}={value}")
}

defect_flags! {
    /// Lose this part of all packets, such as 1%
    loss "loss" "PART";
    /// Hold packets back for so long, such as 30ms or 30ms+-5ms
    delay "delay" "TIME";
    /// Send no faster than this, such as 10Mbit/s
    rate "rate" "RATE";
    /// Pass no packet that is larger than this, in bytes
    mtu "mtu" "N";
}

impl LabArgs {
    pub(crate) fn meaning(self) -> Result<LabPlan> {
        let mut defects = Defects::default();
        if let Some(file) = &self.defects {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
                if line.is_empty() {
                    continue;
                }
                defects
                    .push(line)
                    .map_err(|error| anyhow::anyhow!("{}, line {}: {error}", file.display(), number + 1))?;
            }
        }
        for spec in self.of_path.specs().iter().chain(&self.defect) {
            defects.push(spec)?;
        }
        if self.far.as_ref().is_some_and(|far| far.trim().is_empty()) {
            bail!("--far has no command");
        }
        let command = match self.command {
            command if command.is_empty() => vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())],
            command => command,
        };
        Ok(LabPlan {
            command,
            far: self.far,
            far_wait: self.far_wait,
            defects,
            // Short enough to be typed again.
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
            capture: self.pcap,
            json: self.json,
            mtu: self.link_mtu,
            is_quiet: self.quiet,
        })
    }
}
