//! The kernel's own packet filter between the ends, as nftables has it.
//! `cargo test --release --test suite -- --ignored verdict::filters`.

use std::process::Command;

use super::found::{FoundAll, each_of};
use crate::child::Program;
use crate::not_tested::not_tested;

/// A rule that the packets of a connection pass, and what must be found behind it.
struct FilterRow {
    rule: &'static str,
    flags: &'static str,
    wanted: &'static [&'static str],
    /// Nothing is left unknown.
    is_whole: bool,
}

const fn row(rule: &'static str, wanted: &'static [&'static str]) -> FilterRow {
    FilterRow { rule, flags: "", wanted, is_whole: false }
}

/// A rule that does not keep any check from judging.
const fn whole(rule: &'static str, wanted: &'static [&'static str]) -> FilterRow {
    FilterRow { is_whole: true, ..row(rule, wanted) }
}

/// The server's port is 8888 in a network of its own. Packets are as large as on an Ethernet.
const ROWS: [FilterRow; 21] = [
    whole("accept", &[]),
    row("tcp dport 8888 meta length > 1300 drop", &["fail mtu-out out"]),
    row("tcp sport 8888 meta length > 1300 drop", &["fail mtu-in in"]),
    row("tcp dport 8888 meta length > 60 drop", &["fail accept-truth"]),
    row("tcp dport 8888 tcp flags & (syn|ack) == ack drop", &["fail accept-truth out"]),
    row("tcp sport 8888 meta length > 60 drop", &["unknown accept-truth"]),
    row("tcp dport 8888 tcp flags & fin == fin drop", &["fail half-close-out out"]),
    row("tcp sport 8888 tcp flags & fin == fin drop", &["fail half-close-in in"]),
    row("tcp dport 8888 tcp flags & rst == rst drop", &["fail reset-out out"]),
    row("tcp sport 8888 tcp flags & rst == rst drop", &["fail reset-in in"]),
    row("tcp dport 8888 ct original bytes > 200000 drop", &["fail integrity out"]),
    row("tcp sport 8888 ct reply bytes > 200000 drop", &["fail integrity in"]),
    row("tcp dport 8888 ct original bytes > 200000 reject with tcp reset", &["fail spurious-reset in"]),
    row("tcp dport 8888 ct state new ct count over 4 reject with tcp reset", &["fail churn"]),
    whole(
        "tcp dport 8888 ct state new limit rate over 5/second burst 5 packets reject with tcp reset",
        &["fail churn"],
    ),
    row("tcp dport 8888 tcp flags & (syn|ack) == syn limit rate over 5/second drop", &["warn churn"]),
    row("tcp dport 8888 tcp flags & syn == syn reset tcp option window", &["warn options out"]),
    row("tcp dport 8888 tcp flags & syn == syn reset tcp option sack-perm", &["warn options out"]),
    row("tcp sport 8888 tcp flags & syn == syn reset tcp option sack-perm", &["fail options in"]),
    row("tcp dport 8888 meta length > 600 numgen inc mod 50 == 0 @th,480,8 set 0x41", &["fail integrity out"]),
    FilterRow {
        rule: "tcp dport 8888 ct state new ct count over 20 drop",
        flags: "--only cap --connections 50",
        wanted: &["fail cap"],
        is_whole: true,
    },
];

/// What runs in the network of a row: root there, without a right outside.
const NETWORK: &str = "ip link set lo mtu 1500 gso_max_segs 1 up && printf '%s\\n' \"$rules\" | nft -f - || exit 9\n\
    \"$resound\" server 127.0.0.1 8888 --quiet >/dev/null &\n\
    \"$resound\" test 127.0.0.1 8888 --wait --json $flags";

fn check(row: &FilterRow) -> Result<(), String> {
    let rules =
        format!("table inet box {{\n chain path {{\n type filter hook input priority 0;\n {}\n }}\n}}", row.rule);
    let program = Program::command(&[]);
    let mut command = Command::new("unshare");
    command.args(["-rnpf", "--kill-child", "sh", "-c", NETWORK]).env("rules", &rules).env("flags", row.flags);
    command.env("resound", program.get_program());
    let found = FoundAll::from(command).map_err(|error| format!("`{}`: {error}", row.rule))?;
    let mut wrong = found.differences(row.wanted, false);
    let unknown = found.each.iter().flat_map(|(_, found)| found).filter(|found| found.starts_with("unknown "));
    wrong.extend(unknown.filter(|_| row.is_whole).map(|unknown| format!("not judged: {unknown}")));
    if wrong.is_empty() { Ok(()) } else { Err(format!("`{}`: {}\n{}", row.rule, wrong.join("; "), found.stdout)) }
}

/// Rows at once: most of a row is waiting.
const AT_ONCE: usize = 4;

#[test]
#[ignore = "needs nft, and a network of one's own; docs/testing.md"]
fn what_a_packet_filter_does_is_found_and_nothing_else() {
    let probe = "nft list ruleset && ip link show lo";
    let allowed = Command::new("unshare").args(["-rnpf", "--kill-child", "sh", "-c", probe]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return not_tested(
            "the verdict on a path with a packet filter",
            "unshare, nft or ip is missing, or not allowed",
        );
    }
    let wrong: Vec<_> =
        each_of(ROWS.len(), AT_ONCE, |at| check(&ROWS[at])).into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {} rows do not hold:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}
