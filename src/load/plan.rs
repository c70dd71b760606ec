//! [`LoadPlan`]: the meaning of the flags of `resound load`.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use resound::{Address, Engine, Family};
use resound_load::{Mode, Settings};

use crate::args::StepRange;
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
    pub(crate) ramp: Option<RampPlan>,
    pub(crate) output: Output,
}

pub(crate) enum LoadTarget {
    At(Address),
    /// A server started for the run, with the options of its TLS.
    Loopback(Option<HandshakeOptions>),
}

pub(crate) struct RampPlan {
    pub(crate) steps: StepRange,
    pub(crate) every: Duration,
    pub(crate) until: Vec<Gate>,
}

impl RampPlan {
    /// The ramp for the results.
    pub(crate) fn settings(&self) -> resound_load::RampSteps {
        let StepRange { of, from, to, by } = self.steps;
        let until = self.until.iter().map(|gate| gate.text.clone()).collect();
        resound_load::RampSteps { of, from, to, by, every: self.every, until }
    }
}
