//! The output of a watch, made from a record.

use std::path::Path;
use std::time::Duration;

use resound::{Address, DialOptions};
use resound_console::json;
use resound_verdict::FarKind;
use resound_verdict::watch::{WatchCounts, WatchEpisode, WatchRecord, WatchSecond};
use schemars::generate::SchemaSettings;
use serde_json::Value;
use tokio::sync::Notify;

use super::document::{self, WatchLine};
use super::lines::SecondLines;
use super::{WatchGate, WatchPlan, code, summary};
use crate::client::{Connect, ConnectSetup, RetryPolicy};
use crate::colour::Colour;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn plan(gates: &[&str]) -> WatchPlan {
    WatchPlan {
        connect: Connect {
            address: Address::parse("127.0.0.1:8888", 0).unwrap(),
            dial: DialOptions::default(),
            patience: RetryPolicy::Retry(0),
            listen: false,
            nagle: false,
            keepalive: None,
            calls: None,
            before: ConnectSetup::default(),
            enough: Notify::new(),
        },
        waits: false,
        length: Some(ms(20_000)),
        held: 10,
        heartbeat: ms(100),
        new_per_second: 10,
        lost_after: ms(10_000),
        gates: gates.iter().map(|gate| WatchGate::parse(gate).unwrap()).collect(),
        json: false,
    }
}

/// A deploy that took 1.8 s.
fn counts() -> WatchCounts {
    let mut counts = WatchCounts { gap: ms(1800), connection_gap: ms(1850), ..WatchCounts::default() };
    (counts.heartbeats.due, counts.heartbeats.sent, counts.heartbeats.answered) = (2000, 1830, 1820);
    (counts.heartbeats.lost, counts.heartbeats.unsent, counts.heartbeats.slowest) = (10, 170, ms(4));
    (counts.held.reset, counts.held.reconnects, counts.held.slowest_reconnect) = (10, 10, ms(1850));
    (counts.reconnecting.tried, counts.reconnecting.served, counts.reconnecting.refused) = (70, 20, 50);
    (counts.new.tried, counts.new.served, counts.new.refused) = (200, 182, 18);
    counts
}

fn record() -> WatchRecord {
    let episode = WatchEpisode { from: ms(12_300), to: ms(14_150), counts: counts() };
    WatchRecord {
        length: ms(20_000),
        total: counts(),
        episodes: vec![episode],
        further_episodes: 0,
        seconds: Vec::new(),
        first_failure: None,
    }
}

fn clean() -> WatchRecord {
    let mut total = WatchCounts::default();
    (total.heartbeats.due, total.heartbeats.sent, total.heartbeats.answered) = (100, 100, 100);
    WatchRecord { total, episodes: Vec::new(), ..record() }
}

#[test]
fn the_summary_has_a_line_for_each_time_in_which_something_happened() {
    assert_eq!(
        summary::render(&plan(&["gap>2s", "lost>0"]), &record(), Colour::never()),
        "
Watched 127.0.0.1:8888 for 20.0 s
  12.3 s to 14.2 s: no heartbeat answered for 1.80 s; 10 connections reset; 10 heartbeats lost; 170 heartbeats not \
         sent; 50 reconnect attempts refused; 18 new connections refused; 10 connections back within 1.85 s

heartbeats     2,000 due, 1,820 answered, 10 lost, 170 not sent
held           10 connections, 10 reset, 10 replaced
connecting     70 tried, 20 served, 50 refused
new            200 tried, 182 served, 18 refused
longest gap    1.80 s; of one connection 1.85 s
reconnect      1.85 s at most
slowest answer 4.00 ms

Gates (each fails the watch if it is true)
  pass  gap>2s             measured: 1.80 s
  FAIL  lost>0             measured: 10 lost
"
    );
    let text = summary::render(&plan(&[]), &clean(), Colour::never());
    assert!(
        text.contains("  nothing happened\n") && text.ends_with("nothing was lost or late, and no connection ended\n")
    );
}

#[test]
fn without_a_terminal_only_events_have_lines_and_one_second_of_ten() {
    let second = |n: u64, counts| WatchSecond { from: ms(n * 1000), to: ms(n * 1000 + 1000), counts, open: 10 };
    let shown = |is_terminal| {
        let mut lines = SecondLines::new(is_terminal, Colour::never(), 10);
        let at = |n: u64| if n == 5 { counts() } else { clean().total };
        (0..20).map(|n| lines.of(&second(n, at(n)))).collect::<Vec<_>>()
    };
    let numbers = |lines: Vec<String>| -> Vec<usize> {
        lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).map(|(n, _)| n).collect()
    };
    assert_eq!(numbers(shown(false)), [5, 15]);
    assert_eq!(numbers(shown(true)), (0..20).collect::<Vec<_>>());
    assert_eq!(
        shown(false)[5],
        "
     time    held    answered  lost unsent twice reset closed refused     new      gap  slowest
    6.0 s   10/10   1820/2000    10    170     -    10      -      68 182/200   1.80 s  4.00 ms  10 reconnected within \
         1.85 s\n"
    );
}

#[test]
fn a_gate_alone_decides_where_there_is_one() {
    let code = |gates: &[&str], record: &WatchRecord, is_cut| code(&plan(gates), record, is_cut);
    assert_eq!((code(&[], &clean(), false), code(&[], &record(), false)), (0, 3));
    assert_eq!((code(&["gap>2s"], &record(), false), code(&["gap>1s"], &record(), false)), (0, 3));
    assert_eq!((code(&[], &clean(), true), code(&["gap>1s"], &record(), true)), (130, 130));
    let mut own = clean();
    own.total.new.own_failures = 1;
    assert_eq!(code(&[], &own, false), 4);
}

/// Set in the environment, it makes the test write the file instead of comparing it.
const REWRITE: &str = "RESOUND_WRITE_SCHEMA";

/// No object has other fields, and JSON Schema does not define the integer formats of Rust.
fn tighten(schema: &mut Value) {
    if let Value::Array(values) = schema {
        values.iter_mut().for_each(tighten);
    }
    let Value::Object(object) = schema else { return };
    object.remove("format");
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    // The parts of a line are beside its event.
    if object.contains_key("properties") && !object.contains_key("$ref") {
        object.insert("additionalProperties".into(), false.into());
    }
    object.values_mut().for_each(tighten);
}

#[test]
fn the_schema_of_a_watch_is_that_of_the_types() {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<WatchLine>());
    tighten(&mut schema);
    // An event is a field of the object that it names.
    for line in ["SecondLine", "EndLine"] {
        schema["$defs"][line].as_object_mut().unwrap().remove("additionalProperties");
    }
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/watch.schema.json");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let saved = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert!(saved == text, "{} is out of date: set {REWRITE}=1 to write it", path.display());
    let schema = jsonschema::validator_for(&schema).unwrap();
    let second = WatchSecond { from: ms(0), to: ms(1000), counts: counts(), open: 10 };
    let second = document::second(&second);
    let end = document::end(&plan(&["gap>2s"]), &record(), FarKind::Probe, Some("resound"), 0);
    for line in [second, end] {
        let mut value: Value = serde_json::from_slice(&json::object(&line)).unwrap();
        let errors: Vec<_> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{value}");
        value["counts"]["heartbeats"]["lots"] = 1.into();
        assert!(!schema.is_valid(&value));
    }
}
