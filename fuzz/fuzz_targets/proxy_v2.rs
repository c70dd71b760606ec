//! PROXY protocol, version 2.
#![no_main]

#[path = "../../tests/fuzz/proxy.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::proxy(data));
