//! Files for programs, written and read again.

use std::time::Duration;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use resound_console::json;
use resound_load::{Interval, Latency, LoadFailure, Record};

use super::super::comparison::Compared;
use super::super::document::{Document, IntervalLine};
use super::super::outcome::Judgement;
use super::super::run::Run;
use super::super::{encode, hdr, read, samples, verdict};
use super::{all, hostile, named, saved, some};

#[test]
fn the_output_validates_against_the_schema() {
    let schema = include_str!("../../../schema/load.schema.json");
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
        document.comparison = Some(Compared::of(&some(), &run));
        check(&json::object(&document));
    }
    // The schema must reject something.
    let mut wrong: serde_json::Value = serde_json::from_slice(&saved(&some())).unwrap();
    wrong["total"]["response"]["p99"] = 1.into();
    assert!(!schema.is_valid(&wrong));
    wrong["total"]["response"].as_object_mut().unwrap().remove("p99");
    assert!(schema.is_valid(&wrong));
    wrong["started"] = serde_json::Value::Null;
    assert!(!schema.is_valid(&wrong));
}

#[test]
fn a_saved_run_is_read_unchanged() {
    for run in all() {
        let again = named(&run, "a.json");
        assert_eq!(again.record, run.record);
        assert_eq!(again.rates, run.rates);
        assert_eq!(again.sources[0].file.as_deref(), Some("a.json"));
        // A second round trip, of a run that was read.
        assert_eq!(named(&again, "a.json"), again);
    }
}

#[test]
fn lines_and_pretty_json_are_read() {
    let run = some();
    let mut lines = json::object(&IntervalLine::of(&run.record.intervals[0]).unwrap());
    lines.extend(saved(&run));
    assert_eq!(read::parse(&lines, "x").unwrap().record, run.record);
    let value: serde_json::Value = serde_json::from_slice(&saved(&run)).unwrap();
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(read::parse(&pretty, "x").unwrap().record, run.record);
}

/// Removes the fields that an older version did not write.
fn before(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for field in [
                "lagged",
                "unconnected",
                "silent",
                "outage_s",
                "stall_s",
                "at_least",
                "verdict",
                "settled_by",
                "repetitions",
            ] {
                if field != "verdict" || fields.contains_key("fail_if") {
                    fields.remove(field);
                }
            }
            fields.values_mut().for_each(before);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(before),
        _ => {}
    }
}

#[test]
fn files_of_older_versions_are_read_and_judged() {
    let mut old: serde_json::Value =
        serde_json::from_slice(&saved(&Run::of(samples::record(1_000, 1, false)))).unwrap();
    before(&mut old);
    let again = read::parse(old.to_string().as_bytes(), "old.json").unwrap();
    assert_eq!(again.record, samples::record(1_000, 1, false));
    let gates = &again.judged.as_ref().unwrap().verdict.gates;
    assert_eq!(gates.iter().map(|gate| gate.judgement).collect::<Vec<_>>(), [Judgement::Fail, Judgement::Pass]);
    // A third of the plan was never sent, and has no times.
    for part in ["/total", "/intervals/29"] {
        old.pointer_mut(part).unwrap()["planned"] = if part == "/total" { 45_000 } else { 16_000 }.into();
    }
    let again = read::parse(old.to_string().as_bytes(), "old.json").unwrap();
    assert_eq!(again.record.total.counts.failed(LoadFailure::Unsent), 15_000);
    assert_eq!(again.record.intervals[29].counts.failed(LoadFailure::Unsent), 15_000);
    let judgements = super::judged(&again, &["p99>5s", "p50>5s", "loss>1%", "unsent>1"]);
    let judgements: Vec<_> = judgements.into_iter().map(|outcome| outcome.judgement).collect();
    assert_eq!(judgements, [Judgement::CannotTell, Judgement::Pass, Judgement::Fail, Judgement::Fail]);
    assert_eq!(verdict::exit_code(&again, &[], false), crate::exit::NETWORK);
}

#[test]
fn lower_bounds_are_written_and_read() {
    let mut record = samples::record(100, 1, false);
    let waits = Latency::of([(2_000_000_000, 300)]);
    for part in record.intervals.iter_mut().take(1).chain([&mut record.total]) {
        for times in [&mut part.response, &mut part.lag, &mut part.bounds.response, &mut part.bounds.lag] {
            times.add(&waits);
        }
        part.counts.planned += 310;
        part.counts.failures[LoadFailure::Unsent.index()] = 300;
        (part.counts.lagged, part.counts.unconnected, part.counts.silent) = (10, 7, 4);
        (part.outage, part.stall) = (Duration::from_millis(2500), Duration::from_millis(700));
    }
    let run = Run::of(record);
    let value: serde_json::Value = serde_json::from_slice(&saved(&run)).unwrap();
    let at_least = &value["total"]["response"]["at_least"];
    assert_eq!((&at_least["count"], &value["total"]["service"]["at_least"]), (&300.into(), &serde_json::Value::Null));
    assert_eq!(at_least["figures"], serde_json::json!(["mean_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"]));
    assert_eq!(named(&run, "a.json").record, run.record);
    let schema = include_str!("../../../schema/load.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let errors: Vec<_> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let text = super::super::text::render(&run, &[], None, super::plain(80));
    let p99 = text.lines().find(|line| line.starts_with("  p99 ")).unwrap();
    assert_eq!(p99.split_whitespace().collect::<Vec<_>>()[1], ">=2.00", "{text}");
    assert!(text.contains(">= at least: of messages that were never sent"), "{text}");
    let page = super::super::html::render(&run, None, None, &[]);
    assert!(page.contains("\u{2265} 2.00 s") && page.contains("messages never sent"));
    // A merge keeps them.
    let other = named(&Run::of(samples::record(100, 2, false)), "b.json");
    let merged = super::super::merge::merge(vec![named(&run, "a.json"), other]).unwrap();
    assert_eq!(merged.record.total.bounds, run.record.total.bounds);
    assert_eq!(merged.record.total.counts.failed(LoadFailure::Unsent), 300);
    assert_eq!(super::judged(&merged, &["p99>5s"])[0].judgement, Judgement::CannotTell);
    assert_eq!(named(&merged, "both.json").record, merged.record);
}

#[test]
fn invalid_files_are_rejected_with_the_reason() {
    let good: serde_json::Value = serde_json::from_slice(&saved(&some())).unwrap();
    let with = |path: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        changed.to_string()
    };
    let interval = json::object(&IntervalLine::of(&some().record.intervals[0]).unwrap());
    let step = resound_load::RampStep { level: 1.0, total: Interval::default(), broken: None };
    let many_steps = Run::of(Record { steps: vec![step; 2000], ..samples::record(10, 1, false) });
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
        (String::from_utf8(saved(&many_steps)).unwrap(), "2000 steps are more than"),
        (with("/failures/0/class", "bad luck".into()), "there is no class of failures 'bad luck'"),
        (with("/total/sent", "many".into()), "invalid type"),
    ];
    for (text, want) in cases {
        let error = format!("{:#}", read::parse(text.as_bytes(), "x").unwrap_err());
        assert!(error.contains(want), "{error:?} does not say {want:?}");
    }
    let error = format!("{:#}", read::parse_within(100_000, good.to_string().as_bytes(), "x").unwrap_err());
    assert!(error.contains("its histograms are larger than those of any run"), "{error}");
    for mark in [b"\xff\xfe", b"\xfe\xff"] {
        let error = read::parse(mark, "x").unwrap_err().to_string();
        assert!(error.contains("the file is UTF-16") && error.contains("`--json=FILE`"), "{error}");
    }
    let whole = saved(&some());
    let marked = [b"\xef\xbb\xbf", whole.as_slice()].concat();
    assert!(read::parse(&marked, "x").is_ok(), "as editors of Windows save it");
    for cut in (0..whole.len() - 2).step_by(997) {
        assert!(read::parse(&whole[..cut], "x").is_err(), "cut at {cut}");
    }
}

#[test]
fn the_log_is_read_by_the_hdr_log_reader() {
    let run = some();
    let log = hdr::render(&run).unwrap();
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
        let log = hdr::render(&run).unwrap();
        assert!(IntervalLogIterator::new(&log).all(|entry| entry.is_ok()));
    }
}

#[test]
fn histograms_are_decoded_by_hdrhistogram() {
    let text = encode::encode(&some().record.total.response).unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let theirs: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!(theirs.len(), some().record.total.response.count());
}
