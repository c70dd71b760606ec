//! The flags of `resound lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use resound_lab::{DefectKind, Defects};

use super::config::ConfigArgs;
use super::examples;
use crate::lab::LabPlan;
use crate::{text_file, units};

// Headings in the help, and tables in docs/lab.md.
const DEFECTS: &str = "Defects, in both directions";

/// The least MTU of a link with IPv6.
const LEAST_MTU: i64 = 1280;

#[derive(Args)]
#[command(override_usage = "resound lab [OPTIONS] [-- COMMAND...]")]
#[command(after_help = examples::LAB_NOTES, after_long_help = examples::long_help("lab"))]
pub(crate) struct LabArgs {
    /// Command to run in the near end, with its arguments [default: a shell]
    #[arg(value_name = "COMMAND", last = true)]
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
    /// Seed of all random choices: the same seed makes the same choice for each packet [default:
    /// drawn, and printed]
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
    #[command(flatten)]
    _config: ConfigArgs,
}

/// Declares a flag for each defect; its value goes into the specification.
macro_rules! defect_flags {
    ($($(#[doc = $doc:literal])* $field:ident $word:literal $value:tt $($attribute:ident = $setting:expr)*;)*) => {
        /// Each flag is the defect of that name.
        #[derive(Args)]
        struct DefectArgs {
            $($(#[doc = $doc])*
            #[arg(help_heading = DEFECTS, long = $word, value_name = $value $(, $attribute = $setting)*)]
            $field: Option<String>,)*
        }

        impl DefectArgs {
            /// The specification of each that was given.
            fn specs(self) -> Vec<String> {
                let typed = [$(($word, self.$field)),*];
                typed.into_iter().filter_map(|(word, value)| Some(spec(word, &value?))).collect()
            }
        }

        #[cfg(test)]
        const WORDS: &[&str] = &[$($word),*];
    };
}

/// The specification of a flag: `loss=1%`, `nat idle-silent=5s`, `nat`.
fn spec(word: &str, value: &str) -> String {
    let takes_value = DefectKind::all().any(|kind| kind.word() == word && kind.example().contains('='));
    match value {
        "" => word.into(),
        value if takes_value => format!("{word}={value}"),
        value => format!("{word} {value}"),
    }
}

defect_flags! {
    /// Drop packets, such as 1%, or `1% burst=5`
    loss "loss" "ODDS";
    /// Drop segments with SYN
    syn_loss "syn-loss" "ODDS";
    /// Send packets twice
    duplicate "duplicate" "ODDS";
    /// Send packets after the next one of their flow; `5% by=3`: after the third
    reorder "reorder" "ODDS";
    /// Make the checksum of TCP, UDP or ICMP wrong
    corrupt_checksum "corrupt-checksum" "ODDS";
    /// Invert a bit of the payload, and fix the checksum, as bad memory does
    corrupt_payload "corrupt-payload" "ODDS";
    /// Hold packets back, such as 30ms or 30ms+-5ms
    delay "delay" "TIME";
    /// Hold each packet back for up to this long: packets overtake each other
    jitter "jitter" "TIME";
    /// Send at this rate, such as 10Mbit/s, or `1MiB/s queue=1MiB`
    rate "rate" "RATE";
    /// Drop longer packets and send an ICMP message; `1400 silent` sends none
    mtu "mtu" "BYTES";
    /// Send longer packets as fragments, whatever DF says
    fragment "fragment" "BYTES";
    /// Lower the MSS of SYNs
    mss_clamp "mss-clamp" "BYTES";
    /// Take TCP options away: sack, timestamps, wscale, ecn or all-unknown, with + between
    strip "strip" "OPTIONS";
    /// Take options from the SYN-ACK alone, so that the ends disagree
    one_sided_strip "one-sided-strip" "OPTIONS";
    /// Set the DSCP to 0
    dscp_bleach "dscp-bleach" "FILTER" num_args = 0..=1 require_equals = true default_missing_value = "";
    /// Translate addresses, and forget with `idle-silent=350s`, `idle-reset=350s` or
    /// `half-closed-idle=60s`
    nat "nat" "OPTIONS" num_args = 0..=1 require_equals = true default_missing_value = "";
    /// Drop connections beyond this many at once, or reset them with `10 reset`
    cap "cap" "N";
    /// Drop all but SYNs, as a firewall that sees one direction
    asymmetric_conntrack "asymmetric-conntrack" "FILTER"
        num_args = 0..=1 require_equals = true default_missing_value = "";
    /// Reset connections with forged RSTs, such as at `@64KiB`
    rst_inject "rst-inject" "OPTIONS" num_args = 0..=1 require_equals = true default_missing_value = "";
    /// Take the FIN from segments
    eat_fin "eat-fin" "FILTER" num_args = 0..=1 require_equals = true default_missing_value = "";
    /// Drop all packets, such as from `@64KiB` or `@2s` on
    blackhole "blackhole" "WHEN" num_args = 0..=1 require_equals = true default_missing_value = "";
    /// End each connection in the router, and make a second one behind it
    split_tcp "split-tcp" "FILTER" num_args = 0..=1 require_equals = true default_missing_value = "";
}

impl LabArgs {
    pub(crate) fn meaning(self) -> Result<LabPlan> {
        let mut defects = Defects::default();
        if let Some(file) = &self.defects {
            let text = text_file::read_once(file).with_context(|| format!("--defects {}", file.display()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_defect_has_a_flag() {
        let known: Vec<_> = DefectKind::all().map(DefectKind::word).collect();
        assert_eq!(WORDS, known);
        for kind in DefectKind::all() {
            let example = kind.example();
            let value = example.split_once('=').map_or("", |(_, value)| value);
            let defects: Defects = spec(kind.word(), value).parse().unwrap();
            assert_eq!(defects.to_string(), example.parse::<Defects>().unwrap().to_string());
        }
        assert_eq!(spec("nat", "idle-silent=5s"), "nat idle-silent=5s");
        assert_eq!(spec("loss", "1% burst=5"), "loss=1% burst=5");
    }
}
