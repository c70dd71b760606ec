//! The far end of a check.
#![no_main]

#[path = "../../tests/fuzz/probe.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::probe(data));
