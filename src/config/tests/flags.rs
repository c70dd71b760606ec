//! Each flag of clap, by each source.

use std::collections::BTreeSet;

use super::super::key::{Given, KeyForm, Keys};
use super::super::{environment, print};
use super::{root, said, shown, with_file};
use crate::args::CONFIGURATION;
use crate::reload::RELOADABLE;

/// One of these is a value of any flag.
const SAMPLES: &[&str] = &[
    "7s",
    "7",
    "7.5",
    "10.0.0.0/8",
    "5/s",
    "0660",
    "1: reset",
    "v2",
    "127.0.0.1:7",
    "127.0.0.1",
    "messages",
    "1000..2000+10",
    "p99>5ms",
    "gap>2s",
    "1300",
    "3ffdb0ef5a12bb8d1a8e2b2bd3f6d8a5e4fb92e3c1d2a4b5c6d7e8f901234567",
];

/// What a source could say of a key, unlike its default.
fn sample(keys: &Keys, at: usize) -> Given {
    let arg = keys.arg(at);
    match keys.all[at].form {
        KeyForm::Switch => return Given::On,
        KeyForm::Count => return Given::Times(2),
        _ => {}
    }
    let possible = arg.get_possible_values();
    let names = possible.iter().rev().map(|value| value.get_name());
    let is_default = |value: &str| arg.get_default_values().iter().any(|default| *default == *value);
    let fits = |value: &&str| !is_default(value) && keys.check(at, &Given::Values(vec![value.into()])).is_empty();
    let found = names.chain(SAMPLES.iter().copied()).find(fits);
    let value = found.unwrap_or_else(|| panic!("no sample is a value of {}: {:?}", keys.all[at].name, arg));
    let values = if keys.all[at].form == KeyForm::Many { vec![value.into(), value.into()] } else { vec![value.into()] };
    Given::Values(values)
}

/// A key and those that it needs.
fn together(keys: &Keys, at: usize) -> Vec<(usize, Given)> {
    let mut all = vec![(at, sample(keys, at))];
    let needs: BTreeSet<String> = keys.needs(at, &all[0].1).into_iter().collect();
    all.extend(needs.iter().map(|name| keys.named(name).expect(name)).map(|key| (key, sample(keys, key))));
    all
}

fn literal(text: &str) -> String {
    format!("\"{text}\"")
}

fn in_file(keys: &Keys, all: &[(usize, Given)]) -> String {
    let line = |(at, given): &(usize, Given)| {
        let key = &keys.all[*at];
        let value = match given {
            Given::Off => "false".into(),
            Given::On => "true".into(),
            Given::Times(times) => times.to_string(),
            Given::Values(values) => {
                let texts: Vec<_> = values.iter().map(|value| literal(value.to_str().unwrap())).collect();
                if key.form == KeyForm::Many { format!("[{}]", texts.join(", ")) } else { texts.concat() }
            }
        };
        format!("{} = {value}\n", key.name)
    };
    format!("[{}]\n{}", keys.name(), all.iter().map(line).collect::<String>())
}

fn in_environment(keys: &Keys, all: &[(usize, Given)]) -> Vec<(String, String)> {
    let pair = |(at, given): &(usize, Given)| {
        let value = match given {
            Given::Off => "false".into(),
            Given::On => "true".into(),
            Given::Times(times) => times.to_string(),
            Given::Values(values) => values.iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(","),
        };
        (environment::variable(keys.name(), &keys.all[*at].name), value)
    };
    all.iter().map(pair).collect()
}

/// The lines that say something, without their comments.
fn lines(printed: &str) -> Vec<String> {
    let said = printed.lines().filter(|line| !line.starts_with('#'));
    said.map(|line| line.rsplit_once(" # ").map_or(line, |(line, _)| line).trim_end().to_string()).collect()
}

#[test]
fn each_flag_is_set_by_each_source_and_printed_so_that_it_means_the_same() {
    let mut count = 0;
    for keys in Keys::of_all() {
        for at in 0..keys.all.len() {
            if keys.all[at].name == "config" {
                continue;
            }
            count += 1;
            let all = together(keys, at);
            let (text, variables) = (in_file(keys, &all), in_environment(keys, &all));
            let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let by_file = with_file(keys.name(), &text, &[], &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
            let by_variable = said(&[keys.name()], &variables).unwrap_or_else(|error| panic!("{variables:?}: {error}"));
            let held = shown(&by_file);
            assert!(held.iter().any(|line| line.split('=').next() == Some(&keys.all[at].name)), "{text}{held:?}");
            assert_eq!(held.len(), all.len(), "{text}{held:?}");
            assert_eq!(held, shown(&by_variable), "{text}{variables:?}");

            let printed = print::file(keys, &by_file).unwrap();
            let again = with_file(keys.name(), &printed, &[], &[]).unwrap_or_else(|error| panic!("{printed}: {error}"));
            assert_eq!(held, shown(&again), "{printed}");
            assert_eq!(lines(&printed), lines(&print::file(keys, &again).unwrap()));
            let comment = printed.lines().find(|line| line.starts_with(&format!("{} = ", keys.all[at].name))).unwrap();
            assert!(comment.contains("resound.toml, line "), "{comment}");
        }
    }
    assert!(count >= 200, "{count} flags");
}

#[test]
fn each_flag_that_is_shown_is_a_key_but_those_about_the_configuration() {
    for keys in Keys::of_all() {
        for arg in keys.command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let is_key = arg.get_help_heading() != Some(CONFIGURATION) || long == "config";
            assert_eq!(keys.named(long).is_some(), is_key, "{} --{long}", keys.name());
        }
    }
    let names: Vec<_> = Keys::of_all().iter().map(|keys| keys.name().to_string()).collect();
    assert_eq!(names, ["server", "client", "test", "relay", "lab", "load"]);
}

#[test]
fn each_flag_overrides_those_that_it_does_not_go_with() {
    let mut count = 0;
    for keys in Keys::of_all() {
        for at in 0..keys.all.len() {
            for other in (0..keys.all.len()).filter(|other| keys.conflict(at, *other)) {
                let lower = together(keys, other);
                let higher = together(keys, at);
                // What one needs may exclude the other in turn.
                if lower.iter().any(|(key, _)| higher.iter().any(|(wanted, _)| key == wanted)) {
                    continue;
                }
                let (text, variables) = (in_file(keys, &lower), in_environment(keys, &higher));
                let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let config = with_file(keys.name(), &text, &[], &variables);
                let held = shown(&config.unwrap_or_else(|error| panic!("{text}{variables:?}: {error}")));
                let has = |key: usize| held.iter().any(|line| line.split('=').next() == Some(&keys.all[key].name));
                assert!(has(at) && !has(other), "{text}{variables:?}: {held:?}");
                count += 1;
            }
        }
    }
    assert!(count >= 40, "{count} pairs");
}

#[test]
fn what_a_reload_changes_are_flags_of_a_server_or_a_relay() {
    let all = Keys::of_all();
    let is_known = |name: &str| {
        all.iter().filter(|keys| ["server", "relay"].contains(&keys.name())).any(|keys| keys.named(name).is_some())
    };
    for (name, _) in RELOADABLE {
        assert!(is_known(name), "{name}");
    }
}

#[test]
fn the_example_in_the_guide_and_the_commands_of_a_printed_file_hold() {
    let guide = std::fs::read_to_string(root().join("docs/config.md")).unwrap();
    let examples: Vec<_> = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        for command in ["server", "relay", "client"].iter().filter(|name| example.contains(&format!("[{name}]"))) {
            with_file(command, example, &[], &[]).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}
