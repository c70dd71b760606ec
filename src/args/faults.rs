//! The flags about faults on purpose, of `resound server` and `resound relay`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use resound::faults::{FaultProfile, FaultSpec, PROFILES, Role};

use crate::admin::FaultCounts;
use crate::faults::{CONTROL_DESCRIPTORS, FaultPlan, FaultSource, SourcedFaults};
use crate::server::ServingPlan;

/// The heading in the help, and of the tables in the guides.
const FAULTS: &str = "Fault injection";

#[derive(Args)]
pub(super) struct FaultArgs {
    /// What goes wrong, such as `1-2: reset @0B` or `down: delay=20ms+-5ms` (repeatable)
    ///
    /// docs/faults.md has the grammar, and a table of all faults.
    #[arg(
        help_heading = FAULTS, long, value_name = "SPEC", conflicts_with_all = ["faults", "replay"],
        allow_hyphen_values = true
    )]
    fault: Vec<FaultSpec>,
    /// Do to connections what a real box in the path does (repeatable; --fault adds to it)
    #[arg(
        help_heading = FAULTS, long = "as", value_name = "BOX", value_parser = profile(Role::Relay),
        conflicts_with_all = ["faults", "replay"]
    )]
    profiles: Vec<String>,
    /// File with the faults (TOML), read again when it changes and on SIGHUP
    #[arg(help_heading = FAULTS, long, value_name = "FILE", conflicts_with = "replay")]
    faults: Option<PathBuf>,
    /// Seed of each random choice, instead of the one in --faults: the same seed repeats the
    /// same faults [default: drawn, and printed unless --quiet]
    #[arg(
        help_heading = FAULTS, long, value_name = "N", conflicts_with = "replay", value_parser = seed,
        allow_hyphen_values = true
    )]
    seed: Option<u64>,
    /// Write the faults and each injection to a file, one JSON object a line (replaces the file)
    #[arg(help_heading = FAULTS, long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Inject the faults of a file of --record again
    #[arg(help_heading = FAULTS, long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Listen on this address for an HTTP API, by which a test sets faults and reads events
    #[arg(help_heading = FAULTS, long, value_name = "ADDR", value_parser = control_address)]
    control: Option<SocketAddr>,
    /// Let --control listen on an address that other machines can reach
    #[arg(help_heading = FAULTS, long, requires = "control")]
    control_open: bool,
}

impl FaultArgs {
    /// Is there any?
    pub(super) fn is_used(&self) -> bool {
        !self.fault.is_empty()
            || !self.profiles.is_empty()
            || self.faults.is_some()
            || self.seed.is_some()
            || self.record.is_some()
            || self.replay.is_some()
            || self.control.is_some()
    }

    /// What they mean, and for the program that has them.
    pub(super) fn meaning(self, serving: &mut ServingPlan) -> Result<FaultPlan> {
        let role = if serving.targets.is_empty() { Role::Server } else { Role::Relay };
        if let Some(name) = self.profiles.iter().find(|name| !is_possible(name, role)) {
            bail!("--as {name} takes two connections, and a server has one for each client: use `resound relay`");
        }
        let source = match (self.faults, self.replay) {
            (Some(file), _) => FaultSource::File(file),
            (None, Some(record)) => FaultSource::Record(record),
            (None, None) => {
                let of_boxes = self.profiles.iter().filter_map(|name| FaultProfile::named(name));
                let boxes = of_boxes.map(|profile| profile.faults.to_string());
                let all: Vec<String> = boxes.chain(self.fault.iter().map(ToString::to_string)).collect();
                match all.is_empty() {
                    true => FaultSource::Nowhere,
                    false => FaultSource::Spec(all.join("; ").parse()?),
                }
            }
        };
        if matches!(source, FaultSource::Nowhere) && self.seed.is_some() && self.control.is_none() {
            bail!("--seed has no meaning without --fault, --as, --faults or --control");
        }
        let control = self.control;
        if let Some(address) = control.filter(|address| !self.control_open && !address.ip().is_loopback()) {
            bail!("--control {address}: other machines could set faults there; --control-open allows that");
        }
        let faults = SourcedFaults::new(source, self.seed);
        if self.record.is_some() {
            serving.upgrade.refusal = Some("the file of --record would begin anew");
        }
        serving.beside += control.map_or(0, |_| CONTROL_DESCRIPTORS);
        let counts = Arc::new(FaultCounts::of(role));
        serving.admin.iter_mut().for_each(|admin| admin.faults = Some(Arc::clone(&counts)));
        Ok(FaultPlan { faults, record: self.record, control, counts })
    }
}

/// The names of the boxes, each with what it does. The help leaves out those that the program
/// cannot be; their names are refused later, with the reason.
pub(super) fn profile(role: Role) -> PossibleValuesParser {
    let value = |profile: &FaultProfile| {
        PossibleValue::new(profile.name).help(profile.what).hide(!is_possible(profile.name, role))
    };
    PossibleValuesParser::new(PROFILES.iter().map(value))
}

/// Whether the program can do what this box does.
fn is_possible(name: &str, role: Role) -> bool {
    let faults = FaultProfile::named(name).and_then(|profile| profile.faults.parse::<FaultSpec>().ok());
    faults.is_some_and(|faults| faults.check_for(role).is_ok())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// The address of `--control`: a port is one of this machine's.
fn control_address(text: &str) -> Result<SocketAddr, String> {
    let on_this_machine = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    match on_this_machine.parse() {
        Ok(port) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        Err(_) => {
            text.parse().map_err(|_| "write an IP address with a port, such as 127.0.0.1:8474, or a port alone".into())
        }
    }
}
