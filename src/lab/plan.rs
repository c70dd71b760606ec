//! What the flags of `resound lab` mean.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use resound_lab::Defects;

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
