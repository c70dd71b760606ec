//! `resound lab`.

#[cfg(target_os = "linux")]
mod ends;
mod refused;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use resound_lab::Defects;

pub(crate) use self::refused::advice;

/// The meaning of the flags of `resound lab`.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) struct LabPlan {
    /// What runs in the near end.
    pub(crate) command: Vec<OsString>,
    /// What a shell runs in the far end.
    pub(crate) far: Option<String>,
    pub(crate) far_wait: Duration,
    pub(crate) defects: Defects,
    pub(crate) seed: u64,
    pub(crate) capture: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) mtu: u16,
    pub(crate) is_quiet: bool,
}

#[cfg(target_os = "linux")]
pub(crate) fn run(plan: LabPlan) -> Result<ExitCode> {
    ends::run(plan)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_plan: LabPlan) -> Result<ExitCode> {
    let (step, reason) = (resound_lab::LabStep::System, std::io::ErrorKind::Unsupported.into());
    Err(resound_lab::LabError::Refused { step, reason }.into())
}
