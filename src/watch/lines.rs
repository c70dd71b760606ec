//! The lines of a watch under way: one a second on a terminal, elsewhere where something happened.

use std::fmt::Write;
use std::time::Duration;

use resound_console::escape;
use resound_verdict::FarKind;
use resound_verdict::watch::{WatchCounts, WatchSecond};

use super::WatchPlan;
use crate::colour::Colour;
use crate::units;

/// How long after the last line another one follows without events, where stdout is no terminal.
const QUIET: Duration = Duration::from_secs(10);
/// After how many lines of a terminal the heading is repeated.
const PAGE: u32 = 30;
/// A gap, a stall of this machine, or an answer of this length is worth a line.
const NOTICED: Duration = Duration::from_secs(1);
const STALL: Duration = Duration::from_millis(500);

/// What is watched, and how.
pub(super) fn title(plan: &WatchPlan, far: FarKind, name: Option<&str>) -> String {
    let name = match (far, name) {
        (FarKind::Echo, _) => "an echo server".into(),
        (FarKind::Reply, _) => "a server that replies to lines".into(),
        (_, Some(name)) => escape::text(name.as_bytes()).to_string(),
        (_, None) => "a server".into(),
    };
    let ends = match plan.length {
        Some(length) => format!("for {}", humantime::format_duration(length)),
        None => "until Ctrl+C".into(),
    };
    let new = match plan.new_per_second {
        0 => "no new connections".into(),
        n => format!("{} a second", units::counted(n.into(), "new connection")),
    };
    format!(
        "Watching {} ({name}): {}, a heartbeat every {} on each; {new}; {ends}\n",
        plan.connect.address,
        units::counted(plan.held as u64, "held connection"),
        humantime::format_duration(plan.heartbeat),
    )
}

/// Whether something happened that is worth a line.
pub(super) fn is_event(counts: &WatchCounts) -> bool {
    let recovered = counts.held.reconnects + counts.own_failures();
    !counts.is_clean() || recovered > 0 || counts.gap > NOTICED || counts.stalled > STALL
}

/// A time with few digits; `-` for none.
fn time(time: Duration) -> String {
    if time.is_zero() { "-".into() } else { units::latency(time) }
}

/// Makes a line of each second that is shown.
pub(super) struct SecondLines {
    is_terminal: bool,
    colour: Colour,
    held: usize,
    printed: u32,
    last: Duration,
}

impl SecondLines {
    pub(super) fn new(is_terminal: bool, colour: Colour, held: usize) -> Self {
        Self { is_terminal, colour, held, printed: 0, last: Duration::ZERO }
    }

    /// The line of a second; empty where it is not shown.
    pub(super) fn of(&mut self, second: &WatchSecond) -> String {
        let is_event = is_event(&second.counts);
        // Seconds end a little late.
        let is_due = second.to + Duration::from_millis(500) >= self.last + QUIET;
        if !self.is_terminal && !is_event && !is_due {
            return String::new();
        }
        let mut text = String::new();
        let has_heading = self.printed == 0 || self.is_terminal && self.printed.is_multiple_of(PAGE);
        if has_heading {
            text += "\n";
            let heading = format!(
                "{:>9} {:>7} {:>11} {:>5} {:>6} {:>5} {:>5} {:>6} {:>7} {:>7} {:>8} {:>8}",
                "time",
                "held",
                "answered",
                "lost",
                "unsent",
                "twice",
                "reset",
                "closed",
                "refused",
                "new",
                "gap",
                "slowest"
            );
            text += &self.colour.strong(&heading);
            text.push('\n');
        }
        let line = row(second, self.held);
        text += &if is_event { self.colour.bad(&line) } else { line };
        text += &notes(&second.counts);
        text.push('\n');
        self.printed += 1;
        self.last = second.to;
        text
    }
}

fn row(second: &WatchSecond, held: usize) -> String {
    let counts = &second.counts;
    let beats = &counts.heartbeats;
    let or_dash = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
    let (again, new) = (&counts.reconnecting, &counts.new);
    let mut line = format!("{:>9}", format!("{:.1} s", second.to.as_secs_f64()));
    let _ =
        write!(line, " {:>7} {:>11}", format!("{}/{held}", second.open), format!("{}/{}", beats.answered, beats.due));
    for (n, width) in [
        (beats.lost, 5),
        (beats.unsent, 6),
        (beats.duplicated, 5),
        (counts.held.reset + again.reset + new.reset, 5),
        (counts.held.closed + again.closed + new.closed, 6),
        (again.refused + new.refused, 7),
    ] {
        let _ = write!(line, " {:>width$}", or_dash(n));
    }
    let served = if new.tried + new.served == 0 { "-".into() } else { format!("{}/{}", new.served, new.tried) };
    let _ = write!(line, " {served:>7} {:>8} {:>8}", time(counts.gap), time(beats.slowest.max(counts.slowest_new)));
    line
}

/// What has no column.
fn notes(counts: &WatchCounts) -> String {
    let beats = &counts.heartbeats;
    let timed_out = counts.reconnecting.timed_out + counts.new.timed_out;
    let failed = counts.reconnecting.failed + counts.new.failed;
    let mut notes = Vec::new();
    for (n, what) in [
        (beats.late, "answered late"),
        (counts.late_new, "new served late"),
        (beats.reordered, "out of order"),
        (beats.wrong, "wrong answers"),
        (counts.held.silent, "silent"),
        (timed_out, "timed out"),
        (failed, "failed to connect"),
        (counts.own_failures(), "not possible on this machine"),
    ] {
        if n > 0 {
            notes.push(format!("{} {what}", units::count(n)));
        }
    }
    if counts.held.reconnects > 0 {
        let slowest = units::latency(counts.held.slowest_reconnect);
        notes.push(format!("{} reconnected within {slowest}", counts.held.reconnects));
    }
    if counts.stalled > STALL {
        notes.push(format!("this machine stalled for {}", units::latency(counts.stalled)));
    }
    if notes.is_empty() { String::new() } else { format!("  {}", notes.join(", ")) }
}
