//! The flags of `resound health`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::admin::admin_address;
use super::{address, examples};
use crate::health::{HealthPlan, HealthTarget};
use crate::units;

#[derive(Args)]
#[command(after_help = examples::HEALTH_NOTES, after_long_help = examples::long_help("health"))]
pub(crate) struct HealthArgs {
    /// Host of the server [default: 127.0.0.1]
    host: Option<String>,
    /// Port of the server, which must answer one line [default: 8888]
    port: Option<String>,
    /// Ask /readyz of a program that was started with --admin ADDR instead
    ///
    /// So a TLS server, a relay, and a server that discards can be asked.
    #[arg(long, value_name = "ADDR", value_parser = admin_address, conflicts_with_all = ["host", "port"])]
    admin: Option<SocketAddr>,
    /// How long all of it may take
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "2s")]
    timeout: Duration,
}

impl HealthArgs {
    pub(crate) fn meaning(self) -> Result<HealthPlan> {
        let target = match self.admin {
            Some(address) => HealthTarget::Admin(address),
            None => HealthTarget::Server(address(self.host.as_deref(), self.port.as_deref())?),
        };
        Ok(HealthPlan { target, timeout: self.timeout })
    }
}
