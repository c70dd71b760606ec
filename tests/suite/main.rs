//! The integration tests: one binary. What is tested against a socket runs once for each engine.

mod arrows;
#[cfg(target_os = "linux")]
mod chaos;
mod client;
mod conn;
mod connecting;
mod dialing;
mod documents;
mod engine;
mod fairness;
mod harness;
#[cfg(unix)]
mod interactive;
mod load;
mod loading;
mod pair;
mod pipe;
mod program;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(unix)]
mod results;
mod shutdown;
#[cfg(unix)]
mod startup;
#[cfg(unix)]
mod terminal;
mod truth;
mod volume;
