//! Several runs: merged and compared.

use std::time::Duration;

use resound_load::{Latency, Shape};

use super::super::comparison::Compared;
use super::super::page::visible;
use super::super::run::Run;
use super::super::{html, merge, samples, text};
use super::{named, plain};

#[test]
fn a_merge_adds_counts_and_rates() {
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
    // A merged run is saved, read and merged again as any other.
    let again = named(&merged, "ab.json");
    assert_eq!(again.record, merged.record);
    assert_eq!(again.rates, merged.rates);
    assert_eq!(again.sources.len(), 2);
    let page = text::render(&again, &[], None, plain(80));
    assert!(page.contains("measured     30.0 s, by 2 generators, at once for 30.0 s: rates are added"), "{page}");
    assert!(page.contains("\nMerged from 2 generators\n  a.json: 1,000 msg/s for 30.0 s, from 2026-11-23T"), "{page}");
    assert!(!page.contains("overlap"), "{page}");
}

#[test]
fn runs_at_different_times_are_flagged() {
    let first = named(&Run::of(samples::record(100, 1, false)), "a.json");
    let shifted = |by: u64, file: &str| {
        let mut record = samples::record(100, 2, false);
        record.started += Duration::from_secs(by);
        record.settings.size = resound_load::Sizes::Fixed(1);
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
    // Two runs of 100 a second, one after the other, are 100 a second, and the first lines report
    // it.
    assert!((apart.rates.messages - 100.0).abs() < 1e-9 && (apart.record.settings.rate.unwrap() - 100.0).abs() < 1e-9);
    let page = text::render(&apart, &[], None, plain(80));
    let top = page.lines().take(8).collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let want = "measured 60.0 s, by 2 generators that did NOT run at once (all of them for 0 s): \
                rates are those of that time, not added";
    assert!(top.contains(want), "{top}");
    assert!(html::render(&apart, None, None, &[]).contains("did NOT run at once"));
    let json: serde_json::Value = serde_json::from_slice(&super::saved(&apart)).unwrap();
    assert_eq!(json["merged"], serde_json::json!({"together_s": 0.0, "covered_s": 60.0, "rates": "over_covered_time"}));
    assert!(apart.record.intervals.len() <= 60);
}

#[test]
fn a_generator_in_two_files_counts_once() {
    let [a, b, c] = [1, 2, 3].map(|seed| named(&Run::of(samples::record(100, seed, false)), &format!("{seed}.json")));
    let both = named(&merge::merge(vec![a.clone(), b.clone()]).unwrap(), "both.json");
    for (runs, file) in [(vec![both.clone(), b.clone()], "2.json"), (vec![a.clone(), c.clone(), a.clone()], "1.json")] {
        let error = merge::merge(runs).unwrap_err().to_string();
        let want = format!("{file} and {file} hold the same run, of host from 2026-11-23T");
        assert!(error.starts_with(&want) && error.ends_with(" on: it would count twice"), "{error}");
    }
    assert_eq!(merge::merge(vec![both, c]).unwrap().sources.len(), 3);
}

#[test]
fn runs_are_aligned_by_the_time_of_day() {
    let late = |by: u64| {
        let mut record = samples::record(1_000, 1 + by, false);
        record.started += Duration::from_millis(by);
        named(&Run::of(record), "x.json")
    };
    let merged = merge::merge(vec![late(0), late(550)]).unwrap();
    assert_eq!(merged.record.elapsed, Duration::from_millis(30_550));
    let received: u64 = merged.record.intervals.iter().map(|interval| interval.counts.received).sum();
    assert_eq!(received, 60_000);
    let length: Duration = merged.record.intervals.iter().map(|interval| interval.length).sum();
    assert_eq!(length, merged.record.elapsed);
    // The report and the comparison have the same rate: over the time in which both ran.
    let compared = Compared::of(&merged, &named(&merged, "m.json"));
    assert_eq!((compared.rows[0].base, merged.rates.messages), (2_000.0, 2_000.0));
    assert_eq!(compared.parts, Some((29, 29)));
}

#[test]
fn a_comparison_tells_differences_from_chance() {
    let base = named(&Run::of(samples::record(1_000, 1, false)), "base.json");
    let slower = {
        let mut record = samples::record(1_000, 5, false);
        for interval in &mut record.intervals {
            interval.response = Latency::of(interval.response.buckets().map(|bucket| (bucket.to * 2, bucket.count)));
        }
        Run::of(record)
    };
    let page = Compared::of(&base, &Run::of(samples::record(1_000, 5, false))).render("Compared", plain(80));
    assert!(page.contains("Compared with base.json") && page.contains("\n  No difference is shown. "), "{page}");
    let page = Compared::of(&base, &slower).render("Compared", plain(80));
    let p50 = page.lines().find(|line| line.starts_with("  p50 ")).unwrap();
    assert!(p50.contains("+10") && p50.ends_with(" worse"), "{page}");
    assert!(page.lines().all(|line| visible(line) <= 80), "{page}");
    let mut short = samples::record(1_000, 5, false);
    short.intervals.truncate(3);
    let page = Compared::of(&base, &Run::of(short)).render("Compared", plain(80));
    assert!(page.contains("The base has 30 intervals, the new run 3"), "{page}");
}

#[test]
fn no_numbers_of_a_file_overflow() {
    let most = |seed| {
        let mut record = samples::record(10, seed, false);
        record.settings.shape = Shape::Stream;
        record.settings.messages = Some(u64::MAX);
        record.generator.workers = u64::MAX;
        for interval in record.intervals.iter_mut().chain([&mut record.total]) {
            (interval.counts.bytes_sent, interval.counts.bytes_received) = (u64::MAX, u64::MAX);
            interval.response = Latency::of([(1_000, u64::MAX), (1_001, u64::MAX)]);
        }
        Run::of(record)
    };
    let merged = merge::merge(vec![most(1), most(2)]).unwrap();
    assert_eq!(merged.record.settings.messages, Some(u64::MAX));
    let compared = Compared::of(&most(3), &merged);
    assert!(html::render(&merged, Some(&most(3)), Some(&compared), &[]).contains("bits per second"));
    let page = text::render(&merged, &[], None, plain(80));
    assert!(page.contains("18,446,744,073,709,551,615 workers"), "{page}");
}

#[test]
fn times_of_different_clocks_are_not_compared() {
    let base = named(&Run::of(samples::record(1_000, 1, false)), "base.json");
    let mut record = samples::record(1_000, 2, false);
    record.settings.timestamps = resound_load::Timestamps::Kernel;
    record.settings.size = resound_load::Sizes::Fixed(1);
    let compared = Compared::of(&base, &Run::of(record.clone()));
    assert!(compared.rows.is_empty());
    let conclusion = compared.conclusion();
    assert!(
        conclusion.starts_with(
            "The runs differ in their settings (sizes, timestamps). The base's times are by another clock"
        ),
        "{conclusion}"
    );
    // Other differences are only reported.
    record.settings.timestamps = base.record.settings.timestamps;
    let conclusion = Compared::of(&base, &Run::of(record)).conclusion();
    assert!(conclusion.starts_with("The runs differ in their settings (sizes). "), "{conclusion}");
}

#[test]
fn runs_without_measurements_have_no_rate() {
    let cut = |seed| {
        let mut record = samples::record(100, seed, false);
        record.elapsed = Duration::ZERO;
        record.intervals.clear();
        record.total = resound_load::Interval::default();
        named(&Run::of(record), &format!("{seed}.json"))
    };
    let merged = merge::merge(vec![cut(1), cut(2)]).unwrap();
    assert_eq!((merged.rates.messages, merged.record.settings.rate), (0.0, Some(0.0)));
    assert_eq!(named(&merged, "both.json").record.total, merged.record.total);
}

#[test]
fn a_hostile_comparison_in_a_file_is_harmless() {
    let base = named(&Run::of(samples::record(1_000, 1, false)), "base.json");
    let mut compared = Compared::of(&base, &Run::of(samples::record(1_000, 5, false)));
    for row in &mut compared.rows {
        (row.base, row.new, row.low, row.high) = (1e300, -1e300, f64::MIN, f64::MAX);
    }
    compared.times = "\x1b]0;hi\x07".into();
    let page = compared.render("Compared then", plain(80));
    assert!(page.contains("\n  p99.9 ") && !page.contains(['\x1b', '\x07']), "{page}");
}
