//! The reports of made-up runs, read back by others' readers.

use std::time::Duration;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use resound::load::{Counts, Fault, Generator, Interval, Latency, Mode, Record};

use super::bars::Glyphs;
use super::compare::Compared;
use super::document::{Document, IntervalLine};
use super::gate::{Gate, Outcome};
use super::run::Run;
use super::text::{self, Style, visible};
use super::{encode, hdr, html, junit, merge, read, samples};
use crate::colour::Colour;
use crate::json;

/// What a peer, or a file, may put into a text.
const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[2J\u{202e}\"'&\n]]>\0";

fn some() -> Run {
    Run::of(samples::record(1_000, 1, true))
}

/// Each text in it is as bad as can be, and each number as large.
fn hostile() -> Run {
    let mut record = samples::record(100, 1, true);
    let settings = &mut record.settings;
    (settings.target, settings.command) = (HOSTILE.into(), HOSTILE.into());
    (settings.connections, settings.seed, settings.rate) = (u64::MAX, u64::MAX, Some(f64::MAX));
    record.generator = Generator {
        version: HOSTILE.into(),
        host: HOSTILE.into(),
        engine: HOSTILE.into(),
        workers: u64::MAX / 4,
        ..Generator::default()
    };
    record.warnings = vec![HOSTILE.into()];
    for failure in &mut record.failures {
        failure.what = HOSTILE.into();
        (failure.connection, failure.sequence) = (u64::MAX, Some(u64::MAX));
    }
    let most = Counts {
        planned: u64::MAX,
        sent: u64::MAX,
        received: u64::MAX,
        verified: u64::MAX,
        bytes_sent: u64::MAX,
        bytes_received: u64::MAX,
        opened: u64::MAX,
        closed: u64::MAX,
        failures: [u64::MAX; Fault::ALL.len()],
    };
    record.total.counts = most;
    record.intervals[3].counts = most;
    record.intervals[4].response = Latency::of([(i64::MAX as u64, i64::MAX as u64)]);
    record.total.response = Latency::of([(0, 1), (i64::MAX as u64, 3)]);
    Run::of(record)
}

fn all() -> Vec<Run> {
    vec![some(), hostile(), samples::empty()]
}

fn judged(run: &Run, gates: &[&str]) -> Vec<Outcome> {
    gates.iter().map(|gate| Gate::parse(gate).unwrap().judge(run)).collect()
}

fn plain(width: usize) -> Style {
    Style { colour: Colour::never(), glyphs: Glyphs::Ascii, width }
}

fn saved(run: &Run) -> Vec<u8> {
    json::object(&Document::of(run, &judged(run, &["p99>1ms", "errors>0"]), 3).unwrap())
}

fn named(run: &Run, file: &str) -> Run {
    read::parse(&saved(run), file).unwrap()
}

#[test]
fn what_is_written_validates_against_the_schema() {
    let schema = include_str!("../../../../docs/load.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let check = |bytes: &[u8]| {
        let value = serde_json::from_slice(bytes).unwrap();
        let errors: Vec<_> =
            schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        value
    };
    for run in all() {
        let value: serde_json::Value = check(&saved(&run));
        assert_eq!(value["verdict"]["pass"], false);
        for interval in &run.record.intervals {
            check(&json::object(&IntervalLine::of(interval).unwrap()));
        }
        let mut document = Document::of(&run, &[], 0).unwrap();
        document.comparison = Some(serde_json::to_value(Compared::of(&some(), &run)).unwrap());
        check(&json::object(&document));
    }
    // A schema that lets everything pass is none.
    let mut wrong: serde_json::Value = serde_json::from_slice(&saved(&some())).unwrap();
    wrong["total"]["response"]["p99"] = 1.into();
    assert!(!schema.is_valid(&wrong));
    wrong["total"]["response"].as_object_mut().unwrap().remove("p99");
    assert!(schema.is_valid(&wrong));
    wrong["started"] = serde_json::Value::Null;
    assert!(!schema.is_valid(&wrong));
}

#[test]
fn what_is_read_is_what_was_written() {
    for run in all() {
        let again = named(&run, "a.json");
        assert_eq!(again.record, run.record);
        assert_eq!(again.rates, run.rates);
        assert_eq!(again.sources[0].file.as_deref(), Some("a.json"));
        // Once more, from what was read.
        assert_eq!(named(&again, "a.json"), again);
    }
}

#[test]
fn json_is_read_however_it_was_kept() {
    let run = some();
    let mut lines = json::object(&IntervalLine::of(&run.record.intervals[0]).unwrap());
    lines.extend(saved(&run));
    assert_eq!(read::parse(&lines, "x").unwrap().record, run.record);
    let value: serde_json::Value = serde_json::from_slice(&saved(&run)).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(read::parse(&pretty, "x").unwrap().record, run.record);
}

#[test]
fn what_is_none_of_ours_is_refused_with_the_reason() {
    let good: serde_json::Value = serde_json::from_slice(&saved(&some())).unwrap();
    let with = |path: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        changed.to_string()
    };
    let interval = json::object(&IntervalLine::of(&some().record.intervals[0]).unwrap());
    let cases = [
        (String::new(), "the file is empty"),
        ("hello".into(), "not the results of a run"),
        ("[1]".into(), "not the results of a run"),
        ("{\"a\":1}".into(), "it does not say \"format\":\"resound-load/1\""),
        (with("/format", "resound-load/9".into()), "written by another version"),
        (String::from_utf8(interval).unwrap(), "the run was cut off"),
        (with("/settings/shape", "star".into()), "there is no shape 'star'"),
        (with("/settings/mode", "\u{1b}[2J".into()), "there is no mode '\\x1b[2J'"),
        (with("/elapsed_s", (-1.0).into()), "elapsed_s: -1 s is not a time of a run"),
        (with("/elapsed_s", 1e300.into()), "is not a time of a run"),
        (with("/started", "yesterday".into()), "'yesterday' is not a time"),
        (with("/total/response/hdr", "AAAA".into()), "not in HdrHistogram's V2 encoding"),
        (with("/total/response/count", 7.into()), "and not 7"),
        (with("/total/errors", 77.into()), "the classes of the 77 errors do not add up"),
        (with("/rates/sent_per_s", (-5.0).into()), "a rate is negative"),
        (with("/generators", serde_json::json!([])), "there is no generator in it"),
        (with("/failures/0/class", "bad luck".into()), "there is no class of failures 'bad luck'"),
        (with("/total/sent", "many".into()), "invalid type"),
    ];
    for (text, want) in cases {
        let error = format!("{:#}", read::parse(text.as_bytes(), "x").unwrap_err());
        assert!(error.contains(want), "{error:?} does not say {want:?}");
    }
    let whole = saved(&some());
    for cut in (0..whole.len() - 2).step_by(997) {
        assert!(read::parse(&whole[..cut], "x").is_err(), "cut at {cut}");
    }
}

#[test]
fn the_log_is_read_back_by_its_own_reader() {
    let run = some();
    let mut log = Vec::new();
    hdr::write(&run, &mut log).unwrap();
    let mut sums: std::collections::BTreeMap<String, Latency> = std::collections::BTreeMap::new();
    let mut next = Duration::ZERO;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let tag = interval.tag().map_or_else(String::new, |tag| tag.as_str().to_string());
        let times = encode::decode(interval.encoded_histogram()).unwrap();
        if tag.is_empty() {
            assert_eq!(interval.start_timestamp(), next);
            next += interval.duration();
            assert!((interval.max() - times.max().unwrap().as_secs_f64() * 1e3).abs() < 0.001);
        }
        sums.entry(tag).or_default().add(&times);
    }
    let total = &run.record.total;
    assert_eq!(sums.keys().collect::<Vec<_>>(), ["", "connect", "lag", "service"]);
    assert_eq!(sums[""], total.response);
    assert_eq!((&sums["service"], &sums["lag"], &sums["connect"]), (&total.service, &total.lag, &total.connect));
    let text = String::from_utf8(log).unwrap();
    assert!(text.contains("#[StartTime: 1795441000.000 (seconds since epoch)]\n"), "{}", &text[..400]);
    for run in [hostile(), samples::empty()] {
        let mut log = Vec::new();
        hdr::write(&run, &mut log).unwrap();
        assert!(IntervalLogIterator::new(&log).all(|entry| entry.is_ok()));
    }
}

#[test]
fn a_histogram_is_one_that_others_decode() {
    let text = encode::encode(&some().record.total.response).unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let theirs: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!(theirs.len(), some().record.total.response.count());
}

#[test]
fn merging_adds() {
    let (a, b) = (samples::record(1_000, 1, true), samples::record(500, 2, false));
    let merged =
        merge::merge(vec![named(&Run::of(a.clone()), "a.json"), named(&Run::of(b.clone()), "b.json")]).unwrap();
    let mut want = a.total.clone();
    want.add(&b.total);
    assert_eq!(merged.record.total, want);
    assert_eq!(merged.record.intervals.len(), 30);
    let mut sum = merged.record.intervals[0].clone();
    merged.record.intervals[1..].iter().for_each(|next| sum.join(next));
    assert_eq!((sum.counts, sum.service, sum.length), (want.counts, want.service, Duration::from_secs(30)));
    assert!((merged.rates.messages - 1_500.0).abs() < 1e-6, "{}", merged.rates.messages);
    assert_eq!((merged.record.settings.connections, merged.record.settings.rate), (128, Some(1_500.0)));
    assert_eq!(merged.record.failures.len(), 4);
    assert!(merged.record.failures[0].what.starts_with("a.json: "));
    // A merged run is a run: saved, read and merged again.
    let again = named(&merged, "ab.json");
    assert_eq!(again.record, merged.record);
    assert_eq!(again.sources.len(), 2);
    let page = text::render(&again, &[], plain(80));
    assert!(page.contains("\nMerged from 2 generators\n  a.json: 1,000 msg/s for 30.0 s, from 2026-11-23T"), "{page}");
    assert!(!page.contains("overlap"), "{page}");
}

#[test]
fn runs_that_were_not_one_load_are_said_to_be_none() {
    let first = named(&Run::of(samples::record(100, 1, false)), "a.json");
    let shifted = |by: u64, file: &str| {
        let mut record = samples::record(100, 2, false);
        record.started += Duration::from_secs(by);
        record.settings.size = resound::load::Sizes::Fixed(1);
        named(&Run::of(record), file)
    };
    let warnings = |other| merge::merge(vec![first.clone(), other]).unwrap().record.warnings.join("\n");
    assert!(
        warnings(shifted(0, "b.json"))
            .starts_with("the runs differ in their settings (sizes); those shown are of a.json")
    );
    assert!(warnings(shifted(10, "b.json")).starts_with("the runs overlapped for only 20.0 s of 30.0 s"));
    let apart = merge::merge(vec![first.clone(), shifted(1_000_000_000, "b.json")]).unwrap();
    assert!(apart.record.warnings[0].starts_with("the runs did not overlap in time"));
    assert!(apart.record.intervals.len() <= 60);
    let error = merge::merge(vec![first.clone(), first.clone()]).unwrap_err().to_string();
    assert_eq!(error, "a.json and a.json are the same run, which would count twice");
}

#[test]
fn a_comparison_says_what_is_shown_and_what_is_not() {
    let base = named(&Run::of(samples::record(1_000, 1, false)), "base.json");
    let slower = {
        let mut record = samples::record(1_000, 5, false);
        for interval in &mut record.intervals {
            interval.response = Latency::of(interval.response.buckets().map(|bucket| (bucket.to * 2, bucket.count)));
        }
        Run::of(record)
    };
    let page = Compared::of(&base, &Run::of(samples::record(1_000, 5, false))).render(plain(80));
    assert!(page.contains("Compared with base.json") && page.contains("\n  No difference is shown. "), "{page}");
    let page = Compared::of(&base, &slower).render(plain(80));
    let p50 = page.lines().find(|line| line.starts_with("  p50 ")).unwrap();
    assert!(p50.contains("+10") && p50.ends_with(" worse"), "{page}");
    assert!(page.lines().all(|line| visible(line) <= 80), "{page}");
    let mut short = samples::record(1_000, 5, false);
    short.intervals.truncate(3);
    let page = Compared::of(&base, &Run::of(short)).render(plain(80));
    assert!(page.contains("The base has 30 intervals, the new run 3"), "{page}");
}

/// A page, read as strictly as XML is.
fn parsed(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

#[test]
fn the_page_is_well_formed_and_holds_what_it_must() {
    for run in all() {
        let base = some();
        let compared = Compared::of(&base, &run);
        let page = html::render(&run, Some(&base), Some(&compared), &judged(&run, &["p99>1us", "errors>9"]));
        let tree = parsed(&page);
        let count = |name: &str| tree.descendants().filter(|node| node.tag_name().name() == name).count();
        assert_eq!((count("script"), count("link"), count("img"), count("iframe")), (0, 0, 0, 0));
        assert!(!page.contains("src=") && !page.contains("url(") && !page.contains("@import"));
        // The only address is the name of the language.
        assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/1999/xhtml").count(), "{page}");
        let text: String = tree.descendants().filter_map(|node| node.text()).collect();
        for wanted in ["Gates", "Settings", "Generator", "Compared with", "To keep in mind", "p99>1us"] {
            assert!(text.contains(wanted), "no {wanted}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && !crate::escape::is_dangerous(c)));
        let attributes = || tree.descendants().flat_map(|node| node.attributes());
        for number in attributes().filter(|a| ["x", "y", "cx", "cy", "d"].contains(&a.name())) {
            assert!(!number.value().contains("NaN") && !number.value().contains("inf"), "{}", number.value());
        }
        if !run.record.intervals.is_empty() {
            // Four or more charts, for two widths.
            let charts = attributes().filter(|a| a.name() == "aria-label").count();
            assert!(charts >= 8, "{charts} charts");
            for wanted in
                ["Time by percentile", "Response time over the run", "Throughput", "Errors over the run", "99.9 %"]
            {
                assert!(text.contains(wanted), "no {wanted}");
            }
        }
    }
}

#[test]
fn labels_of_an_axis_do_not_touch() {
    let page = html::render(&Run::of(samples::record(1_000, 1, true)), None, None, &[]);
    let tree = parsed(&page);
    let mut axes = 0;
    for chart in tree.descendants().filter(|node| node.attribute("aria-label").is_some()) {
        let labels = |class: &str| -> Vec<(f64, f64, usize)> {
            let texts = chart.descendants().filter(|node| node.attribute("class") == Some(class));
            let place = |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse().unwrap();
            texts.map(|node| (place(node, "x"), place(node, "y"), node.text().unwrap().chars().count())).collect()
        };
        let (x, y) = (labels("x"), labels("y"));
        assert!(x.len() >= 3 && y.len() >= 2, "{x:?} {y:?}");
        let wide = |n: usize| n as f64 * 6.6;
        assert!(x.windows(2).all(|pair| pair[1].0 - pair[0].0 > (wide(pair[0].2) + wide(pair[1].2)) / 2.0), "{x:?}");
        assert!(y.windows(2).all(|pair| (pair[0].1 - pair[1].1).abs() >= 12.0), "{y:?}");
        let right = chart.attribute("viewBox").unwrap().split(' ').nth(2).unwrap().parse::<f64>().unwrap();
        assert!(x.iter().all(|label| label.0 + wide(label.2) / 2.0 <= right), "{x:?}");
        assert!(y.iter().all(|label| label.0 - wide(label.2) >= 0.0), "{y:?}");
        axes += 1;
    }
    assert_eq!(axes, 8);
}

#[test]
fn junit_has_a_case_for_each_gate() {
    for run in all() {
        let gates = ["p99>1us", "p50>1h", "lag.max>1000h"];
        let xml = junit::render(&run, &judged(&run, &gates));
        let tree = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}\n{xml}"));
        let cases: Vec<_> = tree.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), 4);
        let failures = tree.descendants().filter(|node| node.has_tag_name("failure")).count();
        let suite = tree.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("failures").unwrap().parse(), Ok(failures));
        assert_eq!(cases[0].attribute("name"), Some("fail-if p99>1us"));
        assert!(cases[0].children().any(|node| node.has_tag_name("failure")));
    }
    let outcomes = judged(&some(), &["errors>9"]);
    assert!(!junit::render(&some(), &outcomes).contains("<failure"));
}

#[test]
fn text_fits_its_terminal_and_holds_nothing_dangerous() {
    for run in all() {
        for width in [40, 60, 80, 200] {
            let page = text::render(&run, &judged(&run, &["p99>1us", "errors>0"]), plain(width));
            assert!(page.chars().all(|c| c == '\n' || !c.is_control() && !crate::escape::is_dangerous(c)), "{page}");
            let is_hostile = run.record.total.counts.sent == u64::MAX;
            for line in page.lines().filter(|_| !is_hostile && width >= 60) {
                assert!(visible(line) <= width.min(80), "{width}: {line}");
            }
        }
    }
}

#[test]
fn the_text_of_a_small_run() {
    let interval = Interval {
        start: Duration::ZERO,
        length: Duration::from_secs(2),
        counts: Counts {
            planned: 20,
            sent: 20,
            received: 19,
            verified: 19,
            bytes_sent: 1280,
            bytes_received: 1216,
            opened: 1,
            failures: std::array::from_fn(|at| u64::from(at == Fault::Missing.index())),
            ..Counts::default()
        },
        connect: Latency::of([(150_000, 1)]),
        service: Latency::of([(50_000, 17), (75_000, 1), (3_000_000, 1)]),
        ..Interval::default()
    };
    let mut record = Record {
        total: interval.clone(),
        intervals: vec![interval],
        elapsed: Duration::from_secs(2),
        warm_up: Duration::ZERO,
        ..samples::record(10, 1, true)
    };
    (record.settings.rate, record.settings.shape, record.settings.connections) =
        (None, resound::load::Shape::Closed, 1);
    record.generator.cpu_user = Duration::from_millis(1);
    record.generator.cpu_system = Duration::from_millis(3);
    record.failures = vec![resound::load::Failure {
        class: Fault::Missing,
        at: Duration::from_millis(1500),
        connection: 0,
        sequence: Some(12),
        what: "never answered".into(),
    }];
    let run = Run::of(record);
    let got = text::render(&run, &judged(&run, &["p99>1ms", "errors>1", "lag.p99>1ms"]), plain(80));
    let want = include_str!("small.txt");
    assert!(got == want, "{got}");
}

#[test]
fn nothing_is_coloured_for_those_who_do_not_want_it() {
    let page = text::render(&some(), &[], plain(80));
    assert!(!page.contains('\x1b'));
}

#[test]
fn a_far_end_that_answers_nothing_has_no_times() {
    let mut record = samples::record(100, 1, false);
    record.settings.mode = Mode::Discard;
    for interval in record.intervals.iter_mut().chain([&mut record.total]) {
        interval.counts.received = 0;
        (interval.response, interval.service) = (Latency::default(), Latency::default());
    }
    let run = Run::of(record);
    assert_eq!(run.rates.messages, 100.0);
    let page = text::render(&run, &[], plain(80));
    assert!(page.contains("there are no times of answers") && !page.contains("answered,"), "{page}");
}

#[test]
fn the_steps_of_a_ramp_show_its_knee() {
    let step = |level, broken: Option<&str>| resound::load::Step {
        level,
        total: samples::record(100, 1, false).intervals[3].clone(),
        broken: broken.map(Into::into),
    };
    let text = |steps: Vec<resound::load::Step>| {
        let run = Run::of(Record { steps, ..samples::record(100, 1, false) });
        assert_eq!(named(&run, "x").record.steps, run.record.steps);
        assert!(html::render(&run, None, None, &[]).contains("<h2>Steps</h2>"));
        text::render(&run, &[], plain(80))
    };
    let page = text(vec![step(1000.0, None), step(2000.0, None), step(3000.0, Some("p99>1ms (2.00 ms)"))]);
    assert!(page.contains("  knee         2,000 held, the next step did not\n"), "{page}");
    assert!(page.contains(" p99>1ms (2.00 ms)\n"), "{page}");
    let page = text(vec![step(1000.0, None), step(2000.0, None)]);
    assert!(page.contains("  knee         not found: 2,000 still held\n"), "{page}");
    let page = text(vec![step(1000.0, Some("errors>0 (1 error)"))]);
    assert!(page.contains("  knee         not found: not even the first step held\n"), "{page}");
}

#[test]
fn errors_are_named_with_the_time_they_came_in() {
    let mut intervals = samples::record(10, 1, false).intervals;
    for (at, n) in [(3, 1), (5, 7), (9, 2)] {
        intervals[at].counts.failures[Fault::Reset.index()] = n;
    }
    let mut total = Counts::default();
    intervals.iter().for_each(|interval| total.add(&interval.counts));
    let when = |class| text::when(class, &total, &intervals);
    assert_eq!(when(Fault::Reset).as_deref(), Some("10 between 3.00 s and 10.0 s, at most 7 in 1.00 s"));
    assert_eq!(when(Fault::Eof), None);
    // Of a run whose intervals are gone the number is left.
    assert_eq!(text::when(Fault::Reset, &total, &[]).as_deref(), Some("10"));
}
