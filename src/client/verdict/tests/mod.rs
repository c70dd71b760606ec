//! Tests of what a test prints and saves, with a made-up record that has all words.

pub(super) mod schema;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use resound_console::json;
use resound_verdict::{CheckId, CheckReport, CheckVerdict, FarKind, PathDirection, Profile, Progress};
use serde_json::Value;

use super::document::TestDocument;
use super::record::{CutShort, MESSAGES, TestRecord, TestedAddress, TestedCheck};
use super::view::TestView;
use super::{again, junit, page, table};
use crate::client::plan::{Expect, PathSelection, TestOutput, TestTask};
use crate::colour::Colour;

/// What a far end may call itself.
const HOSTILE: &str = "<script>alert('\x1b[31m\u{202e}&\"')</script>";

fn checks() -> Vec<TestedCheck> {
    let report = |id, verdict, summary: &str| CheckReport::new(id, verdict, summary);
    let reports = [
        report(CheckId::Resolve, CheckVerdict::Skip, "the address is a number"),
        report(CheckId::Connect, CheckVerdict::Pass, "in 86 us").tried(3, 3).measure("connect_ms", 0.086),
        report(CheckId::Integrity, CheckVerdict::Error, "no descriptor is left").tried(0, 3),
        report(CheckId::HalfCloseOut, CheckVerdict::Fail, "0 of 262144 bytes came after the FIN")
            .tried(0, 3)
            .towards(PathDirection::Out)
            .control("the same bytes without a FIN", 3, 3)
            .saw("0 of 262144 bytes came after the FIN; the far end sent 262144")
            .saw("nothing moved")
            .saw("nothing moved")
            .saw(format!("it calls itself {HOSTILE}"))
            .suspects("a proxy that closes both directions on one FIN")
            .suspects("a box that is named \u{9b}2J"),
        report(CheckId::ResetIn, CheckVerdict::Flaky, "a clean end came once").tried(2, 3).towards(PathDirection::In),
        report(CheckId::MtuOut, CheckVerdict::Unknown, "small segments were lost too").tried(0, 3),
        report(CheckId::Nagle, CheckVerdict::Warn, "small writes wait 40 ms").tried(3, 3).measure("wait_ms", 40.5),
        report(CheckId::Idle, CheckVerdict::Skip, "not in the quick profile: --idle DURATION"),
        report(CheckId::Cap, CheckVerdict::Skip, "not in the quick profile: --idle DURATION"),
    ];
    reports.iter().map(TestedCheck::of).collect()
}

fn record() -> TestRecord {
    let mut address = TestedAddress::new("192.0.2.1:7".into());
    address.was_connected = true;
    address.far = Some(FarKind::Probe);
    address.far_name = Some(HOSTILE.into());
    address.time = Duration::from_millis(1234);
    address.checks = checks();
    address.checks.push(TestedCheck { tries: 6, ok: 6, ..TestedCheck::new(MESSAGES, CheckVerdict::Pass, "right") });
    address.sort();
    assert_eq!(address.checks[0].id, MESSAGES);
    let target = "db.example:7".to_string();
    for check in address.checks.iter_mut().filter(|check| check.is_remarkable()) {
        check.reproduce = Some(format!("resound test db.example 7 -4 --only {} --seed 7", check.id));
    }
    TestRecord {
        target,
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        profile: Profile::Quick,
        seed: 7,
        strict: false,
        is_partial: false,
        has_path: true,
        cut_short: None,
        error: None,
        addresses: vec![address],
    }
}

/// The record with these verdicts alone.
fn with(verdicts: &[CheckVerdict]) -> TestRecord {
    let mut record = record();
    record.addresses[0].checks.retain(|check| check.id != MESSAGES && verdicts.contains(&check.verdict));
    record
}

#[test]
fn the_text_has_all_that_a_ticket_needs() {
    let record = record();
    let address = &record.addresses[0];
    let mut text = table::HEADING.to_string();
    for check in address.checks.iter().filter(|check| check.verdict != CheckVerdict::Skip) {
        text += &table::check(check, Colour::never(), false);
    }
    text += &table::skips(address, Colour::never());
    text += &table::verdict(&record, address, false, Colour::never());
    assert_eq!(text, include_str!("report.txt"));
    let verbose = table::check(&address.checks[2], Colour::never(), true);
    assert!(verbose.ends_with("         measured: connect_ms 0.086\n"), "{verbose}");
}

#[test]
fn the_exit_code_is_that_of_the_worst_verdict() {
    use CheckVerdict::{Error, Fail, Flaky, Pass, Skip, Unknown, Warn};
    for (verdicts, code, strict, word) in [
        (&[Pass, Skip][..], 0, 0, "pass"),
        (&[Pass, Warn], 0, 3, "pass"),
        (&[Pass, Flaky], 4, 3, "cannot_tell"),
        (&[Unknown], 4, 4, "cannot_tell"),
        (&[Skip], 4, 4, "cannot_tell"),
        (&[], 4, 4, "cannot_tell"),
        (&[Error, Pass], 4, 4, "cannot_tell"),
        (&[Fail, Flaky, Unknown, Error], 3, 3, "fail"),
    ] {
        let record = with(verdicts);
        assert_eq!((record.exit_code(), record.verdict()), (code, word), "{verdicts:?}");
        assert_eq!(TestRecord { strict: true, ..record.clone() }.exit_code(), strict, "{verdicts:?}");
        let cut = TestRecord { cut_short: Some(CutShort::Signal), ..record.clone() };
        assert_eq!((cut.exit_code(), cut.verdict()), (130, "cut_short"));
        let late = TestRecord { cut_short: Some(CutShort::Timeout), ..record };
        assert_eq!(late.exit_code(), if code == 3 { 3 } else { 1 }, "{verdicts:?}");
    }
    let mut none = with(&[Fail]);
    (none.addresses[0].was_connected, none.addresses[0].far) = (false, Some(FarKind::None));
    assert_eq!((none.exit_code(), none.verdict()), (1, "no_connection"));
}

#[test]
fn the_last_line_promises_no_more_than_was_checked() {
    use CheckVerdict::{Error, Fail, Flaky, Pass, Skip, Unknown, Warn};
    let says = |record: &TestRecord, want: &str| assert_eq!(record.meaning(&record.addresses[0]), want);
    says(&with(&[Pass, Skip]), "the path carries TCP correctly");
    says(&with(&[Pass, Warn]), "the path carries TCP correctly, with a warning");
    says(&with(&[Pass, Unknown]), "not all could be judged");
    says(&with(&[Pass, Error]), "not all could be judged");
    says(&with(&[Flaky, Unknown]), "the path changes TCP at times");
    says(&with(&[Fail, Flaky]), "the path changes TCP");
    says(&with(&[Skip]), "nothing was checked");
    let partial = TestRecord { is_partial: true, ..with(&[Pass]) };
    says(&partial, "the path carries TCP correctly as far as it was checked");
    let mut one_end = with(&[Pass, Skip]);
    one_end.addresses[0].far = Some(FarKind::Answers);
    says(&one_end, "no fault of the path shows from this end alone");
    // An answer that is wrong is the server's, unless the far end is known to answer rightly.
    let wrong = TestedCheck::new(MESSAGES, CheckVerdict::Fail, "wrong");
    one_end.addresses[0].checks.push(wrong.clone());
    says(&one_end, "the server answers wrongly; no fault of the path shows from this end alone");
    let mut both = with(&[Fail]);
    both.addresses[0].checks.push(wrong.clone());
    says(&both, "the path changes TCP");
    let mut messages = TestRecord { has_path: false, ..with(&[]) };
    messages.addresses[0].checks = vec![TestedCheck::new(MESSAGES, Pass, "right")];
    says(&messages, "the server answers as it should");
    messages.addresses[0].checks = vec![wrong];
    says(&messages, "the server answers wrongly");
    let mut cut = TestRecord { cut_short: Some(CutShort::Signal), ..with(&[Pass]) };
    cut.addresses[0].far = None;
    says(&cut, "cut short: nothing of the path has failed so far");
}

#[test]
fn the_document_is_as_its_schema_says() {
    let text = std::fs::read_to_string(schema::path()).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut unfinished = TestRecord { cut_short: Some(CutShort::Signal), ..record() };
    (unfinished.addresses[0].far, unfinished.addresses[0].far_name) = (None, None);
    unfinished.error = Some("cannot connect".into());
    unfinished.addresses[0].checks[0].measured.insert("rate".into(), f64::NAN.into());
    for record in [record(), unfinished] {
        let line = json::object(&TestDocument::of(&record));
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let document: Value = serde_json::from_slice(&line).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let document = serde_json::to_value(TestDocument::of(&record())).unwrap();
    assert_eq!(document["counts"]["fail"], 1);
    assert_eq!(document["exit_code"], 3);
    let check = document["checks"].as_array().unwrap().iter().find(|check| check["id"] == "half-close-out").unwrap();
    assert_eq!(check["control"]["ok"], 3);
    assert_eq!(check["direction"], "out");
    assert_eq!(document["addresses"][0]["far_name"], HOSTILE);
}

#[test]
fn the_junit_report_is_well_formed_and_counts_each_check() {
    for (strict, failures, errors) in [(false, 1, 3), (true, 3, 2)] {
        let xml = junit::render(&TestRecord { strict, ..record() });
        let document = roxmltree::Document::parse(&xml).unwrap();
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        let count = |name| document.descendants().filter(|node| node.has_tag_name(name)).count().to_string();
        assert_eq!(suite.attribute("tests"), Some(count("testcase").as_str()));
        assert_eq!(count("failure"), failures.to_string());
        assert_eq!(suite.attribute("failures"), Some(count("failure").as_str()));
        assert_eq!(suite.attribute("errors"), Some(errors.to_string().as_str()));
        assert_eq!(count("skipped"), "3");
        assert!(xml.contains("again: resound test db.example 7 -4 --only half-close-out --seed 7"), "{xml}");
    }
}

#[test]
fn the_page_is_well_formed_and_text_stays_text() {
    let html = page::render(&record());
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&html, options).unwrap();
    assert!(!document.descendants().any(|node| node.has_tag_name("script")), "{html}");
    assert!(html.contains("&lt;script&gt;alert") && !html.contains('\x1b') && !html.contains('\u{202e}'));
    for part in ["half-close-out", "the same bytes without a FIN 3/3", "prefers-color-scheme: dark", "this machine"] {
        assert!(html.contains(part), "{part} is missing");
    }
    // Each direction is drawn with what is wrong in it.
    let labels: Vec<_> = document.descendants().filter(|node| node.has_tag_name("text")).collect();
    let has = |label: &str| labels.iter().any(|node| node.text() == Some(label));
    assert!(has("out: half-close-out") && has("in: reset-in"), "{html}");
}

/// What a view writes, for a test to read.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

fn task() -> TestTask {
    TestTask {
        expect: None,
        has_messages: true,
        path: Some(PathSelection {
            only: vec![CheckId::Connect, CheckId::Integrity, CheckId::Nagle, CheckId::Rtt],
            skip: Vec::new(),
            profile: Profile::Quick,
            seed: 7,
            idle: None,
            finds_idle_timeout: false,
            connections: None,
        }),
        output: TestOutput::default(),
        strict: false,
        loopback: false,
        self_check: false,
        flags: Vec::new(),
    }
}

#[test]
fn each_address_has_its_table_in_a_stable_order_and_the_verdicts_stand_last() {
    let (task, written) = (task(), Written::default());
    let address = |text: &str| resound::Address::parse(text, 0).unwrap();
    let mut view = TestView::new(&task, &address("db.example:7"), false, written.clone());
    view.connected("[2001:db8::1]:7".into());
    view.add(TestedCheck::new(MESSAGES, CheckVerdict::Pass, "right"));
    view.expect(task.path.as_ref().unwrap().only.clone());
    let report = |id, verdict, what: &str| CheckReport::new(id, verdict, what).tried(3, 3);
    let connect = report(CheckId::Connect, CheckVerdict::Pass, "in 1 ms");
    let integrity = report(CheckId::Integrity, CheckVerdict::Pass, "no byte differs");
    let nagle = report(CheckId::Nagle, CheckVerdict::Skip, "it is late");
    let rtt = report(CheckId::Rtt, CheckVerdict::Warn, "1 ms");
    for host in ["192.0.2.1:7", "[2001:db8::1]:7"] {
        view.on(Progress::Begins(&address(host)));
        view.on(Progress::Greets(FarKind::Probe, Some("resound 1.2.3")));
        // The last is done first, and waits for its turn.
        for check in [&rtt, &connect, &nagle] {
            view.on(Progress::Checked(check));
        }
        assert!(written.text().ends_with("pass     connect             3/3  in 1 ms\n"), "{}", written.text());
        view.on(Progress::Checked(&integrity));
        assert!(written.text().contains("warn     rtt                 3/3  1 ms\n         again: resound test db."));
    }
    view.conclude();
    let text = written.text();
    let heading = "Path to 192.0.2.1:7: quick, seed 7\nfar end: resound 1.2.3, which cooperates\n\nverdict  check ";
    assert!(text.contains(heading), "{text}");
    assert!(text.contains("skip     nagle: it is late\n\nPath to [2001:db8::1]:7: quick, seed 7\n"), "{text}");
    let lines: Vec<_> = text.lines().rev().take(2).collect();
    assert!(lines[1].starts_with("VERDICT  [2001:db8::1]:7: ") && lines[1].ends_with(": 1 warn, 3 pass, 1 skip"));
    assert!(lines[0].starts_with("VERDICT  192.0.2.1:7: ") && lines[0].ends_with(": 1 warn, 2 pass, 1 skip"));
    let again = view.record.addresses[1].checks.iter().find_map(|check| check.reproduce.clone()).unwrap();
    assert_eq!(again, "resound test db.example 7 -4 --only rtt --seed 7");
}

#[test]
fn a_server_that_took_one_connection_alone_is_no_proof_against_the_path() {
    let (task, written) = (task(), Written::default());
    let address = resound::Address::parse("192.0.2.1:7", 0).unwrap();
    let mut view = TestView::new(&task, &address, false, written.clone());
    view.connected(address.to_string());
    view.expect(task.path.as_ref().unwrap().only.clone());
    view.on(Progress::Begins(&address));
    view.on(Progress::Greets(FarKind::None, None));
    view.on(Progress::Checked(&CheckReport::new(CheckId::Connect, CheckVerdict::Fail, "refused").tried(0, 3)));
    view.cut(CutShort::Timeout);
    view.conclude();
    let text = written.text();
    assert!(text.contains("unknown  connect             0/3  one connection succeeded, and further ones fail"));
    assert!(
        text.contains("\ncut short, not done: integrity, nagle, rtt\n\nVERDICT  192.0.2.1:7: cut short: "),
        "{text}"
    );
}

#[test]
fn a_check_is_repeated_with_the_flags_that_lead_to_the_server() {
    let path = PathSelection {
        only: Vec::new(),
        skip: Vec::new(),
        profile: Profile::Thorough,
        seed: 7,
        idle: Some(Duration::from_secs(1200)),
        finds_idle_timeout: true,
        connections: Some(500),
    };
    let mut task = TestTask {
        expect: Some(Expect::Echo),
        has_messages: true,
        path: Some(path),
        output: TestOutput::default(),
        strict: false,
        loopback: false,
        self_check: false,
        flags: vec!["--tls".into(), "--server-name".into(), "a b".into()],
    };
    let target = resound::Address::parse("db.example:7", 0).unwrap();
    let again = |task: &TestTask, family, id| again::command(task, &target, family, id);
    let way = "resound test db.example 7 -6 --tls --server-name 'a b'";
    let command = format!("{way} --only mtu-in --seed 7 --thorough");
    assert_eq!(again(&task, "ipv6", "mtu-in"), command);
    let command = format!("{way} --only idle --seed 7 --thorough --idle 20m --find-idle-timeout");
    assert_eq!(again(&task, "ipv6", "idle"), command);
    assert_eq!(again(&task, "ipv6", "cap"), format!("{way} --only cap --seed 7 --thorough --connections 500"));
    assert_eq!(again(&task, "ipv6", MESSAGES), format!("{way} --only messages --expect echo"));
    task.flags = vec!["-4".into()];
    assert!(again(&task, "ipv4", "rtt").starts_with("resound test db.example 7 -4 --only rtt"));
    task.loopback = true;
    assert!(again(&task, "ipv4", "rtt").starts_with("resound test --loopback -4 --only rtt"));
    let target = resound::Address::Unix("/tmp/a".into());
    task.loopback = false;
    assert!(again::command(&task, &target, "unix", "rtt").starts_with("resound test unix:/tmp/a "));
}
