//! [`LoadPlan`]: the meaning of the flags of `resound load`.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use resound::{Address, Engine, Family};
use resound_load::{Mode, Settings};

use crate::admin::AdminPlan;
use crate::client::{ConnectSetup, HandshakeOptions};
use crate::report::{Gate, Output};

/// The meaning of the flags of `resound load`.
pub(crate) struct LoadPlan {
    pub(crate) target: LoadTarget,
    pub(crate) family: Family,
    /// `None` detects the mode.
    pub(crate) mode: Option<Mode>,
    pub(crate) settings: Settings,
    pub(crate) warm_up: Duration,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) engine: Engine,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) congestion: Option<String>,
    /// The steps at the start of each connection.
    pub(crate) before: ConnectSetup,
    /// The conditions that end a ramp, whose steps are in the settings.
    pub(crate) until: Vec<Gate>,
    /// Metrics and health checks.
    pub(crate) admin: Option<AdminPlan>,
    /// Descriptors for those.
    pub(crate) beside: usize,
    pub(crate) output: Output,
}

pub(crate) enum LoadTarget {
    At(Address),
    /// A server started for the run, with the options of its TLS.
    Loopback(Option<HandshakeOptions>),
}
