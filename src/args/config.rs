//! The flags about the configuration, of each command that has one.

use std::path::PathBuf;

use clap::Args;

/// The heading in the help, and of the table in docs/config.md. The flags under it are no keys of a
/// file, and but for --config the environment does not set them.
pub(crate) const CONFIGURATION: &str = "Configuration";

/// `config` reads them before the rest of the command line has a meaning.
#[derive(Args)]
#[allow(dead_code, reason = "`config` takes them from the matches, before the others are complete")]
pub(super) struct ConfigArgs {
    /// File with values of flags (TOML); RESOUND_ variables and flags override it
    ///
    /// It has a table for each command, such as [server], in which the flags' names are the keys. A
    /// switch is turned off with --quiet=false.
    #[arg(help_heading = CONFIGURATION, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ignore what the file and the environment set for this flag (repeatable)
    #[arg(help_heading = CONFIGURATION, long, value_name = "NAME")]
    without: Vec<String>,
    /// Print the value of each flag and its source, as a file for --config; start nothing
    #[arg(help_heading = CONFIGURATION, long)]
    print_config: bool,
    /// Read all of it, also certificates and other files, and say whether it is right; start
    /// nothing
    #[arg(help_heading = CONFIGURATION, long, conflicts_with = "print_config")]
    check_config: bool,
}
