//! Results from a file, which anybody may have written: each mistake is named, and memory stays bounded.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use resound_load::{
    Arrivals, Bounds, Counts, Direction, Failure, Fault, Generator, Interval, Latency, Mode, NegotiatedTls, RampStep,
    RampSteps, RampVariable, Record, Security, Settings, Shape, Sizes, Timeline, Timestamps,
};
use serde::Deserialize;

use super::compare::{Compared, ComparisonRow};
use super::document::{
    Document, FORMAT, GatePart, GeneratorPart, RampPart, RatesPart, SettingsPart, SizesPart, TlsPart, VerdictPart,
};
use super::interval::{IntervalPart, LatencyPart};
use super::outcome::{GateOutcome, Judgement};
use super::run::{Rates, Run, RunSource, SavedVerdict};
use super::{encode, notes, regression};
use crate::stdio::StdStream;

/// A file of more than this is not read: a thousand intervals with all their histograms take a few MiB.
const LARGEST: u64 = 256 << 20;
/// What all distributions of a file may take in memory, in bytes. Those of a long run take a few MiB; written to be large, a histogram of some
/// hundred bytes takes a thousand times as much.
const ROOM: usize = 128 << 20;
/// More runs than this are not read at once.
const MOST_REPEATED: usize = 1000;
/// Years are not a run.
const LONGEST: f64 = 10.0 * 365.0 * 86400.0;

/// Reads what `--json` wrote, with or without `--interval`.
pub(crate) fn read(path: &Path) -> Result<Run> {
    load(path).with_context(|| path.display().to_string())
}

fn load(path: &Path) -> Result<Run> {
    if is_stdin(path) {
        return parse(&all_of(StdStream::Stdin)?, "standard input");
    }
    let file = File::open(path)?;
    ensure!(file.metadata()?.len() <= LARGEST, too_large());
    let bytes = all_of(file)?;
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    parse(&bytes, &name)
}

/// `-` is standard input; a file of that name is `./-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A pipe has no length before its end.
fn all_of(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= LARGEST, too_large());
    Ok(bytes)
}

fn too_large() -> String {
    format!("larger than {}: not the results of a run", crate::units::bytes(LARGEST))
}

/// What every object of ours says of itself.
#[derive(Deserialize)]
struct DocumentHeader {
    format: Option<String>,
    event: Option<String>,
}

/// From the contents of a file. Of several objects, one a line, the last is the one with the results.
pub(super) fn parse(bytes: &[u8], name: &str) -> Result<Run> {
    parse_within(ROOM, bytes, name)
}

/// As `parse`, with so much room for distributions.
pub(super) fn parse_within(room: usize, bytes: &[u8], name: &str) -> Result<Run> {
    let advice = "; `resound load --json` writes what is wanted here";
    let end = bytes.trim_ascii_end();
    ensure!(!end.is_empty(), "the file is empty{advice}");
    let last = end.iter().rposition(|&byte| byte == b'\n').map_or(end, |at| &end[at + 1..]);
    // A document that somebody has made pretty has many lines and is one object.
    let (head, text) = match serde_json::from_slice::<DocumentHeader>(last) {
        Ok(head) if head.format.is_some() => (head, last),
        _ => match serde_json::from_slice(end) {
            Ok(head) => (head, end),
            Err(error) if error.is_eof() => bail!("the file is cut off: the results in it have no end{advice}"),
            Err(error) => bail!("not the results of a run: {error}{advice}"),
        },
    };
    match head.format.as_deref() {
        Some(FORMAT) => {}
        Some(other) if other.starts_with("resound-load/") => {
            let other = crate::escape::text(other.as_bytes());
            bail!("written by another version: its format is {other}, and this program reads {FORMAT}")
        }
        _ => bail!("not the results of a run: it does not say \"format\":\"{FORMAT}\"{advice}"),
    }
    if head.event.as_deref() == Some("interval") {
        bail!("the results are missing: the file ends with an interval, so the run was cut off");
    }
    let document: Document = serde_json::from_slice(text).context("broken results")?;
    run(document, name, &mut ByteBudget(room))
}

/// How many bytes distributions may still take.
struct ByteBudget(usize);

fn run(document: Document, name: &str, room: &mut ByteBudget) -> Result<Run> {
    let started = time(&document.started)?;
    // A few more than a run keeps: those of several are cut at other places.
    let most = Timeline::MOST + 8;
    ensure!(document.intervals.len() <= most, "{} intervals are more than {most}", document.intervals.len());
    ensure!(document.steps.len() <= most, "{} steps are more than {most}", document.steps.len());
    ensure!(!document.generators.is_empty(), "there is no generator in it");
    let settings = settings(&document.settings)?;
    let interval = |part: &IntervalPart, room: &mut ByteBudget| interval(part, &settings, room);
    let intervals = document.intervals.iter().map(|part| interval(part, room)).collect::<Result<Vec<_>>>();
    let intervals = intervals.context("in an interval")?;
    let repeated: usize = document.repetitions.iter().fold(0, |sum, n| sum.saturating_add(*n));
    ensure!(
        document.repetitions.is_empty() || repeated == intervals.len() && document.repetitions.len() <= MOST_REPEATED,
        "the intervals of its repetitions do not add up"
    );
    let steps = document
        .steps
        .iter()
        .map(|step| {
            Ok(RampStep { level: step.level, total: interval(&step.total, room)?, broken: step.broken.clone() })
        })
        .collect::<Result<_>>()
        .context("in a step")?;
    let failures = document.failures.iter().take(Record::FAILURES).map(|failure| {
        Ok(Failure {
            class: class(&failure.class)?,
            at: duration(failure.at_s, "at_s")?,
            connection: failure.connection,
            sequence: failure.sequence,
            what: failure.what.clone(),
        })
    });
    let mut sources = document.generators.iter().map(|part| source(part, name)).collect::<Result<Vec<_>>>()?;
    if let [only] = sources.as_mut_slice() {
        only.file = Some(name.into());
    }
    let total = interval(&document.total, room).context("in the total")?;
    let record = Record {
        settings,
        started,
        warm_up: duration(document.warm_up_s, "warm_up_s")?,
        elapsed: duration(document.elapsed_s, "elapsed_s")?,
        intervals,
        total,
        steps,
        failures: failures.collect::<Result<_>>().context("in a failure")?,
        cut_short: document.cut_short,
        generator: sources[0].generator.clone(),
        warnings: document.warnings,
    };
    let judged = match (judged(&document.verdict, document.comparison), document.saved) {
        (None, Some(saved)) => judged(&saved.verdict, saved.comparison),
        (judged, _) => judged,
    };
    let is_known = |comparison: &Compared| {
        let rows = &comparison.rows;
        let is_once = |row: &ComparisonRow| rows.iter().filter(|other| other.metric == row.metric).count() == 1;
        rows.len() <= regression::names().count()
            && rows.iter().all(|row| regression::names().any(|name| name == row.metric) && is_once(row))
            && ["response", "service", "connect"].contains(&comparison.times.as_str())
    };
    ensure!(
        judged.as_ref().and_then(|judged| judged.comparison.as_ref()).is_none_or(is_known),
        "a comparison of unknown figures"
    );
    let repetitions = document.repetitions;
    let mut run = Run { record, rates: rates(&document.rates)?, sources, judged, repetitions, unread: false };
    // What follows from the figures is said again by whoever shows them.
    let derived = notes::derived(&run);
    run.record.warnings.retain(|warning| !derived.contains(warning));
    Ok(run)
}

/// Nothing where nothing was asked.
fn judged(verdict: &VerdictPart, comparison: Option<Compared>) -> Option<SavedVerdict> {
    let gate = |part: &GatePart| GateOutcome {
        gate: part.fail_if.clone(),
        judgement: part.verdict.unwrap_or(Judgement::failed(part.broken)),
        measured: part.measured.clone(),
        value: part.value,
        unit: part.unit.clone().into(),
        settled_by: part.settled_by.clone(),
        forgives: Vec::new(),
    };
    let gates: Vec<_> = verdict.gates.iter().map(gate).collect();
    (!gates.is_empty() || comparison.is_some()).then_some(SavedVerdict { exit: verdict.exit, gates, comparison })
}

fn settings(part: &SettingsPart) -> Result<Settings> {
    Ok(Settings {
        shape: Shape::named(&part.shape).with_context(|| unknown("shape", &part.shape))?,
        target: part.target.clone(),
        mode: Mode::named(&part.mode).with_context(|| unknown("mode", &part.mode))?,
        connections: part.connections,
        depth: part.depth,
        rate: part.rate_per_s,
        arrivals: Arrivals::named(&part.arrivals).with_context(|| unknown("arrivals", &part.arrivals))?,
        size: match &part.size {
            SizesPart::Fixed(size) => Sizes::Fixed(*size),
            SizesPart::Range([from, to]) => Sizes::Range(*from, *to),
            SizesPart::Weighted(sizes) => Sizes::Weighted(sizes.clone()),
        },
        duration: part.duration_s.map(|seconds| duration(seconds, "duration_s")).transpose()?,
        messages: part.messages,
        messages_per_connection: part.messages_per_connection,
        direction: match &part.direction {
            Some(name) => Some(Direction::named(name).with_context(|| unknown("direction", name))?),
            None => None,
        },
        ramp: part.ramp.as_ref().map(steps).transpose()?,
        seed: part.seed,
        verify: part.verify,
        think_time: duration(part.think_time_s, "think_time_s")?,
        connect_rate: part.connect_rate_per_s,
        busy_poll: duration(part.busy_poll_s, "busy_poll_s")?,
        timestamps: Timestamps::named(&part.timestamps).with_context(|| unknown("timestamps", &part.timestamps))?,
        interval: duration(part.interval_s, "interval_s")?,
        tls: part.tls.as_ref().map(security),
        proxy: part.proxy,
        command: part.command.clone(),
    })
}

/// Results of older versions have rustls's names where IANA has others.
fn security(part: &TlsPart) -> Security {
    let named = |name: &String| match name.strip_prefix("TLS13_") {
        Some(suite) => format!("TLS_{suite}"),
        None if name == "X25519" => "x25519".into(),
        None => name.clone(),
    };
    let agreed = part.version.as_ref().zip(part.cipher_suite.as_ref()).map(|(version, cipher_suite)| NegotiatedTls {
        version: version.clone(),
        cipher_suite: named(cipher_suite),
        group: part.group.as_ref().map(named),
    });
    Security { is_checked: part.checked, resumes: part.resumes, agreed }
}

fn steps(part: &RampPart) -> Result<RampSteps> {
    Ok(RampSteps {
        of: RampVariable::named(&part.raises).with_context(|| unknown("quantity to raise", &part.raises))?,
        from: part.from,
        to: part.to,
        by: part.by,
        every: duration(part.every_s, "every_s")?,
        until: part.until.clone(),
    })
}

fn unknown(what: &str, name: &str) -> String {
    format!("there is no {what} '{}'", crate::escape::text(name.as_bytes()))
}

fn interval(part: &IntervalPart, settings: &Settings, room: &mut ByteBudget) -> Result<Interval> {
    let mut counts = Counts {
        planned: part.planned,
        sent: part.sent,
        held: part.held,
        lagged: part.lagged.unwrap_or(0),
        received: part.received,
        late: part.late,
        unanswered: part.unanswered,
        verified: part.verified,
        by_kernel: part.by_kernel,
        bytes_sent: part.bytes_sent,
        bytes_received: part.bytes_received,
        bytes_late: part.bytes_late,
        opened: part.opened,
        unconnected: part.unconnected,
        silent: part.silent,
        closed: part.closed,
        ..Counts::default()
    };
    for (name, n) in &part.errors_by_class {
        counts.failures[class(name)?.index()] = *n;
    }
    ensure!(counts.errors() == part.errors, "the classes of the {} errors do not add up", part.errors);
    // A version that did not count them knew at least how many there were.
    if part.lagged.is_none() && settings.is_open() {
        counts.failures[Fault::Unsent.index()] = counts.planned.saturating_sub(counts.sent);
    }
    Ok(Interval {
        start: duration(part.start_s, "start_s")?,
        length: duration(part.length_s, "length_s")?,
        counts,
        // Of all connections together, of which there may be many.
        outage: Duration::try_from_secs_f64(part.outage_s).ok().context("outage_s is not a time")?,
        stall: Duration::try_from_secs_f64(part.stall_s).ok().context("stall_s is not a time")?,
        bounds: Bounds {
            service: bounds(&part.service, room).context("service")?,
            response: bounds(&part.response, room).context("response")?,
            lag: bounds(&part.lag, room).context("lag")?,
        },
        connect: latency(&part.connect, room).context("connect")?,
        handshake: latency(&part.handshake, room).context("handshake")?,
        service: latency(&part.service, room).context("service")?,
        response: latency(&part.response, room).context("response")?,
        lag: latency(&part.lag, room).context("lag")?,
    })
}

fn latency(part: &LatencyPart, room: &mut ByteBudget) -> Result<Latency> {
    histogram(part.hdr.as_deref(), part.count, room)
}

/// Those that are lower bounds.
fn bounds(part: &LatencyPart, room: &mut ByteBudget) -> Result<Latency> {
    part.at_least.as_ref().map_or(Ok(Latency::default()), |part| histogram(part.hdr.as_deref(), part.count, room))
}

fn histogram(hdr: Option<&str>, count: u64, room: &mut ByteBudget) -> Result<Latency> {
    let times = hdr.map_or(Ok(Latency::default()), encode::decode)?;
    ensure!(times.count() == count, "its histogram holds {} times and not {count}", times.count());
    room.0 = room.0.checked_sub(times.size()).context("its histograms are larger than those of any run")?;
    Ok(times)
}

fn source(part: &GeneratorPart, name: &str) -> Result<RunSource> {
    Ok(RunSource {
        file: Some(part.file.clone().unwrap_or_else(|| name.into())),
        generator: Generator {
            version: part.version.clone(),
            host: part.host.clone(),
            engine: part.engine.clone(),
            workers: part.workers,
            cpu_user: duration(part.cpu_user_s, "cpu_user_s")?,
            cpu_system: duration(part.cpu_system_s, "cpu_system_s")?,
        },
        seed: part.seed,
        started: time(&part.started)?,
        elapsed: duration(part.elapsed_s, "elapsed_s")?,
        rates: rates(&part.rates)?,
    })
}

fn rates(part: &RatesPart) -> Result<Rates> {
    let rates = [
        part.messages_per_s,
        part.sent_per_s,
        part.connections_per_s,
        part.bytes_sent_per_s,
        part.bytes_received_per_s,
    ];
    ensure!(rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0), "a rate is negative");
    let [messages, sent, connections, bytes_sent, bytes_received] = rates;
    Ok(Rates { messages, sent, connections, bytes_sent, bytes_received })
}

fn class(name: &str) -> Result<Fault> {
    let class = Fault::ALL.into_iter().find(|class| class.name() == name);
    class.with_context(|| format!("there is no class of failures '{}'", crate::escape::text(name.as_bytes())))
}

fn duration(seconds: f64, name: &str) -> Result<Duration> {
    ensure!((0.0..=LONGEST).contains(&seconds), "{name}: {seconds} s is not a time of a run");
    // Written as a float; the nanosecond is what was meant.
    Ok(Duration::from_nanos((seconds * 1e9).round() as u64))
}

fn time(text: &str) -> Result<SystemTime> {
    humantime::parse_rfc3339(text)
        .map_err(|_| anyhow::anyhow!("'{}' is not a time (RFC 3339)", crate::escape::text(text.as_bytes())))
}
