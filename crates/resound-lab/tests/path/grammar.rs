//! What the grammar takes, and how it prints.

use proptest::prelude::*;
use resound_lab::{DefectKind, Defects, SpecError};

fn defects(text: &str) -> Defects {
    text.parse().unwrap_or_else(|error| panic!("{text}:\n{error}"))
}

#[test]
fn text_prints_in_one_form() {
    for (text, want) in [
        ("", ""),
        ("up: loss=1%; down: mtu=1400", "up: loss=1%; down: mtu=1400"),
        ("1-2:up:loss=0.5% burst=3 port=443 @64KiB 50%", "1-2: up: loss=0.5% burst=3 port=443 @64KiB 50%"),
        ("loss=1%/20%/100%/0%", "loss=1%/20%/100%/0%"),
        ("delay=30ms+-5ms~uniform;jitter=0.001", "delay=30ms+-5ms; jitter=1ms"),
        ("rate=8Mbit/s; rate=1024KiB/s queue=262144", "rate=1000000B/s; rate=1MiB/s"),
        ("rate=1MiB/s queue=64k", "rate=1MiB/s queue=64KiB"),
        ("mtu=1400 port=80 silent", "mtu=1400 silent port=80"),
        ("reorder=1% by=1; reorder=2% by=4 burst=2", "reorder=1%; reorder=2% by=4 burst=2"),
        ("strip=ecn+sack", "strip=sack+ecn"),
        ("nat ports=kept half-closed-idle=60 idle-silent=350s", "nat idle-silent=350s half-closed-idle=1m"),
        ("nat ports=changed idle-reset=4m", "nat ports=changed idle-reset=4m"),
        ("cap=10 reset; rst-inject to=both; rst-inject to=near", "cap=10 reset; rst-inject; rst-inject to=near"),
        ("mtu=1300 odds=10% burst=4", "mtu=1300 odds=10% burst=4"),
        ("loss=1% length=..99 port=1..1023 flags=ack+!syn+rst", "loss=1% port=1..1023 length=0..99 flags=rst+ack+!syn"),
        ("loss=1% length=1000.. protocol=udp", "loss=1% length=1000.. protocol=udp"),
        ("blackhole@packet=3 5%", "blackhole @packet=3 5%"),
        ("from=10.77.0.0/16: dscp-bleach odds=1%", "from=10.77.0.0/16: dscp-bleach odds=1%"),
    ] {
        assert_eq!(defects(text).to_string(), want, "{text}");
        assert_eq!(defects(want), defects(text), "{text}");
    }
}

#[test]
fn each_defect_parses_as_its_example_and_prints() {
    for kind in DefectKind::all() {
        let example = kind.example();
        let found = defects(&example);
        assert_eq!(found.kinds().collect::<Vec<_>>(), [kind], "{example}");
        assert_eq!(defects(&found.to_string()), found);
        assert!(!kind.sentence().is_empty() && !kind.sentence().ends_with('.'), "{example}");
    }
    assert_eq!(serde_json::to_string(&DefectKind::MssClamp).unwrap(), "\"mss-clamp\"");
}

#[test]
fn a_file_has_rules_on_lines() {
    let file = "# a bad link\nup: loss=1%; down: loss=2%   # both\n\nnat\n";
    assert_eq!(Defects::from_file(file).unwrap(), defects("up: loss=1%; down: loss=2%; nat"));
    let error = Defects::from_file("loss=1%\nup: los=2%").unwrap_err();
    assert_eq!((error.line(), error.meant(), error.text()), (Some(2), Some("loss"), "up: los=2%"));
}

#[test]
fn defects_are_pushed_behind_others() {
    let mut all = defects("loss=1%");
    all.push("mtu=1400").unwrap();
    assert_eq!(all, defects("loss=1%; mtu=1400"));
    assert!(all.push("dup=1%").is_err() && all.push("loss=1%;".repeat(256).trim_end_matches(';')).is_err());
    assert_eq!(all, defects("loss=1%; mtu=1400"));
}

/// An error's place is within its text, and its text can be shown.
fn is_well_placed(error: &SpecError) {
    assert!(error.text().get(error.range()).is_some(), "{error:?}");
    let text = error.to_string();
    assert!(text.lines().count() == 3 && text.contains('^'), "{text}");
}

/// A rule from words that fit often.
fn rule() -> impl Strategy<Value = String> {
    let which = prop_oneof![Just(""), Just("1-2: "), Just("every 3rd: "), Just("from=[fd77::]/64: ")];
    let direction = prop_oneof![Just(""), Just("up: "), Just("down: ")];
    let kinds: Vec<String> = DefectKind::all().map(DefectKind::example).collect();
    let value = proptest::sample::select(kinds);
    let word = proptest::sample::select(vec![
        "burst=5",
        "odds=3%",
        "odds=1%/2%/3%/4%",
        "by=3",
        "queue=1MiB",
        "silent",
        "reset",
        "to=near",
        "ports=changed",
        "idle-silent=5s",
        "idle-reset=1m",
        "half-closed-idle=2s",
        "port=80",
        "port=1..9",
        "length=100..",
        "length=..9",
        "flags=syn+!ack",
        "protocol=icmp",
        "@64KiB",
        "@packet=3",
        "@2s",
        "@idle=3s",
        "@connect",
        "12.5%",
    ]);
    let words = proptest::collection::vec(word, 0..4);
    (which, direction, value, words)
        .prop_map(|(which, direction, value, words)| format!("{which}{direction}{value} {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn what_is_printed_parses_to_the_same(rules in proptest::collection::vec(rule(), 1..4)) {
        let good: Vec<_> = rules.into_iter().filter(|rule| rule.parse::<Defects>().is_ok()).collect();
        if let Ok(found) = good.join(";").parse::<Defects>() {
            let printed = found.to_string();
            prop_assert_eq!(printed.parse(), Ok(found), "{}", printed);
            prop_assert_eq!(defects(&printed).to_string(), printed);
        }
    }

    #[test]
    fn any_text_is_defects_or_has_a_mistake_in_it(
        text in "([a-z=@%:;0-9 .+~*!/-]|loss=|mtu=|nat |rate=|strip=|delay=|burst=|port=|flags=|@packet=|ä|\\PC){0,30}"
    ) {
        match text.parse::<Defects>() {
            Ok(found) => prop_assert_eq!(found.to_string().parse(), Ok(found)),
            Err(error) => is_well_placed(&error),
        }
        if let Err(error) = Defects::from_file(&text) {
            is_well_placed(&error);
        }
    }
}

#[test]
fn most_random_rules_are_valid_somewhere() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let valid =
        (0..2000).filter(|_| rule().new_tree(&mut runner).unwrap().current().parse::<Defects>().is_ok()).count();
    assert!(valid > 300, "{valid}");
}
