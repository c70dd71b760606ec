//! The results as text, in 80 columns.

use std::time::Duration;

use resound_console::escape;
use resound_load::{Bounded, Counts, Figure, Interval, LoadFailure, Mode, RampStep, Shape, Timestamps};

use super::bars;
use super::comparison::Compared;
use super::outcome::{GateOutcome, Judgement};
use super::page::{LABEL, Page, Style};
use super::run::{KINDS, Run, times};
use super::{PERCENTILES, describe, notes, stream, verdict};
use crate::units;

/// The room for the word or the condition after a step.
const NARROW: usize = 18;
/// The width of a column of times.
const CELL: usize = 12;
/// The heading explains that `p99>5ms` beside `pass` is not true.
const GATES: &str = "Gates (each fails the run if it is true)";
/// The word for a condition that neither passed nor failed.
pub(crate) const CANNOT_TELL: &str = "cannot tell";
/// The limit of failures listed here; other reports list more.
const NAMED: usize = 5;

/// The page of a run. The most important part comes last, where a terminal shows it.
pub(crate) fn render(run: &Run, outcomes: &[GateOutcome], compared: Option<&Compared>, style: Style) -> String {
    let mut page = Page::new(style);
    let record = &run.record;
    page.heading(&format!("Load on {}", describe::target(&record.settings)));
    page.row("load", &describe::load(&record.settings));
    let was_reached = record.total.counts.opened > 0 || !record.elapsed.is_zero();
    page.row("mode", if was_reached { describe::mode(record.settings.mode) } else { "not known" });
    if let Some(tls) = &record.settings.tls {
        page.row("TLS", &describe::tls(tls));
    }
    if record.settings.timestamps == Timestamps::Kernel {
        page.row("clock", "service times are the kernel's, at the network device");
    }
    page.row("measured", &(describe::measured(run) + &describe::warm_up(record, ", after ")));
    figures(&mut page, run);
    steps(&mut page, run);
    over_time(&mut page, run);
    latencies(&mut page, &record.total);
    distribution(&mut page, run);
    errors(&mut page, run);
    sources(&mut page, run);
    let notes = notes::all(run);
    if !notes.is_empty() {
        page.section("To keep in mind");
        for note in notes {
            page.wrapped("  - ", "    ", &escape::plain(note.as_bytes()));
        }
    }
    if let Some(judged) = &run.judged {
        gates(&mut page, "Gates of the saved run, as they were judged then", &judged.verdict.gates, None);
        let compared = judged.comparison.as_ref().map(|compared| compared.render("Compared then", style));
        page.text += &compared.unwrap_or_default();
    }
    if let Some(compared) = compared {
        page.text += &compared.render("Compared", style);
    }
    gates(&mut page, GATES, outcomes, verdict::unjudgeable(run, outcomes).map(|run| run.why));
    page.text.push('\n');
    let summary = summary(run, style.glyphs.at_least());
    let summary =
        if record.total.counts.errors() > 0 { style.colour.bad(&summary) } else { style.colour.strong(&summary) };
    page.wrapped("", "  ", &summary);
    page.text
}

/// The run in one line: rate, p50, p99, maximum, errors.
fn summary(run: &Run, mark: &str) -> String {
    let rate = match run.record.settings.shape {
        Shape::Connect => format!("{} conn/s", units::rate(run.rates.connections)),
        _ => stream::rate(&run.record.settings, &run.rates),
    };
    let mut parts = vec![rate];
    let (name, times) = run.main();
    // Without answers, connect times do not describe the rate beside them.
    let is_shown = name != "connect" || run.record.settings.shape == Shape::Connect;
    if is_shown && !times.all.is_empty() {
        for (name, value) in [("p50", times.percentile(50.0)), ("p99", times.percentile(99.0)), ("max", times.max())] {
            parts.push(format!("{name} {}", figure(value, mark)));
        }
    }
    parts.push(match run.record.total.counts.errors() {
        0 => "no errors".into(),
        n => units::counted(n, "error"),
    });
    parts.join(", ")
}

fn figures(page: &mut Page, run: &Run) {
    let (counts, rates) = (&run.record.total.counts, &run.rates);
    let mut messages = match run.expects_answers() {
        true => format!("{} sent, {} answered", units::count(counts.sent), units::count(counts.received)),
        false => format!("{} sent", units::count(counts.sent)),
    };
    if run.expects_answers() && run.record.settings.verify {
        messages += &format!(", {} verified", units::count(counts.verified));
    }
    if counts.late > 0 {
        messages += &format!(", {} of them after the end", units::count(counts.late));
    }
    if counts.unanswered > 0 {
        messages += &format!("; {} unanswered", units::count(counts.unanswered));
    }
    if counts.planned != counts.sent {
        let unsent = counts.failed(LoadFailure::Unsent);
        messages += &format!("; {} planned, {} never sent", units::count(counts.planned), units::count(unsent));
        if counts.lagged > 0 {
            messages += &format!(" and {} that the generator itself never sent", units::count(counts.lagged));
        }
    }
    page.row("messages", &messages);
    let mut rate = stream::rate(&run.record.settings, rates);
    if let Some(planned) = run.record.settings.rate {
        rate += &format!(" of {} planned", units::rate(planned));
    }
    page.row("rate", &rate);
    let way = |bytes, rate: f64| format!("{} ({}/s)", units::bytes(bytes), units::bytes(rate as u64));
    let mut bytes = format!("{} sent", way(counts.bytes_sent, rates.bytes_sent));
    if run.record.settings.mode != Mode::Discard || counts.bytes_received > 0 {
        bytes += &format!(", {} received", way(counts.bytes_received, rates.bytes_received));
    }
    page.row("bytes", &bytes);
    // Other shapes connect before measuring begins, so that a connection rate would mean nothing.
    let rate = match run.record.settings.shape {
        Shape::Connect => format!("; {} conn/s", units::rate(rates.connections)),
        _ => String::new(),
    };
    page.row(
        "connections",
        &format!("{} opened, {} closed{rate}", units::count(counts.opened), units::count(counts.closed)),
    );
    let errors = match counts.errors() {
        0 => page.style.colour.good("none"),
        n => page.style.colour.bad(&format!("{}: {}", units::count(n), by_class(counts, |_| true))),
    };
    page.row("errors", &errors);
    let (user, system) = run.sources.iter().fold((Duration::ZERO, Duration::ZERO), |(user, system), source| {
        (user.saturating_add(source.generator.cpu_user), system.saturating_add(source.generator.cpu_system))
    });
    let used = user.saturating_add(system);
    let each = match counts.sent {
        0 => String::new(),
        sent => format!("; {} a message", units::latency(Duration::from_secs_f64(used.as_secs_f64() / sent as f64))),
    };
    let processor_time = if used.is_zero() {
        "not measured".into()
    } else {
        format!("{} ({} user, {} kernel){each}", units::latency(used), units::latency(user), units::latency(system))
    };
    let workers = run.sources.iter().fold(0_u64, |sum, source| sum.saturating_add(source.generator.workers));
    // Without a connection there was no generator.
    if workers == 0 {
        return;
    }
    page.row(
        "generator",
        &format!(
            "{}, {}; processor time {processor_time}",
            escape::text(run.record.generator.engine.as_bytes()),
            units::counted(workers, "worker"),
        ),
    );
}

/// The rates of a stream as the run went on, in each direction.
fn over_time(page: &mut Page, run: &Run) {
    let parts = stream::over_time(run);
    if parts.is_empty() {
        return;
    }
    page.section("Over the run");
    let ways = stream::BulkDirection::of(&run.record.settings).iter().map(|way| format!("{:>CELL$}", way.name()));
    let heading = format!("  {:<LABEL$}{}", "until", ways.collect::<String>());
    page.line(&page.style.colour.label(&heading));
    for (until, ways) in parts {
        let cells: String = ways.iter().map(|rate| format!("{rate:>CELL$}")).collect();
        page.line(&format!("  {:<LABEL$}{cells}", units::latency(until)));
    }
}

/// `2 reset, 1 missing`: the classes with failures, filtered by `wanted`.
pub(crate) fn by_class(counts: &Counts, wanted: impl Fn(LoadFailure) -> bool) -> String {
    let classes = LoadFailure::ALL.iter().filter(|&&class| counts.failed(class) > 0 && wanted(class));
    classes.map(|&class| format!("{} {class}", units::count(counts.failed(class)))).collect::<Vec<_>>().join(", ")
}

/// Each distribution that is not empty, by name, the most important first.
pub(crate) fn distributions(interval: &Interval) -> Vec<(&'static str, Bounded<'_>)> {
    let all = KINDS.map(|kind| (kind, times(interval, kind)));
    all.into_iter().filter(|(_, times)| !times.all.is_empty()).collect()
}

/// A figure, with `mark` in front of a lower bound.
pub(crate) fn figure(figure: Option<Figure>, mark: &str) -> String {
    let shown = |Figure { time, is_bound }| format!("{}{}", if is_bound { mark } else { "" }, units::latency(time));
    figure.map_or_else(|| "-".into(), shown)
}

/// The rows of a table of times: a name and a value of the distribution. A lower bound has `mark`
/// in front.
pub(crate) fn statistics(times: Bounded<'_>, mark: &str) -> Vec<(String, String)> {
    let shown = |value| figure(value, mark);
    let mut rows = vec![("min".into(), shown(times.min()))];
    rows.extend(PERCENTILES.iter().map(|percent| (format!("p{percent}"), shown(times.percentile(*percent)))));
    rows.push(("max".into(), shown(times.max())));
    rows.push(("mean".into(), shown(times.mean())));
    rows.push(("samples".into(), units::count(times.all.count())));
    rows
}

/// The width of a column with a space in front of its widest cell.
fn widest<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count() + 1).max().unwrap_or(0).max(CELL)
}

fn latencies(page: &mut Page, total: &Interval) {
    let columns = distributions(total);
    if columns.is_empty() {
        return;
    }
    page.section("Time");
    let mark = page.style.glyphs.at_least();
    // In a narrow window the remaining columns go below.
    let fit = ((page.width - 2 - LABEL) / CELL).max(1);
    for columns in columns.chunks(fit) {
        let cells: Vec<_> = columns.iter().map(|(_, times)| statistics(*times, mark)).collect();
        let widths: Vec<_> = cells.iter().map(|column| widest(column.iter().map(|cell| cell.1.as_str()))).collect();
        let mut heading = " ".repeat(LABEL + 2);
        for ((name, _), width) in columns.iter().zip(&widths) {
            heading += &format!("{name:>width$}");
        }
        page.line(&page.style.colour.label(&heading));
        for row in 0..cells[0].len() {
            let mut line = format!("  {:<LABEL$}", cells[0][row].0);
            for (column, width) in cells.iter().zip(&widths) {
                line += &format!("{:>width$}", column[row].1);
            }
            page.line(&line);
        }
    }
    if columns.iter().any(|(_, times)| !times.bounds.is_empty()) {
        let waited = format!(
            "{mark} at least: of messages that were never sent or never answered only the wait so far is known"
        );
        page.wrapped("  ", "  ", &waited);
    }
}

fn distribution(page: &mut Page, run: &Run) {
    let (name, Bounded { all: times, .. }) = run.main();
    if times.is_empty() {
        return;
    }
    page.section(&format!("Distribution of {name} times"));
    for line in bars::render(times, page.width, page.style.glyphs, page.style.colour) {
        page.line(&line);
    }
}

fn errors(page: &mut Page, run: &Run) {
    let record = &run.record;
    if record.total.counts.errors() == 0 {
        return;
    }
    page.section("Errors");
    for class in LoadFailure::ALL {
        if let Some(text) = when(class, &record.total.counts, &record.intervals) {
            page.wrapped(&format!("  {:<LABEL$}", class.name()), &" ".repeat(LABEL + 2), &text);
        }
    }
    for failure in record.failures.iter().take(NAMED) {
        let message = failure.sequence.map_or_else(String::new, |sequence| format!(", message {sequence}"));
        let text = format!(
            "at {}: {}, connection {}{message}: {}",
            units::latency(failure.at),
            failure.class,
            failure.connection,
            escape::plain(failure.detail().as_bytes())
        );
        page.wrapped("  ", "    ", &text);
    }
    let more = record.total.counts.errors().saturating_sub(NAMED.min(record.failures.len()) as u64);
    if more > 0 {
        page.line(&format!("  ... and {} more", units::count(more)));
    }
}

/// The number of failures of a class and their times; `None` without any.
pub(crate) fn when(class: LoadFailure, total: &Counts, intervals: &[Interval]) -> Option<String> {
    let n = Some(total.failed(class)).filter(|n| *n > 0)?;
    let with: Vec<_> = intervals.iter().filter(|interval| interval.counts.failed(class) > 0).collect();
    let (Some(first), Some(last)) = (with.first(), with.last()) else { return Some(units::count(n)) };
    let from = units::latency(first.start);
    let to = units::latency(last.start + last.length);
    let worst = with.iter().max_by_key(|interval| interval.counts.failed(class)).expect("there is one");
    let most = match with.len() {
        1 => String::new(),
        _ => format!(", at most {} in {}", units::count(worst.counts.failed(class)), units::latency(worst.length)),
    };
    Some(format!("{} between {from} and {to}{most}", units::count(n)))
}

fn steps(page: &mut Page, run: &Run) {
    if run.record.steps.is_empty() {
        return;
    }
    page.section("Steps");
    let rows: Vec<_> = run.record.steps.iter().map(|step| step_row(run, step)).collect();
    let headings = ["msg/s", "p99", "errors"];
    let widths = [0, 1, 2].map(|at| widest(rows.iter().map(|row| row.1[at].as_str())));
    let level = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0).max("level".len());
    // In a narrow window the errors are left out: the last column names a broken condition anyway.
    let columns = if 2 + level + widths.iter().sum::<usize>() + NARROW > page.width { 2 } else { 3 };
    let line = |first: &str, cells: [&str; 3]| {
        let cells = cells.iter().zip(widths).take(columns).map(|(cell, width)| format!("{cell:>width$}"));
        format!("  {first:<level$}{}", cells.collect::<String>())
    };
    page.line(&page.style.colour.label(&format!("{}  held?", line("level", headings))));
    for ((name, [rate, p99, errors]), step) in rows.iter().zip(&run.record.steps) {
        let verdict = match &step.broken {
            None => page.style.colour.good("yes"),
            Some(why) => page.style.colour.bad(&escape::text(why.as_bytes())),
        };
        page.wrapped(&format!("{}  ", line(name, [rate, p99, errors])), "    ", &verdict);
    }
    let knee = run.record.steps.iter().take_while(|step| step.broken.is_none()).last();
    let level = |step: &RampStep| describe::level(&run.record.settings, step.level);
    match (knee, run.record.steps.iter().any(|step| step.broken.is_some())) {
        (Some(step), true) => page.row("knee", &format!("{} held, the next step did not", level(step))),
        (Some(step), false) => page.row("knee", &format!("not found: {} still held", level(step))),
        (None, _) => page.row("knee", "not found: not even the first step held"),
    }
}

/// The level of a step, its rate, its 99th percentile, and its errors.
pub(crate) fn step_row(run: &Run, step: &RampStep) -> (String, [String; 3]) {
    let seconds = step.total.length.as_secs_f64();
    let rate = if seconds > 0.0 { step.total.counts.in_time() as f64 / seconds } else { 0.0 };
    let times = if step.total.response.is_empty() { &step.total.service } else { &step.total.response };
    let p99 = times.percentile(99.0).map_or_else(|| "-".into(), units::latency);
    let errors = units::count(step.total.counts.errors());
    (describe::level(&run.record.settings, step.level), [units::rate(rate), p99, errors])
}

fn sources(page: &mut Page, run: &Run) {
    if run.sources.len() < 2 {
        return;
    }
    page.section(&match run.repetitions.len() {
        0 => format!("Merged from {} generators", run.sources.len()),
        n => format!("Joined from {n} repetitions"),
    });
    for source in &run.sources {
        let file = escape::text(source.file.as_deref().unwrap_or_default().as_bytes());
        page.wrapped(
            "  ",
            "    ",
            &format!(
                "{file}: {} for {}, from {} on",
                stream::rate(&run.record.settings, &source.rates),
                units::latency(source.elapsed),
                humantime::format_rfc3339_millis(source.started)
            ),
        );
    }
}

fn gates(page: &mut Page, heading: &str, outcomes: &[GateOutcome], unjudgeable: Option<String>) {
    if outcomes.is_empty() && unjudgeable.is_none() {
        return;
    }
    page.section(heading);
    for outcome in outcomes {
        let verdict = match outcome.judgement {
            Judgement::Fail => page.style.colour.bad("FAIL"),
            Judgement::Pass => page.style.colour.good("pass"),
            Judgement::CannotTell => page.style.colour.aside(CANNOT_TELL),
        };
        let gate = escape::text(outcome.gate.as_bytes());
        page.wrapped(
            &format!("  {verdict}  "),
            "        ",
            &format!("{gate:<18} measured: {}", escape::plain(outcome.explanation().as_bytes())),
        );
    }
    if let Some(why) = unjudgeable {
        let verdict = page.style.colour.aside(CANNOT_TELL);
        page.wrapped(&format!("  {verdict}  "), "        ", &format!("the run itself: {why}"));
    }
}
