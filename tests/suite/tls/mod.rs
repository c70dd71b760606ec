//! TLS: in memory, on each engine, and as a user of the program sees it.

#[cfg(target_os = "linux")]
mod certificates;
mod connections;
mod exporter;
mod flood;
mod program;
mod records;
pub(crate) mod trust;
