//! The integration tests: one binary. What is tested against a socket runs once for each engine.

mod arrows;
#[cfg(target_os = "linux")]
mod chaos;
mod client;
mod conn;
mod documents;
mod engine;
mod harness;
mod pair;
mod program;
#[cfg(target_os = "linux")]
mod refused;
mod shutdown;
#[cfg(unix)]
mod startup;
#[cfg(unix)]
mod terminal;
mod volume;
