//! Replays the corpus of each fuzz target; `cargo +nightly fuzz run NAME ../tests/fuzz/corpus/NAME`
//! extends it.

use std::fs;
use std::path::Path;

use crate::{fuzz_faults, fuzz_lab, fuzz_probe, fuzz_proxy};

fn replay(target: &str, body: fn(&[u8])) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(files.len() >= 10, "{target}: {} files", files.len());
    for bytes in &files {
        // Cut anywhere, and with any one byte changed: most of what a fuzzer would find first.
        for end in 0..=bytes.len() {
            body(&bytes[..end]);
        }
        for at in 0..bytes.len().min(256) {
            for change in [1, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                body(&changed);
            }
        }
    }
    files
}

#[test]
fn faults() {
    let files = replay("faults", fuzz_faults::faults);
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    let specs = files.iter().filter(|bytes| text(bytes).parse::<resound_faults::FaultSpec>().is_ok()).count();
    let read = files.iter().filter(|bytes| resound_faults::FaultFile::parse(&text(bytes)).is_ok()).count();
    assert!(specs >= 10 && read >= 1, "{specs} specifications, {read} files");
}

#[test]
fn lab() {
    let files = replay("lab", fuzz_lab::lab);
    let spec =
        |bytes: &Vec<u8>| String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
    let valid = files.iter().filter(|bytes| spec(bytes).parse::<resound_lab::Defects>().is_ok()).count();
    assert!(valid >= 10, "{valid} valid specifications");
}

#[test]
fn probe() {
    let files = replay("probe", fuzz_probe::probe);
    let is_played = |line: &[u8]| matches!(resound_probe::ProbeRequest::parse(line), Some(Ok(_)));
    let line = |bytes: &Vec<u8>| bytes.split(|byte| *byte == b'\n').next().unwrap().to_vec();
    let played = files.iter().filter(|bytes| is_played(&line(bytes))).count();
    assert!(played >= 10, "{played} requests that are played");
}

#[test]
fn proxy_v1() {
    let files = replay("proxy_v1", fuzz_proxy::proxy);
    assert!(files.iter().filter(|bytes| resound::proxy::parse(bytes).is_ok()).count() >= 5);
}

#[test]
fn proxy_v2() {
    let files = replay("proxy_v2", fuzz_proxy::proxy);
    assert!(files.iter().filter(|bytes| resound::proxy::parse(bytes).is_ok()).count() >= 7);
}
