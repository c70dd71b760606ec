//! The configuration of a server or a relay: checked without a start, and read again while it runs.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use resound::faults::LiveFaults;
use resound::proxy::Proxies;

use crate::args::CliCommand;
use crate::config::{self, Config, Unconfigured};
use crate::faults::{FaultSource, SourcedFaults};
use crate::reload::{FlagValues, LiveConfig, NewSettings};
use crate::server::{ProxyMode, ServingPlan};

/// What a running server needs to read its file again. `typed` are the arguments of the program,
/// which hold on.
pub(crate) fn live_config(config: Option<&Config>, typed: &[OsString]) -> Option<LiveConfig> {
    let config = config?;
    let (file, typed) = (config.file.clone()?, typed.to_vec());
    let had_table = !config.lacks_table;
    let read = move || {
        let again = config::read(&typed).map_err(Unconfigured::into_error)?;
        // It may be half written.
        if had_table && again.config.as_ref().is_some_and(|config| config.lacks_table) {
            return Err(anyhow!("its table is gone from the file"));
        }
        let values = again.config.map(|config| config.values()).unwrap_or_default();
        new_settings(again.command, values)
    };
    Some(LiveConfig { file, values: config.values(), read: Arc::new(read) })
}

fn new_settings(command: CliCommand, values: FlagValues) -> Result<NewSettings> {
    let (serving, framing, faults) = match command {
        CliCommand::Server(typed) => {
            let plan = typed.meaning()?;
            (plan.serving, Some(plan.framing), plan.faults)
        }
        CliCommand::Relay(typed) => {
            let plan = typed.meaning()?;
            (plan.serving, None, Some(plan.faults))
        }
        _ => return Err(anyhow!("this command is no server")),
    };
    let ServingPlan { access, limits, max_connections, drain_timeout, tls, proxies, .. } = serving;
    let proxies: Option<Proxies> = match proxies {
        ProxyMode::By(proxies) => Some(proxies),
        ProxyMode::Here | ProxyMode::Not => None,
    };
    let none = || SourcedFaults::new(FaultSource::Nowhere, None);
    let faults = Some(faults.map_or_else(none, |plan| plan.faults));
    Ok(NewSettings { values, access, limits, max_connections, drain_timeout, tls, proxies, framing, faults })
}

/// Reads all that a command would read, and starts nothing. Returns what it would warn of.
pub(crate) fn check(command: CliCommand) -> Result<Vec<String>> {
    let (serving, faults, live) = match command {
        CliCommand::Server(typed) => {
            let plan = typed.meaning()?;
            (plan.serving, plan.faults, LiveFaults::of_server())
        }
        CliCommand::Relay(typed) => {
            let plan = typed.meaning()?;
            (plan.serving, Some(plan.faults), LiveFaults::of_relay())
        }
        CliCommand::Client(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Test(typed) if typed.watches() => return typed.watch().map(|_| Vec::new()),
        CliCommand::Test(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Load(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Lab(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Health(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Top(typed) => return typed.meaning().map(|_| Vec::new()),
        CliCommand::Report(_) | CliCommand::Completions(_) | CliCommand::Man(_) => return Ok(Vec::new()),
    };
    faults.map_or(Ok(()), |plan| plan.check(&live))?;
    serving.check()
}
