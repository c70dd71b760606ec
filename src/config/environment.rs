//! Values of flags in the environment: `RESOUND_SERVER_DRAIN_TIMEOUT` is `--drain-timeout` of
//! `resound server`.

use std::ffi::{OsStr, OsString};

use resound_console::escape;

use super::file;
use super::key::{ConfigKey, Given, KeyForm, Keys, nearest};
use super::layer::{Entry, Origin};
use super::mistake::ConfigMistake;

const PREFIX: &str = "RESOUND_";

/// What the project's own tests and scripts read, which an inherited environment may hold.
pub(super) const OF_TESTS: [&str; 14] = [
    "RESOUND_ENGINE",
    "RESOUND_FAULTS",
    "RESOUND_LAB_BYTES",
    "RESOUND_REQUIRE_ALL",
    "RESOUND_REQUIRE_URING",
    "RESOUND_ROUNDS",
    "RESOUND_SOAK",
    "RESOUND_TEST_ENGINE",
    "RESOUND_TRUTH",
    "RESOUND_TRUTH_SEED",
    "RESOUND_WRITE_API",
    "RESOUND_WRITE_SCHEMA",
    "RESOUND_WRITE_TABLES",
    "RESOUND_WRITE_TOP",
];

/// What the environment says of a command.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) entries: Vec<Entry>,
    /// Variables that nothing reads.
    pub(super) warnings: Vec<String>,
    pub(super) mistakes: Vec<ConfigMistake>,
}

/// Is there any variable of this program?
pub(super) fn is_used(variables: &[(OsString, OsString)]) -> bool {
    variables.iter().any(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

/// The variable of a key.
pub(super) fn variable(command: &str, key: &str) -> String {
    format!("{PREFIX}{command}_{key}").to_uppercase().replace('-', "_")
}

/// What these variables say of a command. Variables of other commands are ignored.
pub(super) fn read(
    keys: &Keys,
    commands: &[Keys],
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Environment {
    let mut found = Environment::default();
    let mut variables: Vec<_> = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    variables.sort();
    for (name, value) in variables {
        if !name.starts_with(PREFIX) || value.is_empty() || is_foreign(&name, &value) {
            continue;
        }
        if let Some(key) = name.strip_prefix(&variable(keys.name(), "")) {
            found.variable(keys, &name, key, value);
        } else if !commands.iter().any(|other| name.starts_with(&variable(other.name(), ""))) {
            let warning = unread(keys, commands, &name);
            found.warnings.push(warning);
        }
    }
    found
}

impl Environment {
    fn variable(&mut self, keys: &Keys, name: &str, key: &str, value: OsString) {
        let wrong = |sentence| ConfigMistake::new(escape::text(name.as_bytes()), sentence);
        let Some(at) = keys.named(&key.to_lowercase().replace('_', "-")) else {
            self.mistakes.push(wrong(match keys.nearest(key) {
                Some(near) => format!("there is no such variable: perhaps {} was meant", variable(keys.name(), near)),
                None => format!("`resound {}` has no such flag; --help lists the flags", keys.name()),
            }));
            return;
        };
        let given = match given(&keys.all[at], value) {
            Ok(given) => given,
            Err(sentence) => return self.mistakes.push(wrong(sentence)),
        };
        let mistakes = keys.check(at, &given);
        if !mistakes.is_empty() {
            return self.mistakes.extend(mistakes.into_iter().map(|(_, sentence)| wrong(sentence)));
        }
        match given {
            _ if self.entries.iter().any(|entry| entry.key == at) => {
                self.mistakes.push(wrong("the flag has two names, and a variable is set for each".into()));
            }
            given => self.entries.push(Entry { key: at, given, origin: Origin::Environment(name.into()) }),
        }
    }
}

/// What a variable says of a key.
fn given(key: &ConfigKey, value: OsString) -> Result<Given, String> {
    let text = value.to_str();
    let switch = text.and_then(is_true).map(|is_on| if is_on { Given::On } else { Given::Off });
    match (key.form, switch) {
        (KeyForm::Switch | KeyForm::Maybe, Some(given)) => Ok(given),
        (KeyForm::Switch, None) => {
            Err(format!("'{}' is neither true nor false", escape::text(value.to_string_lossy().as_bytes())))
        }
        (KeyForm::Count, _) => match text.and_then(|text| text.parse().ok()) {
            Some(times) => Ok(Given::Times(times)),
            None => Err("it is a number from 0 to 255".into()),
        },
        (KeyForm::One | KeyForm::Maybe, _) => Ok(Given::Values(vec![value])),
        (KeyForm::Many, _) => {
            let Some(text) = text else { return Err("a list is UTF-8".into()) };
            if text.trim_start().starts_with("[\"") && !text.trim_end().ends_with(']') {
                return Err("the list has no `]` at its end".into());
            }
            let split = || text.split(',').map(str::trim).filter(|value| !value.is_empty()).map(String::from).collect();
            let values: Vec<String> = file::list(&key.name, text).unwrap_or_else(|| Ok(split()))?;
            if values.is_empty() && !text.trim_start().starts_with('[') {
                return Err("the list has no value: `[]` is an empty list, and an empty variable is none".into());
            }
            Ok(Given::Values(values.into_iter().map(Into::into).collect()))
        }
    }
}

/// A switch, as variables have it.
pub(super) fn is_true(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Does another program set this variable? Container platforms set those of a service that has this
/// program's name, such as `RESOUND_SERVER_PORT=tcp://10.0.0.7:8888` (Kubernetes, docker links).
fn is_foreign(name: &str, value: &OsStr) -> bool {
    let is_link =
        ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.as_encoded_bytes().starts_with(scheme.as_bytes()));
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let is_number = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        is_number && parts.next().is_some_and(|part| ["TCP", "UDP", "SCTP"].contains(&part))
    };
    OF_TESTS.contains(&name)
        || is_link && name.contains("_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

/// The warning about a variable that no command reads.
fn unread(keys: &Keys, commands: &[Keys], name: &str) -> String {
    let word = &name[PREFIX.len()..];
    let shown = escape::text(name.as_bytes());
    let own = keys.named(&word.to_lowercase().replace('_', "-")).map(|at| keys.all[at].name.as_str());
    if let Some(near) = own.or_else(|| keys.nearest(word)) {
        return format!("{shown} is not read: {} is the name", variable(keys.name(), near));
    }
    let begin = word.split('_').next().unwrap_or_default().to_lowercase();
    match nearest(&begin, commands.iter().map(Keys::name)) {
        Some(near) => {
            format!("{shown} is not read: variables begin with a command, perhaps {} was meant", variable(near, ""))
        }
        None => format!("{shown} is not read: variables are named like {}", variable(keys.name(), "drain-timeout")),
    }
}
