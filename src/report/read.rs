//! Results from an untrusted file: each mistake has an error of its own, and memory stays bounded.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use resound::system::open_file;
use resound_load::{RampStep, Record, Timeline};
use serde::Deserialize;

use super::comparison::{Compared, ComparisonRow};
use super::document::{Document, FORMAT};
use super::interval::ByteBudget;
use super::outcome::{SavedPart, VerdictPart};
use super::run::Run;
use super::{notes, regression};
use crate::stdio::StdStream;

/// The limit of a file's size: a thousand intervals with all their histograms take a few MiB.
const LARGEST: u64 = 256 << 20;
/// The limit of all distributions in memory, in bytes. Those of a long run take a few MiB; a
/// hostile histogram of some hundred bytes unpacks to a thousand times as much.
const ROOM: usize = 128 << 20;
/// The limit of runs read at once.
const MOST_REPEATED: usize = 1000;

/// Reads the output of `--json`, with or without `--interval`.
pub(crate) fn read(path: &Path) -> Result<Run> {
    load(path).with_context(|| path.display().to_string())
}

fn load(path: &Path) -> Result<Run> {
    if is_stdin(path) {
        return parse(&all_of(StdStream::Stdin)?, "standard input");
    }
    let file = open_file(path)?;
    ensure!(file.metadata()?.len() <= LARGEST, too_large());
    let bytes = all_of(file)?;
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    parse(&bytes, &name)
}

/// `-` is standard input; a file of that name is `./-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The length of a pipe is unknown until its end.
fn all_of(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= LARGEST, too_large());
    Ok(bytes)
}

fn too_large() -> String {
    format!("larger than {}: not the results of a run", crate::units::bytes(LARGEST))
}

/// The fields that every object of this format has.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct DocumentHeader {
    format: Option<String>,
    event: Option<String>,
}

/// Parses the contents of a file. Of several objects, one a line, the last holds the results.
pub(super) fn parse(bytes: &[u8], name: &str) -> Result<Run> {
    parse_within(ROOM, bytes, name)
}

/// As `parse`, with a budget for distributions.
pub(super) fn parse_within(room: usize, bytes: &[u8], name: &str) -> Result<Run> {
    let advice = "; `resound load --json` writes what is wanted here";
    // As PowerShell writes what a program prints: version 5 in UTF-16, unless it is told otherwise.
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!(
            "the file is UTF-16, and the results of a run are UTF-8: let `--json=FILE` write it, or save it as UTF-8"
        );
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let end = bytes.trim_ascii_end();
    ensure!(!end.is_empty(), "the file is empty{advice}");
    let last = end.iter().rposition(|&byte| byte == b'\n').map_or(end, |at| &end[at + 1..]);
    // A pretty-printed document has many lines and is one object.
    let (head, text) = match serde_json::from_slice::<DocumentHeader>(last) {
        Ok(head) if head.format.is_some() => (head, last),
        _ => match serde_json::from_slice(end) {
            Ok(head) => (head, end),
            Err(error) if error.is_eof() => bail!("the file is cut off: the results in it are incomplete{advice}"),
            Err(error) => bail!("not the results of a run: {error}{advice}"),
        },
    };
    match head.format.as_deref() {
        Some(FORMAT) => {}
        Some(other) if other.starts_with("resound-load/") => {
            let other = resound_console::escape::text(other.as_bytes());
            bail!("written by another version: its format is {other}, and this program reads {FORMAT}")
        }
        _ => bail!("not the results of a run: it does not say \"format\":\"{FORMAT}\"{advice}"),
    }
    let before = &end[..end.len() - text.len()];
    for (at, line) in before.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        let is_interval =
            serde_json::from_slice(line).is_ok_and(|line: DocumentHeader| line.event.as_deref() == Some("interval"));
        ensure!(
            is_interval,
            "line {} is not an interval of these results: a file holds the results of one run{advice}",
            at + 1
        );
    }
    if head.event.as_deref() == Some("interval") {
        bail!("the results are missing: the file ends with an interval, so the run was cut off");
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let document: Document = serde_path_to_error::deserialize(&mut json).context("broken results")?;
    json.end().context("broken results")?;
    run(document, name, &mut ByteBudget(room))
}

fn run(document: Document, name: &str, budget: &mut ByteBudget) -> Result<Run> {
    // A merged run has a few more than a single one: its intervals have other boundaries.
    let most = Timeline::MOST + 8;
    ensure!(document.intervals.len() <= most, "{} intervals are more than {most}", document.intervals.len());
    ensure!(document.steps.len() <= most, "{} steps are more than {most}", document.steps.len());
    ensure!(!document.generators.is_empty(), "there is no generator in it");
    let is_open = document.settings.is_open();
    let intervals = document.intervals.iter().map(|part| part.decode(is_open, budget)).collect::<Result<Vec<_>>>();
    let intervals = intervals.context("in an interval")?;
    let repeated: usize = document.repetitions.iter().fold(0, |sum, n| sum.saturating_add(*n));
    ensure!(
        document.repetitions.is_empty() || repeated == intervals.len() && document.repetitions.len() <= MOST_REPEATED,
        "the intervals of its repetitions do not add up"
    );
    let steps = document.steps.into_iter().map(|step| {
        Ok(RampStep { level: step.level, total: step.total.decode(is_open, budget)?, broken: step.broken })
    });
    let steps = steps.collect::<Result<_>>().context("in a step")?;
    let mut sources = document.generators;
    match sources.as_mut_slice() {
        [only] => only.file = Some(name.into()),
        several => several.iter_mut().for_each(|source| _ = source.file.get_or_insert_with(|| name.into())),
    }
    let failures = document.failures.into_iter().map(|part| part.0).take(Record::FAILURES).collect();
    let record = Record {
        settings: document.settings,
        started: document.started,
        warm_up: document.warm_up,
        elapsed: document.elapsed,
        intervals,
        total: document.total.decode(is_open, budget).context("in the total")?,
        steps,
        failures,
        cut_short: document.cut_short,
        generator: sources[0].generator.clone(),
        warnings: document.warnings,
    };
    let judged = match (judged(document.verdict, document.comparison), document.saved) {
        (None, Some(saved)) => judged(saved.verdict, saved.comparison),
        (judged, _) => judged,
    };
    let comparison = judged.as_ref().and_then(|judged| judged.comparison.as_ref());
    ensure!(comparison.is_none_or(has_known_figures), "a comparison of unknown figures");
    let repetitions = document.repetitions;
    let mut run = Run { record, rates: document.rates, sources, judged, repetitions, unread: false };
    // A report derives these from the figures again.
    let derived = notes::derived(&run);
    run.record.warnings.retain(|warning| !derived.contains(warning));
    Ok(run)
}

fn has_known_figures(comparison: &Compared) -> bool {
    let rows = &comparison.rows;
    let is_once = |row: &ComparisonRow| rows.iter().filter(|other| other.metric == row.metric).count() == 1;
    rows.len() <= regression::names().count()
        && rows.iter().all(|row| regression::names().any(|name| name == row.metric) && is_once(row))
        && ["response", "service", "connect"].contains(&comparison.times.as_str())
}

/// `None` for a run without gates and without a comparison.
fn judged(verdict: VerdictPart, comparison: Option<Compared>) -> Option<SavedPart> {
    (!verdict.gates.is_empty() || comparison.is_some()).then_some(SavedPart { verdict, comparison })
}
