//! The integration tests: one binary. What is tested against a socket runs once for each engine.

mod access;
mod child;
mod client;
mod each_engine;
mod engine;
#[path = "../fuzz/faults.rs"]
mod fuzz_faults;
#[path = "../fuzz/lab.rs"]
mod fuzz_lab;
#[path = "../fuzz/probe.rs"]
mod fuzz_probe;
#[path = "../fuzz/proxy.rs"]
mod fuzz_proxy;
mod harness;
mod house;
mod load;
mod not_tested;
mod program;
mod proto;
mod report;
mod tls;
mod tunnel;
