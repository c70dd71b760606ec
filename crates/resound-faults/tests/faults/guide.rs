//! The guide in docs/faults.md promises what the crate does.

use std::fs;
use std::path::Path;

use resound_faults::{FaultFile, FaultKind, FaultProfile, FaultSpec, PROFILES, Role};

use crate::bench::{Bench, Up};

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md")).unwrap()
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn its_examples_are_rules() {
    let guide = guide();
    let examples: Vec<_> = guide.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" # ")).collect();
    assert!(examples.len() >= 8, "{examples:?}");
    for (example, _) in examples {
        let spec: FaultSpec = example.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(spec.to_string(), example.trim());
        assert_eq!(spec.check_for(Role::Relay), Ok(()));
    }
    let file = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(FaultFile::parse(file).unwrap().spec.rules().len(), 3);
}

#[test]
fn its_tables_have_each_fault() {
    let guide = guide();
    let mut explained = Vec::new();
    let tables = guide.split("\n## Bytes\n").nth(1).unwrap().split("\n## Faults of a server\n").next().unwrap();
    for row in tables.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cell = format!("`{}", row.split(" | ").next().unwrap());
        for text in quoted(&cell) {
            let spec: FaultSpec = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let kind = spec.rules()[0].effect.kind;
            assert_eq!(cell.contains("TCP's promise") || cell.contains("(breaks it)"), kind.breaks_promise(), "{text}");
            explained.push(kind);
        }
    }
    let section = guide.split("\n## Faults of a server\n").nth(1).unwrap();
    let (of_servers, of_relays) = section.split("\n## ").next().unwrap().split_once("Only a relay has").unwrap();
    for (text, role, other) in [(of_servers, Role::Server, Role::Relay), (of_relays, Role::Relay, Role::Server)] {
        let named: Vec<_> = quoted(text).filter_map(|text| text.parse::<FaultSpec>().ok()).collect();
        let kinds: Vec<_> = named.iter().map(|spec| spec.rules()[0].effect.kind).collect();
        let words = |kind: &FaultKind| text.contains(&format!("`{}`", kind.word())) || kinds.contains(kind);
        let only: Vec<_> = FaultKind::all().filter(|kind| !kind.works_for(other)).collect();
        assert!(only.iter().all(words), "{role:?} alone");
        if role == Role::Server {
            explained.extend(only);
        }
    }
    let missing: Vec<_> = FaultKind::all().filter(|kind| !explained.contains(kind)).map(FaultKind::word).collect();
    assert!(missing.is_empty(), "docs/faults.md does not explain {missing:?}");
}

#[test]
fn its_mistake_and_its_event_are_as_shown() {
    let guide = guide();
    let error = "up: dely=20ms".parse::<FaultSpec>().unwrap_err().to_string();
    let shown: String = error.lines().map(|line| format!("      {line}\n")).collect();
    assert!(guide.contains(&shown), "{shown}");
    let mut bench = Bench::new("up: reset @2B");
    bench.at(1500);
    bench.send(Up, b"abc");
    let line = serde_json::to_string(&bench.events[0]).unwrap();
    assert!(guide.contains(&format!("    {line}\n")), "{line}");
}

#[test]
fn its_boxes_are_the_profiles() {
    let guide = guide();
    for profile in PROFILES {
        let FaultProfile { name, faults, what, source, .. } = profile;
        assert!(guide.contains(&format!("| `{name}` | {what} | `{faults}` | [source]({source}) |")), "{name}");
    }
    assert_eq!(guide.matches("[source](").count(), PROFILES.len());
}
