//! What a lab is to be.

use std::path::PathBuf;

use crate::Defects;

/// The MTU of the links, unless another is asked for.
const MTU: u16 = 1500;

/// What a lab is to be.
#[derive(Clone, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) struct LabSettings {
    pub(crate) defects: Defects,
    pub(crate) seed: u64,
    pub(crate) mtu: u16,
    pub(crate) capture: Option<PathBuf>,
}

impl Default for LabSettings {
    fn default() -> Self {
        Self { defects: Defects::default(), seed: 0, mtu: MTU, capture: None }
    }
}
