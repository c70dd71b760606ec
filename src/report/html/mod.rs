//! The results as one page: no script, nothing from elsewhere, light or dark by the browser's
//! preference. The page is well-formed XML too.

mod charts;
mod plot;
mod scale;

use resound_load::{LoadFailure, Record, Timestamps};

use self::Column::{Name, Number, Text};
use super::bars::AT_LEAST;
use super::comparison::Compared;
use super::markup::escape;
use super::outcome::{GateOutcome, Judgement};
use super::run::Run;
use super::stream::BulkDirection;
use super::{describe, merge, notes, stream, text, verdict};
use crate::units;

/// The look of each page.
pub(crate) const STYLE: &str = include_str!("style.css");
/// Each chart is drawn twice, and the style sheet shows the one that fits.
const WIDE: f64 = 920.0;
const NARROW: f64 = 390.0;

pub(super) fn render(run: &Run, base: Option<&Run>, compared: Option<&Compared>, outcomes: &[GateOutcome]) -> String {
    let mut page = String::with_capacity(256 << 10);
    let title = format!("Load on {}", describe::target(&run.record.settings));
    page += &format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(&title)
    );
    page += &head(run, &title, outcomes);
    page += &cards(run);
    page += &remarks(run);
    page += &gates("Gates", outcomes, verdict::unjudgeable(run, outcomes).map(|run| run.why));
    page += &compared.map(|compared| comparison("Compared", compared)).unwrap_or_default();
    if let Some(judged) = &run.judged {
        page += &gates("Gates of the saved run, as they were judged then", &judged.verdict.gates, None);
        let compared = judged.comparison.as_ref().map(|compared| comparison("Compared then", compared));
        page += &compared.unwrap_or_default();
    }
    page += &pictures(run, base);
    page += &times(run);
    page += &steps(run);
    page += &errors(run);
    page += &settings(run);
    page += &generators(run);
    page + "</body>\n</html>\n"
}

fn head(run: &Run, title: &str, outcomes: &[GateOutcome]) -> String {
    let record = &run.record;
    let verdict = if outcomes.iter().any(GateOutcome::is_broken) {
        "<span class=\"verdict bad\">gate broken</span>"
    } else if !verdict::unforgiven(run, outcomes).is_empty() {
        "<span class=\"verdict bad\">errors</span>"
    } else if outcomes.iter().any(GateOutcome::is_open) || verdict::unjudgeable(run, outcomes).is_some() {
        "<span class=\"verdict open\">cannot tell</span>"
    } else if outcomes.is_empty() {
        "<span class=\"verdict good\">no errors</span>"
    } else {
        "<span class=\"verdict good\">gates passed</span>"
    };
    let warm_up = describe::warm_up(record, " after ");
    format!(
        "<h1>{}{verdict}</h1>\n<p class=\"dim\">{}. Measured for {}{warm_up}, from {} on.</p>\n",
        escape(title),
        escape(&describe::capital(&describe::load(&record.settings))),
        describe::measured(run),
        humantime::format_rfc3339_seconds(record.started).to_string().replace('T', " ").replace('Z', " UTC"),
    )
}

fn cards(run: &Run) -> String {
    let counts = &run.record.total.counts;
    let (name, times) = run.main();
    let shown = |figure| text::figure(figure, &format!("{AT_LEAST} "));
    let ways = BulkDirection::of(&run.record.settings);
    let way = |way: &BulkDirection| (way.name().to_string(), units::bits(way.rate(&run.rates)), "");
    let mut cards: Vec<_> = ways.iter().map(way).collect();
    if ways.is_empty() {
        cards.push(("messages per second".to_string(), units::rate(run.rates.messages), ""));
    }
    if !times.all.is_empty() {
        cards.push((format!("p50 of {name} time"), shown(times.percentile(50.0)), ""));
        cards.push((format!("p99 of {name} time"), shown(times.percentile(99.0)), ""));
        cards.push(("longest".into(), shown(times.max()), ""));
    }
    if ways.is_empty() {
        let name = if run.expects_answers() { "received per second" } else { "sent per second" };
        cards.push((name.into(), units::bytes(run.goodput() as u64), ""));
    }
    let errors = counts.errors();
    cards.push(("errors".into(), units::count(errors), if errors > 0 { " class=\"bad\"" } else { "" }));
    let unsent = counts.failed(LoadFailure::Unsent);
    for (name, n) in [
        ("messages never sent", unsent),
        ("left by the generator", counts.lagged),
        ("messages unanswered", counts.unanswered),
    ] {
        if n > 0 {
            cards.push((name.into(), units::count(n), " class=\"bad\""));
        }
    }
    let card = |(name, value, class): &(String, String, &str)| {
        format!("<div class=\"card\"><b{class}>{}</b><span>{}</span></div>\n", escape(value), escape(name))
    };
    format!("<div class=\"cards\">\n{}</div>\n", cards.iter().map(card).collect::<String>())
}

fn remarks(run: &Run) -> String {
    let notes = notes::all(run);
    if notes.is_empty() {
        return String::new();
    }
    let items: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    format!("<div class=\"notes\"><b>To keep in mind</b>\n<ul>\n{items}</ul></div>\n")
}

fn gates(heading: &str, outcomes: &[GateOutcome], unjudgeable: Option<String>) -> String {
    if outcomes.is_empty() && unjudgeable.is_none() {
        return String::new();
    }
    const OPEN: &str = "<b class=\"open\">cannot tell</b>";
    let rows = outcomes.iter().map(|outcome| {
        let verdict = match outcome.judgement {
            Judgement::Fail => "<b class=\"bad\">FAIL</b>",
            Judgement::Pass => "<b class=\"good\">pass</b>",
            Judgement::CannotTell => OPEN,
        };
        let (gate, why) = (escape(&outcome.gate), escape(&outcome.explanation()));
        vec![verdict.into(), format!("<code>{gate}</code>"), why]
    });
    let run = unjudgeable.map(|why| vec![OPEN.into(), "the run itself".into(), escape(&why)]);
    table(heading, &[("", Text), ("fail if", Text), ("measured", Text)], rows.chain(run))
}

fn comparison(verb: &str, compared: &Compared) -> String {
    let heading = format!("{verb} with {}", compared.base);
    if compared.rows.is_empty() {
        return format!("<h2>{}</h2>\n<p>{}</p>\n", escape(&heading), escape(&compared.conclusion()));
    }
    let rows = compared.rows.iter().map(|row| {
        let verdict = match (row.shown, row.is_better()) {
            (false, _) => "<span class=\"dim\">no difference shown</span>",
            (true, true) => "<b class=\"good\">better</b>",
            (true, false) => "<b class=\"bad\">worse</b>",
        };
        let (base, new, change) = (row.value(row.base), row.value(row.new), row.change(row.new - row.base));
        vec![escape(&row.metric), escape(&base), escape(&new), change, row.interval(), verdict.into()]
    });
    let interval = "95 % interval of the change";
    let columns = [("", Name), ("base", Number), ("new", Number), ("change", Number), (interval, Number), ("", Text)];
    table(&heading, &columns, rows) + &format!("<p class=\"dim\">{}</p>\n", escape(&compared.conclusion()))
}

fn pictures(run: &Run, base: Option<&Run>) -> String {
    let mut page = String::new();
    let both = |draw: &dyn Fn(f64) -> String| {
        format!("<div class=\"chart wide\">{}</div>\n<div class=\"chart narrow\">{}</div>\n", draw(WIDE), draw(NARROW))
    };
    let name = run.main().0;
    if !run.main().1.all.is_empty() && !run.record.intervals.is_empty() {
        let mut lines: Vec<_> =
            text::distributions(&run.record.total).iter().map(|(name, _)| (*name, format!("{name} time"))).collect();
        if let Some(base) = base.filter(|base| !base.main().1.all.is_empty()) {
            lines.push(("base", format!("{} time of the base", base.main().0)));
        }
        page += &format!(
            "<h2>Time by percentile</h2>\n{}{}",
            legend(&lines, ""),
            both(&|width| charts::percentiles(run, base, width))
        );
        let lines = [("p50", "p50".into()), ("p99", "p99".into()), ("max", "longest".into())];
        let shades = "<span><i></i>few to many answers (logarithmic)</span>\n";
        page += &format!(
            "<h2>{} time over the run</h2>\n{}{}",
            describe::capital(name),
            legend(&lines, shades),
            both(&|width| charts::heat(run, width))
        );
    }
    if !run.record.intervals.is_empty() {
        let ways = BulkDirection::of(&run.record.settings).iter();
        let mut lines: Vec<_> = ways.map(|way| (way.name(), format!("{} per second", way.name()))).collect();
        if lines.is_empty() {
            lines.push(("rate", format!("{} measured", charts::throughput_name(run))));
        }
        if run.record.settings.rate.is_some() {
            lines.push(("planned", "planned".into()));
        }
        page +=
            &format!("<h2>Throughput</h2>\n{}{}", legend(&lines, ""), both(&|width| charts::throughput(run, width)));
        if run.record.total.counts.errors() > 0 {
            page += &format!("<h2>Errors over the run</h2>\n{}", both(&|width| charts::errors(run, width)));
        }
    }
    page
}

fn legend(lines: &[(&str, String)], more: &str) -> String {
    let line = |(class, name): &(&str, String)| {
        format!(
            "<span><svg viewBox=\"0 0 26 10\"><path class=\"line {class}\" d=\"M0 5H26\"/></svg>{}</span>\n",
            escape(name)
        )
    };
    format!("<div class=\"legend\">\n{}{more}</div>\n", lines.iter().map(line).collect::<String>())
}

fn times(run: &Run) -> String {
    let columns = text::distributions(&run.record.total);
    if columns.is_empty() {
        return String::new();
    }
    let cells: Vec<_> = columns.iter().map(|(_, times)| text::statistics(*times, AT_LEAST)).collect();
    let rows = (0..cells[0].len()).map(|row| {
        let values = cells.iter().map(|column| escape(&column[row].1));
        std::iter::once(escape(&cells[0][row].0)).chain(values).collect()
    });
    let heads: Vec<_> = std::iter::once(("", Name)).chain(columns.iter().map(|(name, _)| (*name, Number))).collect();
    let service = match run.record.settings.timestamps {
        Timestamps::Clock => "from the actual send to the last byte of the answer",
        Timestamps::Kernel => {
            "from where the message passed the network device to where the last byte of the answer did"
        }
    };
    let what = format!(
        "<p class=\"dim\">Service time: {service}. Response time: from the planned instant, \
         so it holds the wait for a late send (lag).</p>\n"
    );
    let bounds = match columns.iter().all(|(_, times)| times.bounds.is_empty()) {
        true => String::new(),
        false => format!(
            "<p class=\"dim\">{AT_LEAST} at least: of messages that were never sent or never answered \
             only the wait so far is known.</p>\n"
        ),
    };
    table("Times", &heads, rows) + &what + &bounds
}

fn steps(run: &Run) -> String {
    if run.record.steps.is_empty() {
        return String::new();
    }
    let rows = run.record.steps.iter().map(|step| {
        let (level, [rate, p99, errors]) = text::step_row(run, step);
        let verdict = match &step.broken {
            None => "<b class=\"good\">held</b>".into(),
            Some(why) => format!("<b class=\"bad\">{}</b>", escape(why)),
        };
        vec![escape(&level), rate, p99, errors, verdict]
    });
    table("Steps", &[("level", Number), ("messages/s", Number), ("p99", Number), ("errors", Number), ("", Text)], rows)
}

fn errors(run: &Run) -> String {
    let record = &run.record;
    if record.total.counts.errors() == 0 {
        return String::new();
    }
    let classes = LoadFailure::ALL.iter().filter_map(|&class| {
        let when = text::when(class, &record.total.counts, &record.intervals)?;
        Some(vec![class.to_string(), escape(&when)])
    });
    let mut page = table("Errors", &[("class", Name), ("how many, and when", Text)], classes);
    if !record.failures.is_empty() {
        let rows = record.failures.iter().map(|failure| {
            let (at, connection) = (units::latency(failure.at), units::count(failure.connection));
            let message = failure.sequence.map_or_else(|| "-".into(), units::count);
            vec![at, failure.class.to_string(), connection, message, escape(&failure.what)]
        });
        let heading = match record.total.counts.errors() > record.failures.len() as u64 {
            true => format!("The first {} of them", record.failures.len().min(Record::FAILURES)),
            false => "Each of them".into(),
        };
        let columns = [("at", Number), ("class", Text), ("connection", Number), ("message", Number), ("", Text)];
        page += &table(&heading, &columns, rows);
    }
    page
}

fn settings(run: &Run) -> String {
    let rows = describe::table(&run.record.settings).into_iter().map(|(name, value)| {
        let value = if name == "command" { format!("<code>{}</code>", escape(&value)) } else { escape(&value) };
        vec![escape(name), value]
    });
    table("Settings", &[("", Name), ("", Text)], rows)
}

fn generators(run: &Run) -> String {
    let is_merged = run.sources.len() > 1;
    let rows = run.sources.iter().map(|source| {
        let generator = &source.generator;
        let name = source.file.as_deref().filter(|_| is_merged).unwrap_or(&generator.host);
        let engine = format!("{}, {}", escape(&generator.engine), units::counted(generator.workers, "worker"));
        let rate = stream::rate(&run.record.settings, &source.rates);
        let [time, user, system] = [source.elapsed, generator.cpu_user, generator.cpu_system].map(units::latency);
        vec![escape(name), engine, rate, time, user, system]
    });
    let columns = [
        ("", Text),
        ("engine", Text),
        ("rate", Number),
        ("time", Number),
        ("CPU, user", Number),
        ("CPU, kernel", Number),
    ];
    let heading = match (is_merged, run.repetitions.is_empty()) {
        (false, _) => "Generator",
        (true, true) => "Generators",
        (true, false) => "Repetitions",
    };
    let mut page = table(heading, &columns, rows);
    if is_merged && run.repetitions.is_empty() {
        let (all, longest) = merge::together(&run.sources);
        let added = if merge::ran_at_once(&run.sources) { "Distributions and rates are" } else { "Distributions are" };
        page += &format!(
            "<p class=\"dim\">All of them ran at once for {} of {}. {added} added, not averaged.</p>\n",
            units::latency(all),
            units::latency(longest)
        );
    }
    let version = run.sources.first().map(|source| source.generator.version.as_str()).unwrap_or_default();
    page + &format!("<footer>Measured by resound {}.</footer>\n", escape(version))
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// The names of the rows.
    Name,
    Text,
    Number,
}

/// A table with a heading, and with the names of its columns if they have any. Cells are HTML.
fn table(heading: &str, columns: &[(&str, Column)], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column| if column == Number { " class=\"n\"" } else { "" };
    let head = |&(name, column): &(&str, Column)| format!("<th{}>{}</th>", class(column), escape(name));
    let head = match columns.iter().all(|(name, _)| name.is_empty()) {
        true => String::new(),
        false => format!("<thead><tr>{}</tr></thead>\n", columns.iter().map(head).collect::<String>()),
    };
    let row = |cells: Vec<String>| {
        let cell = |(cell, &(_, column)): (String, &(&str, Column))| match column {
            Name => format!("<th>{cell}</th>"),
            _ => format!("<td{}>{cell}</td>", class(column)),
        };
        format!("<tr>{}</tr>\n", cells.into_iter().zip(columns).map(cell).collect::<String>())
    };
    let rows: String = rows.map(row).collect();
    format!(
        "<h2>{}</h2>\n<div class=\"scroll\"><table>\n{head}<tbody>\n{rows}</tbody></table></div>\n",
        escape(heading)
    )
}
