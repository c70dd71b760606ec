//! `resound lab`.

#[cfg(target_os = "linux")]
mod ends;
mod plan;
mod refused;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use self::plan::LabPlan;
pub(crate) use self::refused::advice;

#[cfg(target_os = "linux")]
pub(crate) fn run(plan: LabPlan) -> Result<ExitCode> {
    ends::run(plan)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_plan: LabPlan) -> Result<ExitCode> {
    let (step, reason) = (resound_lab::LabStep::System, std::io::ErrorKind::Unsupported.into());
    Err(resound_lab::LabError::Refused { step, reason }.into())
}
