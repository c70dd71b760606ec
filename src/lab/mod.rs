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
pub(crate) fn run(plan: LabPlan) -> Result<ExitCode> {
    resound_lab::LabBuilder::default().defects(plan.defects).start()?;
    Ok(ExitCode::SUCCESS)
}
