//! What an engine must do, on each of them.

mod bulk;
mod chaos;
mod connections;
pub(crate) mod dialing;
mod early_resets;
mod fairness;
mod inspector;
mod panics;
mod relay;
mod reports;
mod served_faults;
mod services;
mod shutdown;
#[cfg(target_os = "linux")]
mod stalls;
#[cfg(unix)]
mod unlisten;
mod urgent;
#[cfg(unix)]
mod volume;
