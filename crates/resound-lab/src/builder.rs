//! Says what a lab is to be, and starts it.

use std::path::PathBuf;

use crate::Defects;
use crate::error::LabError;
#[cfg(target_os = "linux")]
use crate::lab::Lab;
use crate::settings::LabSettings;

/// What a lab is to be: without defects, until some are given.
#[derive(Clone, Debug, Default)]
pub struct LabBuilder(LabSettings);

impl LabBuilder {
    /// The router has these defects.
    pub fn defects(mut self, defects: Defects) -> Self {
        self.0.defects = defects;
        self
    }

    /// All draws come from this seed; 0 unless it is given.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// The MTU of both links in bytes; 1500 unless it is given.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.0.mtu = mtu;
        self
    }

    /// Writes the packets of both sides to a file (pcapng).
    pub fn capture(mut self, file: impl Into<PathBuf>) -> Self {
        self.0.capture = Some(file.into());
        self
    }

    /// Starts the lab. On an error nothing of it is left.
    #[cfg(target_os = "linux")]
    pub fn start(self) -> Result<Lab, LabError> {
        crate::lab::start(self.0)
    }

    /// Always an error on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn start(self) -> Result<std::convert::Infallible, LabError> {
        let reason = std::io::ErrorKind::Unsupported.into();
        Err(LabError::Refused { step: crate::error::LabStep::System, reason })
    }
}

#[cfg(target_os = "linux")]
impl Lab {
    /// A lab without defects, until some are given.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }
}
