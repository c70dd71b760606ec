//! The defects of the lab, and what `resound test` must find for each: these checks, in this
//! direction, over IPv4 and IPv6, and no others.
//!
//! A few run by default where the system allows a lab; the others with
//! `cargo test --release --test suite -- --ignored verdict`.

use super::found::{FoundAll, each_of};
use crate::program::lab::{is_allowed, program};

/// A planted defect.
pub(super) struct LabRow {
    defects: &'static str,
    flags: &'static str,
    /// What must be found. `may ` stands before what may.
    wanted: &'static [&'static str],
    is_lossy: bool,
    has_tls: bool,
}

const fn row(defects: &'static str, wanted: &'static [&'static str]) -> LabRow {
    LabRow { defects, flags: "", wanted, is_lossy: false, has_tls: false }
}

/// Packets are lost: a check may be flaky, too.
const fn lossy(defects: &'static str, wanted: &'static [&'static str]) -> LabRow {
    LabRow { is_lossy: true, ..row(defects, wanted) }
}

const fn with(flags: &'static str, row: LabRow) -> LabRow {
    LabRow { flags, ..row }
}

const fn tls(row: LabRow) -> LabRow {
    LabRow { has_tls: true, ..row }
}

const NAT: &str = "warn address out";
const RESET: &str = "fail spurious-reset";

/// Those that take a few seconds.
const QUICK: [LabRow; 6] = [
    row("", &[]),
    row("strip=sack", &["warn options out"]),
    row("one-sided-strip=timestamps", &["fail options in"]),
    row("nat", &[NAT]),
    row("dscp-bleach", &["warn options out"]),
    row("rst-inject @8KiB", &[RESET]),
];

const ROWS: [LabRow; 84] = [
    lossy("loss=1%", &[]),
    lossy("up: loss=3%", &[]),
    lossy("down: loss=3%", &[]),
    lossy("loss=0.5%/20%/80%/0%", &[]),
    lossy("syn-loss=20%", &[]),
    row("duplicate=5%", &[]),
    row("reorder=5%", &[]),
    row("reorder=20% by=3", &[]),
    lossy("corrupt-checksum=1%", &[]),
    row("corrupt-payload=20% length=1000..", &["fail integrity both"]),
    row("up: corrupt-payload=20% length=1000..", &["fail integrity out"]),
    row("down: corrupt-payload=20% length=1000..", &["fail integrity in"]),
    row("delay=20ms", &[]),
    row("delay=150ms", &[]),
    row("jitter=10ms", &[]),
    row("rate=10Mbit/s", &[]),
    row("up: rate=2Mbit/s", &[]),
    row("down: rate=2Mbit/s", &[]),
    row("mtu=1400", &[]),
    row("up: mtu=1400", &[]),
    row("down: mtu=1400", &[]),
    row("mtu=1400 silent", &["fail mtu-in in", "fail mtu-out out"]),
    row("up: mtu=1400 silent", &["fail mtu-out out"]),
    row("down: mtu=1400 silent", &["fail mtu-in in"]),
    row("mtu=600 silent", &["fail mtu-in in", "fail mtu-out out"]),
    row("up: mtu=600 silent", &["fail mtu-out out"]),
    row("down: mtu=600 silent", &["fail mtu-in in"]),
    // IPv6 has no path of less than 1,280 bytes, whatever ICMP says.
    row("mtu=600", &["may fail mtu-in in", "may fail mtu-out out"]),
    row("fragment=1400", &[]),
    row("mss-clamp=1200", &[]),
    row("mss-clamp=600", &[]),
    row("strip=timestamps", &["warn options out"]),
    row("strip=wscale", &["warn options out"]),
    row("strip=ecn", &[]),
    row("strip=all-unknown", &[]),
    row("up: strip=sack", &["warn options out"]),
    row("down: strip=sack", &["fail options in"]),
    row("down: strip=timestamps", &["fail options in"]),
    row("one-sided-strip=sack", &["fail options in"]),
    row("one-sided-strip=wscale", &["fail options in"]),
    row("one-sided-strip=ecn", &[]),
    row("up: dscp-bleach", &["warn options out"]),
    row("down: dscp-bleach", &[]),
    row("nat ports=changed", &[NAT]),
    with("--idle 12s", row("nat idle-silent=5s", &[NAT, "warn idle"])),
    with("--idle 12s", row("nat idle-reset=5s", &[NAT, "warn idle"])),
    with("--idle 12s", row("nat half-closed-idle=3s", &[NAT, "fail half-closed-idle both"])),
    with("--connections 60", row("cap=20", &["fail cap"])),
    with("--connections 60", row("cap=20 reset", &["fail cap"])),
    row("up: asymmetric-conntrack", &["fail accept-truth out"]),
    row("rst-inject @64KiB", &[RESET]),
    row("down: rst-inject @64KiB", &["fail spurious-reset in"]),
    row("up: rst-inject @64KiB", &["fail spurious-reset out"]),
    row("rst-inject to=near @64KiB", &[RESET]),
    row("rst-inject 20%", &["flaky churn", "may flaky connect"]),
    row("eat-fin", &["fail half-close-in in", "fail half-close-out out"]),
    row("up: eat-fin", &["fail half-close-out out"]),
    row("down: eat-fin", &["fail half-close-in in"]),
    row("blackhole @64KiB", &["fail integrity both"]),
    row("up: blackhole @64KiB", &["fail integrity out"]),
    row("down: blackhole @64KiB", &["fail integrity in"]),
    // No transfer lasts so long on a busy machine.
    with("--idle 24s", row("blackhole @6s", &["fail idle"])),
    row("split-tcp", SPLIT),
    tls(row("", &[])),
    tls(row("split-tcp", SPLIT)),
    tls(row("strip=wscale", &["warn options out"])),
    tls(row("rst-inject @64KiB", &[RESET])),
    tls(row("down: mtu=1400 silent", &["fail mtu-in in"])),
    tls(row("up: mtu=1400 silent", &["fail mtu-out out"])),
    tls(row("mtu=1400 silent", &["fail mtu-in in", "fail mtu-out out"])),
    tls(row("up: mtu=1000 silent", &["fail mtu-out out"])),
    row("up: mtu=1400 silent; down: eat-fin", &["fail half-close-in in", "fail mtu-out out"]),
    row("up: eat-fin; strip=wscale", &["fail half-close-out out", "warn options out"]),
    row("nat; down: mtu=1300 silent", &[NAT, "fail mtu-in in"]),
    row("one-sided-strip=sack; rst-inject @64KiB", &["fail options in", RESET]),
    row("mss-clamp=1200; up: eat-fin", &["fail half-close-out out"]),
    row("strip=timestamps; dscp-bleach", &["warn options out"]),
    row("down: corrupt-payload=20% length=1000..; up: eat-fin", &["fail integrity in", "may fail half-close-out out"]),
    lossy("loss=1%; up: eat-fin", &["fail half-close-out out"]),
    row("delay=40ms; rate=20Mbit/s; nat", &[NAT]),
    row("delay=100ms; down: mtu=1400 silent", &["fail mtu-in in"]),
    row("up: mtu=1400 silent; down: rst-inject @64KiB", &["fail mtu-out out", "fail spurious-reset in"]),
    row("down: blackhole @64KiB; up: strip=sack", &["fail integrity in", "warn options out"]),
    lossy("mtu=1400 silent; loss=1%", &["fail mtu-in in", "fail mtu-out out"]),
];

/// What follows a RST may overtake what the router still holds.
const SPLIT: &[&str] = &["warn options out", "warn split-tcp", "may warn reset-in in", "may warn reset-out out"];

/// Runs a test in a lab, by name, so that both families are tested.
pub(super) fn found(defects: &str, flags: &str, has_tls: bool) -> Result<FoundAll, String> {
    let resound = program();
    let with_tls = if has_tls { ["--tls", "--tls --insecure"] } else { ["", ""] };
    let far = format!("{resound} server far 8888 -q {}", with_tls[0]);
    let near = format!("{resound} test far 8888 --json {} {flags}", with_tls[1]);
    let mut args = vec!["lab", "-q", "--seed", "1"];
    if !defects.is_empty() {
        args.extend(["--defect", defects]);
    }
    args.extend(["--far", &far, "--", "sh", "-c", &near]);
    FoundAll::of(&args)
}

fn check(row: &LabRow) -> Result<(), String> {
    let name = format!("`{}` {}{}", row.defects, row.flags, if row.has_tls { " with TLS" } else { "" });
    let found = found(row.defects, row.flags, row.has_tls).map_err(|error| format!("{name}: {error}"))?;
    let mut wrong = found.differences(row.wanted, row.is_lossy);
    if found.each.len() != 2 {
        wrong.push(format!("{} addresses, not one of each family", found.each.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{name}: {}\n{}", wrong.join("; "), found.stdout)) }
}

/// Rows at once: most of a row is waiting.
const AT_ONCE: usize = 4;

fn check_all(rows: &[LabRow]) {
    let wrong: Vec<_> =
        each_of(rows.len(), AT_ONCE, |at| check(&rows[at])).into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {} rows do not hold:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn quick_defects_of_a_lab_are_found_and_no_others() {
    if is_allowed("the verdict on the paths of a lab") {
        check_all(&QUICK);
    }
}

#[test]
#[ignore = "takes a quarter of an hour; docs/testing.md"]
fn each_defect_of_a_lab_is_found_and_no_others() {
    if is_allowed("the verdict on the paths of a lab") {
        check_all(&ROWS);
    }
}
