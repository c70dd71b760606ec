//! The figures and the connections as text: lines of words, for people and scripts.

use super::columns::TopColumn;
use super::document::LiveNews;
use super::figures::{bytes, count, of_worker, rate, time};
use super::model::TopModel;
use super::view::heading;

pub(super) fn text(model: &TopModel) -> String {
    let mut text = model.live.as_ref().map_or_else(String::new, |live| figures(live));
    let rows = model.rows();
    text += &format!("{}\n", heading(model, rows.len()));
    let mut table = vec![TopColumn::ALL.map(|column| column.words().1.to_string())];
    table.extend(rows.iter().map(|row| TopColumn::ALL.map(|column| column.text(row))));
    text + &lined_up(&table, &TopColumn::ALL.map(TopColumn::is_left_aligned))
}

fn figures(live: &LiveNews) -> String {
    let (about, now) = (&live.about, &live.rates);
    let listeners: Vec<_> = about.listeners.iter().map(|each| &*each.listener).collect();
    let place = if listeners.is_empty() { String::new() } else { format!(" on {}", listeners.join(", ")) };
    let or_none = |text: Option<String>| text.unwrap_or("-".into());
    let process = &about.process;
    let mut pairs = vec![
        ("program", format!("resound {}{place}", about.command)),
        ("version", format!("{} {}", about.version, about.engine)),
        ("status", about.status.clone()),
        ("up", time(about.uptime_seconds)),
        ("open", count(now.open)),
        ("accepted/s", rate(now.accepted_per_second)),
        ("closed/s", rate(now.closed_per_second)),
        ("messages/s", rate(now.messages_per_second)),
        ("in/s", bytes(now.bytes_in_per_second)),
        ("out/s", bytes(now.bytes_out_per_second)),
        ("refused", count(about.totals.refused)),
        ("loop lag", or_none(about.loop_lag_seconds.map(time))),
        ("processors", or_none(process.processors.map(|used| format!("{used:.2}")))),
        ("memory", or_none(process.resident_bytes.map(|size| bytes(size as f64)))),
        ("descriptors", or_none(process.open_descriptors.map(count))),
    ];
    if let Some(far) = &about.dialled {
        pairs.push(("targets", format!("{} open, {}/s made", count(far.open), rate(far.accepted_per_second))));
    }
    if about.totals.faults > 0 {
        let kinds = about
            .totals
            .faults_by_kind
            .iter()
            .map(|(kind, number)| format!("{} {}", super::document::cleaned(kind), count(*number)));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        pairs.push(("faults", format!("{}: {kinds}", count(about.totals.faults))));
    }
    let mut text: String = pairs.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
    if !about.workers.is_empty() {
        let heads = ["worker", "open", "accepted/s", "messages/s", "in/s", "out/s", "lag", "state"];
        let mut table = vec![heads.map(String::from)];
        table.extend(about.workers.iter().map(|worker| {
            let [number, open, accepted, messages, received, sent] = of_worker(worker);
            let lag = or_none(worker.loop_lag_seconds.map(time));
            let state = if worker.stuck { "stuck" } else { "turns" };
            [number, open, accepted, messages, received, sent, lag, state.into()]
        }));
        text += &format!("\n{}", lined_up(&table, &[false; 8]));
    }
    text + "\n"
}

/// Lines of cells below each other.
fn lined_up<const N: usize>(table: &[[String; N]], left: &[bool; N]) -> String {
    let width = |at: usize| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in table {
        let cell = |at: usize| match left[at] {
            true => format!("{:<width$}", row[at], width = widths[at]),
            false => format!("{:>width$}", row[at], width = widths[at]),
        };
        text += (0..N).map(cell).collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
