//! The program: its server, its start, its signals and standard streams.

mod admin;
mod config;
mod control;
#[cfg(unix)]
mod ending;
#[cfg(target_os = "linux")]
mod explained;
#[cfg(unix)]
mod fault_file;
mod faults;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(unix)]
mod log;
#[cfg(target_os = "linux")]
mod refused;
mod relay;
mod server;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod startup;
#[cfg(unix)]
mod stdio;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(unix)]
pub(crate) mod terminal;
mod tutorial;
#[cfg(target_os = "linux")]
mod unit;
#[cfg(unix)]
mod upgrade;
mod verdict;
#[cfg(unix)]
mod warnings;
mod watch;
