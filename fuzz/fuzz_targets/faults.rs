//! Specifications of faults, and files of them.
#![no_main]

#[path = "../../tests/fuzz/faults.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::faults(data));
