//! The text on a terminal.

use std::time::Duration;

use resound_load::{Counts, Direction, Interval, Latency, LoadFailure, Mode, RampVariable, Record, Shape};

use super::super::page::visible;
use super::super::run::Run;
use super::super::{html, samples, text};
use super::{all, judged, named, plain, saved, some};

#[test]
fn the_text_fits_its_terminal_and_is_escaped() {
    for run in all() {
        for width in [40, 60, 80, 200] {
            let page = text::render(&run, &judged(&run, &["p99>1us", "errors>0"]), None, plain(width));
            assert!(
                page.chars().all(|c| c == '\n' || !c.is_control() && !resound_console::escape::is_dangerous(c)),
                "{page}"
            );
            let is_hostile = run.record.total.counts.sent == u64::MAX;
            for line in page.lines().filter(|_| !is_hostile) {
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
            failures: std::array::from_fn(|at| u64::from(at == LoadFailure::Missing.index())),
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
    (record.settings.rate, record.settings.shape, record.settings.connections) = (None, resound_load::Shape::Closed, 1);
    record.generator.cpu_user = Duration::from_millis(1);
    record.generator.cpu_system = Duration::from_millis(3);
    record.failures = vec![resound_load::Failure {
        class: LoadFailure::Missing,
        at: Duration::from_millis(1500),
        connection: 0,
        sequence: Some(12),
        what: "never answered".into(),
    }];
    let run = Run::of(record);
    let got = text::render(&run, &judged(&run, &["p99>1ms", "errors>1", "lag.p99>1ms"]), None, plain(80));
    let want = include_str!("small.txt");
    assert!(got == want, "{got}");
}

#[test]
fn gates_and_the_summary_come_last() {
    let run = some();
    let compared = super::super::comparison::Compared::of(&run, &run);
    let page = text::render(&run, &judged(&run, &["p99>1us"]), Some(&compared), plain(80));
    let headings: Vec<_> = page.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).collect();
    let [.., notes, compared, gates, last] = &headings[..] else { panic!("{page}") };
    assert_eq!((*notes, *gates), ("To keep in mind", "Gates (each fails the run if it is true)"), "{page}");
    assert!(compared.starts_with("Compared with"), "{page}");
    let total = &run.record.total;
    let time = |time: Option<Duration>| crate::units::latency(time.unwrap());
    let (p50, p99) = (time(total.response.percentile(50.0)), time(total.response.percentile(99.0)));
    let errors = crate::units::counted(total.counts.errors(), "error").replace("0 errors", "no errors");
    let rate = crate::units::rate(run.rates.messages);
    let max = time(total.response.max());
    assert_eq!(*last, format!("{rate} msg/s, p50 {p50}, p99 {p99}, max {max}, {errors}"));
}

#[test]
fn a_comparison_fits_a_narrow_window() {
    let (base, new) = (some(), some());
    let compared = super::super::comparison::Compared::of(&base, &new);
    for width in [40, 60, 80] {
        let text = compared.render("Compared", plain(width));
        assert!(text.lines().all(|line| visible(line) <= width), "{text}");
    }
}

#[test]
fn colours_can_be_turned_off() {
    let page = text::render(&some(), &[], None, plain(80));
    assert!(!page.contains('\x1b'));
}

#[test]
fn a_target_without_answers_has_no_times() {
    let mut record = samples::record(100, 1, false);
    record.settings.mode = Mode::Discard;
    for interval in record.intervals.iter_mut().chain([&mut record.total]) {
        interval.counts.received = 0;
        (interval.response, interval.service) = (Latency::default(), Latency::default());
    }
    let run = Run::of(record);
    assert_eq!(run.rates.messages, 100.0);
    let page = text::render(&run, &[], None, plain(80));
    assert!(page.contains("there are no times of answers") && !page.contains("answered,"), "{page}");
}

#[test]
fn the_steps_of_a_ramp_show_its_knee() {
    let step = |level, broken: Option<&str>| resound_load::RampStep {
        level,
        total: samples::record(100, 1, false).intervals[3].clone(),
        broken: broken.map(Into::into),
    };
    let text = |steps: Vec<resound_load::RampStep>| {
        let run = Run::of(Record { steps, ..samples::record(100, 1, false) });
        assert_eq!(named(&run, "x").record.steps, run.record.steps);
        assert!(html::render(&run, None, None, &[]).contains("<h2>Steps</h2>"));
        text::render(&run, &[], None, plain(80))
    };
    let page = text(vec![step(1000.0, None), step(2000.0, None), step(3000.0, Some("p99>1ms (2.00 ms)"))]);
    assert!(page.contains("  knee         2,000 held, the next step did not\n"), "{page}");
    assert!(page.contains(" p99>1ms (2.00 ms)\n"), "{page}");
    let page = text(vec![step(1000.0, None), step(2000.0, None)]);
    assert!(page.contains("  knee         not found: 2,000 still held\n"), "{page}");
    let mut record = Record { steps: vec![step(3.0, None)], ..samples::record(100, 1, false) };
    record.settings.shape = resound_load::Shape::Ramp;
    record.settings.rate = None;
    let steps = |of| resound_load::RampSteps {
        of,
        from: 1.0,
        to: 3.0,
        by: 2.0,
        every: Duration::from_secs(2),
        until: vec!["errors>0".into(), "p99>10ms".into()],
    };
    for (of, load, level) in [
        (
            RampVariable::Rate,
            "ramp, 1.00 to 3.00 msg/s by 2.00, 64 connections, \
             a step every 2.00 s until errors>0 or p99>10ms, evenly spaced,",
            "3.00 msg/s",
        ),
        (
            RampVariable::Connections,
            "ramp, 1 to 3 connections by 2, a step every 2.00 s until errors>0 or p99>10ms, 64 bytes",
            "3 connections",
        ),
    ] {
        record.settings.ramp = Some(steps(of));
        let run = Run::of(record.clone());
        assert_eq!(named(&run, "x").record, run.record);
        let page = text::render(&run, &[], None, plain(80));
        assert!(page.contains(&format!("\n  {level} ")) && page.contains(&format!(": {level} still held\n")), "{page}");
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("load {load}")), "{page}");
    }
    let page = text(vec![step(1000.0, Some("errors>0 (1 error)"))]);
    assert!(page.contains("  knee         not found: not even the first step held\n"), "{page}");
}

#[test]
fn errors_have_their_times() {
    let mut intervals = samples::record(10, 1, false).intervals;
    for (at, n) in [(3, 1), (5, 7), (9, 2)] {
        intervals[at].counts.failures[LoadFailure::Reset.index()] = n;
    }
    let mut total = Counts::default();
    intervals.iter().for_each(|interval| total.add(&interval.counts));
    let when = |class| text::when(class, &total, &intervals);
    assert_eq!(when(LoadFailure::Reset).as_deref(), Some("10 between 3.00 s and 10.0 s, at most 7 in 1.00 s"));
    assert_eq!(when(LoadFailure::Eof), None);
    // Without intervals only the number is known.
    assert_eq!(text::when(LoadFailure::Reset, &total, &[]).as_deref(), Some("10"));
}

#[test]
fn a_stream_shows_bits_per_second_each_way_and_over_the_run() {
    let bulk = |direction: Direction, mode| {
        let mut record = samples::record(10, 1, false);
        let settings = &mut record.settings;
        (settings.shape, settings.direction, settings.mode, settings.rate) =
            (Shape::Stream, Some(direction), mode, None);
        for (interval, seconds) in record.intervals.iter_mut().map(|i| (i, 1)).chain([(&mut record.total, 30)]) {
            interval.counts.bytes_sent = 3_125_000_000 * seconds;
            interval.counts.bytes_received = 3_000_000_000 * seconds;
            interval.counts.bytes_late = 0;
        }
        Run::of(record)
    };
    let run = bulk(Direction::Both, Mode::Echo);
    let page = text::render(&run, &[], None, plain(80));
    assert!(page.contains("rate         25.0 Gbit/s sent, 24.0 Gbit/s received\n"), "{page}");
    assert!(!page.contains("msg/s"), "{page}");
    let lines: Vec<_> = page.lines().skip_while(|line| *line != "Over the run").skip(1).take(11).collect();
    assert_eq!(lines[0], "  until                sent    received", "{page}");
    assert_eq!(lines[1], "  3.00 s        25.0 Gbit/s 24.0 Gbit/s", "{page}");
    assert_eq!(lines[10], "  30.0 s        25.0 Gbit/s 24.0 Gbit/s", "{page}");
    let page = html::render(&run, None, None, &[]);
    for wanted in ["<b>25.0 Gbit/s</b><span>sent</span>", "<b>24.0 Gbit/s</b><span>received</span>", "bits per second"]
    {
        assert!(page.contains(wanted), "no {wanted}");
    }
    assert!(page.contains("class=\"line sent\"") && page.contains("class=\"line received\""));
    let value: serde_json::Value = serde_json::from_slice(&saved(&run)).unwrap();
    for part in [&value["rates"], &value["intervals"][3], &value["total"]] {
        assert_eq!((&part["bits_sent_per_s"], &part["bits_received_per_s"]), (&25e9.into(), &24e9.into()), "{part}");
    }

    let mut one_way = bulk(Direction::Send, Mode::Discard);
    (one_way.record.total.response, one_way.record.total.service) = Default::default();
    let page = text::render(&one_way, &[], None, plain(80));
    assert!(page.contains("rate         25.0 Gbit/s sent\n"), "{page}");
    // Connect times do not describe a stream.
    assert!(page.ends_with("\n25.0 Gbit/s sent, no errors\n"), "{page}");
    let page = text::render(&bulk(Direction::Receive, Mode::Chargen), &[], None, plain(80));
    assert!(page.contains("rate         24.0 Gbit/s received\n"), "{page}");
}
