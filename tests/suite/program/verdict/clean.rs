//! Clean paths: no check fails, and warnings are true.
//! `cargo test --release --test suite -- --ignored verdict::clean`.

use super::found::{Found, FoundAll, each_of};
use super::labs::found;
use crate::child::Program;
use crate::program::lab::is_allowed;

/// So many runs of each path.
pub(super) fn rounds() -> usize {
    std::env::var("RESOUND_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

/// Paths that lose nothing.
const WHOLE: [&str; 19] = [
    "",
    "delay=1ms",
    "delay=10ms",
    "delay=50ms",
    "delay=150ms",
    "delay=300ms",
    "jitter=5ms",
    "jitter=20ms",
    "reorder=1%",
    "reorder=5%",
    "reorder=10% by=3",
    "rate=100Mbit/s",
    "rate=10Mbit/s",
    "rate=2Mbit/s",
    "rate=5Mbit/s queue=1MiB",
    "delay=30ms; rate=20Mbit/s",
    "delay=100ms; reorder=5%",
    "mss-clamp=1300",
    "mtu=1400",
];

/// Paths that lose packets.
const LOSSY: [&str; 6] = [
    "loss=0.1%",
    "loss=1%",
    "loss=3%",
    "delay=300ms; loss=3%",
    "delay=40ms; loss=1%; rate=10Mbit/s",
    "delay=20ms; jitter=10ms; loss=0.1%",
];

/// Runs at once: most of a run is waiting.
const AT_ONCE: usize = 3;

/// A clean path has no fail and no warning; what cannot be told may be at most one run of a
/// hundred without loss.
fn check(paths: &[&str], is_lossy: bool) {
    let runs = rounds() * paths.len();
    let found = each_of(runs, AT_ONCE, |run| {
        let defects = paths[run % paths.len()];
        let found = found(defects, "", false).unwrap();
        let wrong: Vec<_> = found.differences(&[], true).iter().map(|wrong| format!("`{defects}`: {wrong}")).collect();
        let all: Found = found.each.into_iter().flat_map(|(_, found)| found).collect();
        (wrong, (!all.is_empty()).then(|| format!("`{defects}`: {all:?}")))
    });
    let (wrong, unclear): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let (wrong, unclear) = (wrong.concat(), unclear.into_iter().flatten().collect::<Vec<_>>());
    eprintln!("{runs} runs over both families: {} wrong, {} unclear", wrong.len(), unclear.len());
    assert!(wrong.is_empty(), "{runs} runs: {}", wrong.join("\n"));
    assert!(is_lossy || unclear.len() <= runs.div_ceil(100), "{runs} runs: {}", unclear.join("\n"));
}

#[test]
#[ignore = "takes long; docs/testing.md"]
fn a_lab_without_loss_raises_no_alarm() {
    if is_allowed("clean paths of a lab") {
        check(&WHOLE, false);
    }
}

#[test]
#[ignore = "takes long; docs/testing.md"]
fn a_lab_with_loss_raises_no_alarm() {
    if is_allowed("clean paths of a lab with loss") {
        check(&LOSSY, true);
    }
}

#[test]
#[ignore = "takes long; docs/testing.md"]
fn loopback_raises_no_alarm() {
    let (_server, address) = Program::server(&["-q"]);
    let address = address.to_string();
    let runs = 4 * rounds();
    let unclear: Vec<_> = (0..runs)
        .map(|_| FoundAll::of(&["test", &address, "--json"]).unwrap())
        .filter(|found| found.each.iter().any(|(_, found)| !found.is_empty()))
        .map(|found| format!("{:?}", found.each))
        .collect();
    eprintln!("{runs} runs: {} unclear", unclear.len());
    assert!(unclear.iter().all(|found| !found.contains("fail ") && !found.contains("warn ")), "{unclear:?}");
    assert!(unclear.len() <= runs.div_ceil(100), "{runs} runs: {unclear:?}");
}
