//! Rules at random, as text.

use proptest::prelude::*;
use proptest::sample::select;

use resound_faults::FaultKind;

/// A value for a fault's word; some words take none, and others a value of another form.
fn values() -> impl Strategy<Value = String> {
    let unit = || select(vec!["B", "k", "KiB", "kB", "MB", ""]);
    let time = || select(vec!["us", "ms", "s", "m", "h", ""]);
    prop_oneof![
        Just(String::new()),
        (1..5000_u32, time()).prop_map(|(n, unit)| format!("={n}{unit}")),
        (1..50_u32, 0..99_u32).prop_map(|(n, part)| format!("={n}.{part:02}s")),
        (1..32_u32, unit()).prop_map(|(n, unit)| format!("={n}{unit}")),
        (1..5000_u32, unit()).prop_map(|(n, unit)| format!("={n}{unit}/s")),
        (1..5000_u32, 1..5000_u32, time()).prop_map(|(n, time, unit)| format!("={n}B/{time}{unit}")),
        (1..9_u32, 0..9_u32).prop_map(|(from, more)| format!("={from}..{}", from + more)),
        (1..99_u32).prop_map(|n| format!("={n}")),
        (10..99_u32, 1..9_u32, select(vec!["", "~uniform", "~normal", "~pareto"]))
            .prop_map(|(middle, by, shape)| format!("={middle}ms+-{by}ms{shape}")),
    ]
}

fn connections() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => Just("*:".into()),
        1 => (1..99_u32).prop_map(|n| format!("{n}: ")),
        1 => (1..99_u32).prop_map(|n| format!("{n}- :")),
        1 => (1..99_u32, 0..9_u32).prop_map(|(n, more)| format!("{n}-{}:", n + more)),
        1 => (1..130_u32).prop_map(|n| format!("every {n}th : ")),
        1 => (0..255_u8, 8..=32_u8).prop_map(|(n, prefix)| format!("from={n}.0.0.0/{prefix}:")),
        1 => (0..=u16::MAX, 16..=128_u8).prop_map(|(n, prefix)| format!("from=[{n:x}::]/{prefix}: ")),
    ]
}

fn moments() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => Just(" @connect".into()),
        1 => (0..99_999_u32, select(vec!["B", "KiB", "kB", "MB", "GiB"])).prop_map(|(n, unit)| format!(" @{n}{unit}")),
        1 => (1..99_u32).prop_map(|n| format!("@message={n}")),
        1 => (1..5000_u32, select(vec!["us", "ms", "s", "m", "h"])).prop_map(|(n, unit)| format!("  @{n}{unit}")),
        1 => (1..5000_u32, select(vec!["ms", "s", ""])).prop_map(|(n, unit)| format!(" @idle={n}{unit}")),
    ]
}

/// One rule; not each is a rule of the grammar.
pub(crate) fn rule() -> impl Strategy<Value = String> {
    let direction = select(vec!["", "", "up:", "down: "]);
    let kind = select(FaultKind::all().map(FaultKind::word).collect::<Vec<_>>());
    let chance = prop_oneof![
        2 => Just(String::new()),
        1 => (1..=100_u32).prop_map(|n| format!(" {n}%")),
        1 => (0..100_u32, 1..9999_u32).prop_map(|(n, part)| format!(" {n}.{part:04}%")),
    ];
    (connections(), direction, kind, values(), moments(), chance).prop_map(
        |(which, direction, kind, value, when, chance)| format!("{which}{direction}{kind}{value}{when}{chance}"),
    )
}
