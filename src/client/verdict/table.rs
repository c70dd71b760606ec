//! The text of a test's checks: plain lines, which paste well into a ticket.

use resound_console::escape;
use resound_verdict::{CheckVerdict, FarKind, PathDirection};

use super::record::{TestRecord, TestedAddress, TestedCheck};
use crate::colour::Colour;

/// The line above the checks.
pub(super) const HEADING: &str = "verdict  check             tries  what\n";
/// The indent of what belongs to a check.
const INDENT: &str = "         ";

/// Text of a far end, for a terminal.
fn safe(text: &str) -> String {
    escape::plain(text.as_bytes())
}

/// The word of a verdict in its column; a failure stands out without colour too.
fn word(verdict: CheckVerdict, colour: Colour) -> String {
    let padded = match verdict {
        CheckVerdict::Fail => "FAIL     ".into(),
        _ => format!("{:<9}", verdict.name()),
    };
    match verdict {
        CheckVerdict::Pass => colour.good(&padded),
        CheckVerdict::Fail => colour.bad(&padded),
        CheckVerdict::Skip => colour.aside(&padded),
        _ => colour.strong(&padded),
    }
}

/// One check, with its evidence where there is something to look at, or where more is wanted.
pub(super) fn check(check: &TestedCheck, colour: Colour, is_verbose: bool) -> String {
    let tries = if check.tries == 0 { "-".into() } else { format!("{}/{}", check.ok, check.tries) };
    let word = word(check.verdict, colour);
    let mut text = format!("{word}{:<18}{tries:>5}  {}\n", check.id, safe(&check.summary));
    if check.is_remarkable() || is_verbose {
        for detail in details(check, is_verbose) {
            text += &format!("{INDENT}{}\n", safe(&detail));
        }
    }
    text
}

/// What else is known of a check, one thing a line.
fn details(check: &TestedCheck, is_verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(check.direction.map(|direction| format!("direction: {}", way(direction))));
    lines.extend(
        check.control.as_ref().map(|control| format!("control: {} {}/{}", control.what, control.ok, control.tries)),
    );
    lines.extend(evidence(check).into_iter().map(|line| format!("seen: {line}")));
    if is_verbose && !check.measured.is_empty() {
        let measured: Vec<_> = check.measured.iter().map(|(name, value)| format!("{name} {value}")).collect();
        lines.push(format!("measured: {}", measured.join(", ")));
    }
    if !check.suspect.is_empty() {
        lines.push(format!("looks like: {}", check.suspect.join("; or ")));
    }
    lines.extend(check.reproduce.as_ref().map(|command| format!("again: {command}")));
    lines
}

/// The evidence, without what the summary says already. Each observation stands there once.
pub(super) fn evidence(check: &TestedCheck) -> Vec<String> {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for line in &check.evidence {
        let rest = match line.strip_prefix(&check.summary) {
            Some("") => continue,
            Some(rest) => rest.strip_prefix("; ").unwrap_or(line),
            None => line,
        };
        match seen.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, times)) => *times += 1,
            None => seen.push((rest, 1)),
        }
    }
    seen.iter()
        .map(|(line, times)| if *times == 1 { (*line).into() } else { format!("{line} ({times} times)") })
        .collect()
}

/// A direction in words.
pub(super) fn way(direction: PathDirection) -> &'static str {
    match direction {
        PathDirection::Out => "out, from this machine to the far end",
        PathDirection::In => "in, from the far end to this machine",
        PathDirection::Both => "both",
    }
}

/// What answers at an address, in words.
pub(super) fn far_end(address: &TestedAddress) -> String {
    let name = address.far_name.as_deref().map(safe).unwrap_or_default();
    match address.far {
        Some(FarKind::Probe) => format!("{name}, which cooperates"),
        Some(FarKind::Echo) => "a server that sends back what it receives".into(),
        Some(FarKind::Reply) => "a server that replies to lines".into(),
        Some(FarKind::SpeaksFirst) => format!("a server that speaks first: {name}"),
        Some(FarKind::Answers) => format!("a server that answers: {name}"),
        Some(FarKind::Silent) => "it takes connections and answers nothing".into(),
        Some(FarKind::Hangs) => "it ends connections without an answer".into(),
        Some(FarKind::None) if address.was_connected => "not known: what it sent is no whole answer".into(),
        Some(FarKind::None) => "there is no connection".into(),
        None => "not known".into(),
    }
}

/// The checks that were not tried: a line for each reason.
pub(super) fn skips(address: &TestedAddress, colour: Colour) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in address.checks.iter().filter(|check| check.verdict == CheckVerdict::Skip) {
        match reasons.iter_mut().find(|(reason, _)| *reason == check.summary) {
            Some((_, ids)) => ids.push(check.id),
            None => reasons.push((&check.summary, vec![&check.id])),
        }
    }
    let line = |(reason, ids): &(&str, Vec<&str>)| {
        format!("{}{}: {}\n", word(CheckVerdict::Skip, colour), ids.join(", "), safe(reason))
    };
    reasons.iter().map(line).collect()
}

/// The last line of an address. Alone, it names the checks that no table shows.
pub(super) fn verdict(record: &TestRecord, address: &TestedAddress, is_alone: bool, colour: Colour) -> String {
    let counts = if is_alone { address.named_counts() } else { address.counts() };
    let text = format!("VERDICT  {}: {}: {counts}", safe(&address.address), record.meaning(address));
    let painted = match (address.count(CheckVerdict::Fail), record.cut_short) {
        (0, None) => colour.strong(&text),
        (0, Some(_)) => text,
        _ => colour.bad(&text),
    };
    painted + "\n"
}
