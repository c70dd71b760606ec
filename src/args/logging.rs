//! The flags of the log, of `resound server` and `resound relay`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use resound::server::ipnet::IpNet;
use resound_console::settings::{ConsoleSettings, Format, LogDetail};

use crate::units;

/// The heading in the help, and of the tables in the guides.
const LOG: &str = "Log";

#[derive(Args)]
pub(super) struct LogArgs {
    /// How the console prints events
    #[arg(help_heading = LOG, long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,
    /// Which events are printed [default: messages; for a relay, failures]
    #[arg(help_heading = LOG, long, value_name = "WHAT", value_enum, conflicts_with = "quiet")]
    log: Option<LogDetail>,
    /// Begin each line of text with its time (RFC 3339, in UTC)
    ///
    /// Warnings on stderr get the time too, unless stderr is the systemd journal. JSON has the time
    /// anyway.
    #[arg(help_heading = LOG, long)]
    log_time: bool,
    /// Append the log to a file instead of stdout, and reopen it on SIGHUP
    ///
    /// A new file gets mode 0640, less the umask. Stdout still names the
    /// addresses.
    #[arg(help_heading = LOG, long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Keep connections from these addresses, such as health checks, out of the log (repeatable)
    ///
    /// Errors of this end still leave lines. With --proxy-protocol this applies to the
    /// client of the header, or to the proxy if the header names none.
    #[arg(help_heading = LOG, long, value_name = "CIDR", value_parser = units::network)]
    quiet_from: Vec<IpNet>,
}

/// Sets what --verbose wants.
pub(super) fn set_verbose(console: &mut ConsoleSettings, wanted: bool) -> Result<()> {
    if wanted && console.detail == Some(LogDetail::Off) {
        bail!("--verbose has no meaning with --log off, which prints no connection");
    }
    console.verbose = wanted;
    Ok(())
}

impl LogArgs {
    /// What the console prints, and the file that it prints to.
    pub(super) fn meaning(self, is_quiet: bool, quiet_local: bool) -> (ConsoleSettings, Option<PathBuf>) {
        let detail = if is_quiet { Some(LogDetail::Off) } else { self.log };
        let settings = ConsoleSettings {
            format: self.log_format,
            detail,
            with_time: self.log_time,
            verbose: false,
            quiet_local,
            quiet_from: self.quiet_from.into(),
        };
        (settings, self.log_file)
    }
}
