//! What is promised of `/metrics`: the table in docs/admin.md, and the dashboard for Grafana.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{admin_of, get, started};
use crate::child::Program;

/// The families of metrics that a server or a relay has: with the names of their samples.
fn families() -> BTreeSet<String> {
    let (_server, target, of_server) = started(&[]);
    let args = ["relay", "127.0.0.1:0", &target.to_string(), "--admin", "0"];
    let mut relay = Program::spawn(Program::command(&args));
    let of_relay = admin_of(&relay.stdout.until("Admin on "));
    let pages = [of_server, of_relay].map(|admin| get(admin, "/metrics").body);
    let names = |page: &String| {
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let sample = |(name, kind): (&str, &str)| if kind == "counter" { format!("{name}_total") } else { name.into() };
        types.map(sample).collect::<Vec<_>>()
    };
    pages.iter().flat_map(names).collect()
}

fn file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("resound_") || word.starts_with("process_")).map(String::from).collect()
}

#[test]
fn the_guide_and_the_dashboard_name_the_metrics_that_there_are() {
    let there = families();
    assert!(there.len() > 15, "{there:?}");
    let guide = file("docs/admin.md");
    let table: String =
        guide.lines().filter(|line| line.starts_with("| `resound_") || line.starts_with("| `process_")).collect();
    assert_eq!(named(&table), there);
    let dashboard: Value = serde_json::from_str(&file("packaging/grafana/resound.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 15, "{queries:?}");
    let used: BTreeSet<String> =
        named(&queries.join(" ")).into_iter().map(|name| name.trim_end_matches("_bucket").to_string()).collect();
    let unknown: Vec<_> = used.difference(&there).collect();
    assert!(unknown.is_empty(), "there are no {unknown:?}");
    let unused: Vec<_> = there.difference(&used).filter(|name| *name != "resound_build_info").collect();
    assert!(unused.is_empty(), "no panel shows {unused:?}");
}
