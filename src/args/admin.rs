//! The flags about metrics and health, of `resound server`, `relay` and `load`.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

use crate::admin::{self, AdminPlan};

/// The heading in the help, and of the tables in the guides.
const ADMIN: &str = "Metrics and health";

#[derive(Args)]
pub(super) struct AdminArgs {
    /// Listen on this address for metrics, health checks and a page to look at; a port alone
    /// listens on 127.0.0.1 [default: none]
    ///
    /// docs/admin.md describes what there is. It asks for no password: an address that other
    /// machines can reach shows them the addresses of peers.
    #[arg(help_heading = ADMIN, long, value_name = "ADDR", value_parser = admin_address)]
    admin: Option<SocketAddr>,
    /// Name by which --admin is reached, such as the name of a container (repeatable)
    ///
    /// A request is refused unless its Host is such a name, localhost or an IP address. This
    /// prevents DNS rebinding, by which a page of another site could read the metrics.
    #[arg(help_heading = ADMIN, long, value_name = "NAME", requires = "admin")]
    admin_host: Vec<String>,
}

impl AdminArgs {
    /// Those that the listener and its clients take.
    pub(super) fn descriptors(&self) -> usize {
        self.admin.map_or(0, |_| admin::DESCRIPTORS)
    }

    pub(super) fn meaning(self) -> Option<AdminPlan> {
        let names = self.admin_host;
        self.admin.map(|address| AdminPlan { address, names, faults: None })
    }
}

/// The address of `--admin`: a port is one of this machine's.
pub(super) fn admin_address(text: &str) -> Result<SocketAddr, String> {
    let on_this_machine = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    match on_this_machine.parse() {
        Ok(port) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        Err(_) if on_this_machine.bytes().all(|byte| byte.is_ascii_digit()) && !on_this_machine.is_empty() => {
            Err(format!("'{on_this_machine}' is not a port (0 to 65535)"))
        }
        Err(_) => {
            text.parse().map_err(|_| "write an IP address with a port, such as 127.0.0.1:9464, or a port alone".into())
        }
    }
}
