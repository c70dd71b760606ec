//! Specifications of defects, and packets that suffer from them.
#![no_main]

#[path = "../../tests/fuzz/lab.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::lab(data));
