//! The end of a watch, for a reader.

use std::fmt::Write;
use std::time::Duration;

use resound_console::escape;
use resound_verdict::watch::{ConnectCounts, WatchCounts, WatchEpisode, WatchRecord};

use super::WatchPlan;
use crate::colour::Colour;
use crate::units;

/// The episodes that are shown.
const SHOWN: usize = 50;
/// A shorter gap is not worth a word beside what ended.
const SHORT: Duration = Duration::from_millis(50);
/// This machine's stalls are worth a line from here on.
const STALL: Duration = Duration::from_millis(500);

pub(super) fn render(plan: &WatchPlan, record: &WatchRecord, colour: Colour) -> String {
    let mut text =
        format!("\n{}\n", colour.strong(&format!("Watched {} for {}", plan.connect.address, clock(record.length))));
    for episode in record.episodes.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", colour.bad(&described(episode)));
    }
    let more = record.episodes.len().saturating_sub(SHOWN) as u64 + record.further_episodes;
    if more > 0 {
        let _ = writeln!(text, "  and {} more", units::counted(more, "episode"));
    }
    if record.episodes.is_empty() {
        let _ = writeln!(text, "  nothing happened");
    }
    text.push('\n');
    for (name, figures) in figures(plan, &record.total) {
        let _ = writeln!(text, "{name:<14} {figures}");
    }
    if let Some(failure) = &record.first_failure {
        let _ = writeln!(text, "{:<14} {}", "first failure", escape::text(failure.as_bytes()));
    }
    if record.total.stalled > STALL {
        let stalled = units::latency(record.total.stalled);
        let _ = writeln!(text, "{:<14} stalled for {stalled}, which counts as no gap and no delay", "this machine");
    }
    text.push('\n');
    text += &verdict(plan, &record.total, colour);
    text
}

fn verdict(plan: &WatchPlan, total: &WatchCounts, colour: Colour) -> String {
    let mut text = String::new();
    if plan.gates.is_empty() {
        let line = match (total.is_clean(), total.own_failures()) {
            (true, _) if !total.has_answers() => "nothing was measured: no heartbeat came due and was answered".into(),
            (true, 0) => colour.good("nothing was lost or late, and no connection ended"),
            (true, _) => "nothing was lost or late, but this machine could not make all connections".into(),
            (false, _) => colour.bad(failed(total)),
        };
        let _ = writeln!(text, "{line}");
        return text;
    }
    text += "Gates (each fails the watch if it is true)\n";
    for gate in &plan.gates {
        let judged = gate.judge(total);
        let word = if judged.is_broken { colour.bad("FAIL") } else { colour.good("pass") };
        let _ = writeln!(text, "  {word}  {:<18} measured: {}", escape::text(judged.text.as_bytes()), judged.measured);
    }
    text
}

/// What a watch without gates fails for.
fn failed(total: &WatchCounts) -> &'static str {
    let mut in_time = *total;
    let beats = &mut in_time.heartbeats;
    let wrong = [&mut beats.duplicated, &mut beats.reordered, &mut beats.wrong].map(std::mem::take);
    match (in_time.is_clean(), wrong == [0; 3]) {
        (true, _) => "answers were not what they should be",
        (_, true) => "the service was interrupted",
        _ => "the service was interrupted, and answers were not what they should be",
    }
}

/// `12.3 s`, `1 h 2 min 3 s`.
fn clock(time: Duration) -> String {
    match time.as_secs() {
        0..600 => format!("{:.1} s", time.as_secs_f64()),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// `12.3 s to 14.1 s: no heartbeat answered for 1.8 s; 10 connections reset; ...`
pub(super) fn described(episode: &WatchEpisode) -> String {
    let counts = &episode.counts;
    let mut parts = Vec::new();
    if counts.gap > SHORT {
        parts.push(format!("no heartbeat answered for {}", units::latency(counts.gap)));
    } else if counts.connection_gap > SHORT {
        parts.push(format!("a connection without answers for {}", units::latency(counts.connection_gap)));
    }
    let mut add = |n: u64, one: &str, what: &str| {
        if n > 0 {
            parts.push(format!("{} {what}", units::counted(n, one)));
        }
    };
    let (beats, held) = (&counts.heartbeats, &counts.held);
    add(held.reset, "connection", "reset");
    add(held.closed, "connection", "closed");
    add(held.silent, "connection", "silent and given up");
    add(beats.lost, "heartbeat", "lost");
    add(beats.unsent, "heartbeat", "not sent");
    add(beats.late, "heartbeat", "answered late");
    add(counts.late_new, "new connection", "served late");
    add(beats.duplicated, "answer", "twice");
    add(beats.reordered, "answer", "out of order");
    add(beats.wrong, "answer", "wrong");
    for (attempts, one) in [(&counts.reconnecting, "reconnect attempt"), (&counts.new, "new connection")] {
        for (n, what) in failures(attempts) {
            add(n, one, what);
        }
    }
    if held.reconnects > 0 {
        let slowest = units::latency(held.slowest_reconnect);
        parts.push(format!("{} back within {slowest}", units::counted(held.reconnects, "connection")));
    }
    format!("{} to {}: {}", clock(episode.from), clock(episode.to), parts.join("; "))
}

fn failures(counts: &ConnectCounts) -> [(u64, &'static str); 5] {
    [
        (counts.refused, "refused"),
        (counts.reset, "reset"),
        (counts.closed, "closed"),
        (counts.timed_out, "timed out"),
        (counts.failed, "failed"),
    ]
}

/// The totals, by name.
fn figures(plan: &WatchPlan, total: &WatchCounts) -> Vec<(&'static str, String)> {
    let (beats, held) = (&total.heartbeats, &total.held);
    let list = |first: String, more: &[(u64, &str)]| {
        let more = more.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", units::count(*n)));
        std::iter::once(first).chain(more).collect::<Vec<_>>().join(", ")
    };
    let answered = format!("{} due, {} answered", units::count(beats.due), units::count(beats.answered));
    let of_beats = [
        (beats.late, "late"),
        (beats.lost, "lost"),
        (beats.unsent, "not sent"),
        (beats.skipped, "left out by this machine"),
        (beats.duplicated, "answered twice"),
        (beats.reordered, "out of order"),
        (beats.wrong, "wrong answers"),
    ];
    let of_held =
        [(held.reset, "reset"), (held.closed, "closed"), (held.silent, "silent"), (held.reconnects, "replaced")];
    let mut figures = vec![
        ("heartbeats", list(answered, &of_beats)),
        ("held", list(units::counted(plan.held as u64, "connection"), &of_held)),
    ];
    for (name, attempts) in [("connecting", &total.reconnecting), ("new", &total.new)] {
        if attempts.tried > 0 {
            let served = format!("{} tried, {} served", units::count(attempts.tried), units::count(attempts.served));
            let mut more = failures(attempts).to_vec();
            more.push((if name == "new" { total.late_new } else { 0 }, "of them late"));
            more.push((attempts.own_failures, "not possible on this machine"));
            more.push((attempts.skipped, "left out by this machine"));
            figures.push((name, list(served, &more)));
        }
    }
    let of_one = units::latency(total.connection_gap);
    figures.push(("longest gap", format!("{}; of one connection {of_one}", units::latency(total.gap))));
    if held.reconnects > 0 {
        figures.push(("reconnect", format!("{} at most", units::latency(held.slowest_reconnect))));
    } else if !held.slowest_reconnect.is_zero() {
        figures.push(("reconnect", format!("not within {}", units::latency(held.slowest_reconnect))));
    }
    figures.push(("slowest answer", units::latency(beats.slowest.max(total.slowest_new))));
    figures
}
