//! The integration tests: one binary. What is tested against a socket runs once for each engine.

mod access;
mod arrows;
mod bench;
mod bulk;
#[cfg(target_os = "linux")]
mod certificates;
mod chaos;
mod child;
mod client;
#[cfg(unix)]
mod commands;
mod conn;
mod connecting;
mod dialing;
mod documents;
mod each_engine;
mod early_resets;
mod ending;
mod engine;
mod fairness;
mod flood;
#[path = "../fuzz/proxy.rs"]
mod fuzz_proxy;
mod fuzzing;
#[cfg(unix)]
mod guarded;
mod harness;
#[cfg(unix)]
mod interactive;
mod load;
mod load_codes;
mod load_ends;
mod load_faults;
mod load_outage;
mod load_stalls;
mod load_timestamps;
mod load_tls;
mod loading;
mod not_tested;
mod opening;
mod pair;
mod panics;
mod pipe;
mod program;
mod proxy;
mod records;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(unix)]
mod resets;
#[cfg(unix)]
mod resizing;
#[cfg(unix)]
mod results;
mod services;
mod shutdown;
#[cfg(unix)]
mod signals;
mod silence;
#[cfg(target_os = "linux")]
mod stalls;
#[cfg(unix)]
mod startup;
#[cfg(unix)]
mod stdio;
#[cfg(unix)]
mod terminal;
mod tls;
mod tls_program;
mod trust;
mod truth;
mod tunnel;
mod tutorial;
mod urgent;
mod volume;
