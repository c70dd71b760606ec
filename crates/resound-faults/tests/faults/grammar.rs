//! What the grammar takes, and how it prints.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use resound_faults::{
    Connections, DelayShape, EffectValue, FaultFile, FaultKind, FaultSpec, SpecError, StreamDirection, Trigger,
};

use crate::bench::{millis, spec};
use crate::rules::rule;

#[test]
fn the_parts_of_a_rule_are_read() {
    let found = spec("  every 5th :down : delay = x ".replace(" = x", "=20ms+-5ms~normal@64KiB 12.5%").as_str());
    let rule = found.rules()[0];
    assert_eq!((rule.which, rule.direction), (Connections::Every(5), Some(StreamDirection::Down)));
    let value = EffectValue::Varied { middle: millis(20), by: millis(5), shape: DelayShape::Normal };
    assert_eq!((rule.effect.kind, rule.effect.value), (FaultKind::Delay, value));
    assert_eq!((rule.when, rule.chance.unwrap().millionths()), (Some(Trigger::Offset(65_536)), 125_000));
}

#[test]
fn text_prints_in_one_form() {
    for (text, want) in [
        ("", ""),
        ("*: reset", "reset"),
        ("1-2: reset @0B", "1-2: reset @0B"),
        ("3-3:reset", "3: reset"),
        ("every 2nd:up:rate=1024KiB/s", "every 2nd: up: rate=1MiB/s"),
        ("every 11th: reset;every 21th: reset", "every 11th: reset; every 21st: reset"),
        ("delay=20ms+-5ms~uniform", "delay=20ms+-5ms"),
        ("drip=10/0.1", "drip=10B/100ms"),
        ("slice=3..3; slice=1..7", "slice=3; slice=1..7"),
        ("duplicate @1MB", "duplicate=1KiB @1MiB"),
        ("from=192.0.2.7: reset", "from=192.0.2.7/32: reset"),
        ("from=[2001:DB8::]/32: up: reset", "from=[2001:db8::]/32: up: reset"),
        ("connect-rate=5; cap=10", "connect-rate=5/s; cap=10"),
        ("reset@1m; reset @60s", "reset @1m; reset @1m"),
        ("stall=1h30m", "stall=90m"),
    ] {
        assert_eq!(spec(text).to_string(), want, "{text}");
    }
    assert!(spec(" ").is_empty() && spec("reset").rules().len() == 1);
}

#[test]
fn each_fault_parses_and_prints() {
    for kind in FaultKind::all() {
        let values = ["", "=1s", "=10B/1s", "=1KiB/s", "=3", "=5/s"].map(|value| format!("{}{value}", kind.word()));
        let parsed: Vec<FaultSpec> = values.iter().filter_map(|text| text.parse().ok()).collect();
        assert!(!parsed.is_empty(), "{}", kind.word());
        for spec in parsed {
            assert_eq!((spec.rules()[0].effect.kind, spec.to_string().parse()), (kind, Ok(spec.clone())));
        }
    }
}

/// What is printed parses to the same, and prints the same again.
#[test]
fn random_specifications_print_and_parse_to_themselves() {
    let mut runner = TestRunner::deterministic();
    let mut valid = 0;
    let strategy = proptest::collection::vec(rule(), 1..5);
    for _ in 0..4_000 {
        let rules = strategy.new_tree(&mut runner).unwrap().current();
        // Alone, so that one that is not valid does not hide the others.
        let good: Vec<_> = rules.into_iter().filter(|text| text.parse::<FaultSpec>().is_ok()).collect();
        let found = spec(&good.join(";"));
        let printed = found.to_string();
        assert_eq!(printed.parse(), Ok(found), "{printed}");
        assert_eq!(spec(&printed).to_string(), printed);
        valid += good.len();
    }
    assert!(valid > 1000, "{valid} valid rules");
}

/// An error's place is within its text, and its text can be shown.
fn is_well_placed(error: &SpecError) {
    assert!(error.text().get(error.range()).is_some(), "{error:?}");
    let text = error.to_string();
    assert!(text.lines().count() == 3 && text.contains('^'), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_specification_or_has_a_mistake_in_it(
        text in "([a-z=@%:;0-9 .+~*\\[\\]/-]|reset|delay=|from=|every |message|ms|KiB|ä|\\PC|\\n){0,40}"
    ) {
        match text.parse::<FaultSpec>() {
            Ok(spec) => prop_assert_eq!(spec.to_string().parse(), Ok(spec)),
            Err(error) => is_well_placed(&error),
        }
    }

    #[test]
    fn any_text_is_a_file_or_has_a_mistake_in_it(
        text in "(\\[\\[fault\\]\\]\n|fault = |spec = |when = |seed = |'|\"|reset|@2s|1-2|[a-z0-9=;@% \n]|\\PC){0,30}"
    ) {
        if let Err(error) = FaultFile::parse(&text) {
            prop_assert!(error.line().is_some_and(|line| line >= 1));
            is_well_placed(&error);
        }
    }
}
