//! [`Merged`]: one command line from all sources.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::environment::is_true;
use super::key::{ConfigKey, Given, KeyForm, KeyPlace, Keys, has_port, is_port};
use super::layer::{Entry, Origin};

/// What a user has typed after the command's name.
pub(super) struct TypedWords {
    /// As clap takes them: without the switches that were taken back.
    pub(super) words: Vec<OsString>,
    /// The keys that are on, each with what is said of it; and those that were taken back.
    pub(super) entries: Vec<Entry>,
}

/// All sources as one command line, and what became of each entry.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) words: Vec<OsString>,
    /// Of the environment and the file.
    pub(super) kept: Vec<Entry>,
    /// Entries that something else keeps out, and what.
    pub(super) left_out: Vec<(Entry, String)>,
}

/// Takes `--tls=false` and `--tls=true` out of the words: clap's switches have no values.
pub(super) fn take_switches(keys: &Keys, words: &[OsString]) -> TypedWords {
    let mut typed = TypedWords { words: Vec::new(), entries: Vec::new() };
    let mut is_flag_allowed = true;
    for word in words {
        is_flag_allowed &= word != "--";
        let switch = word.to_str().filter(|_| is_flag_allowed).and_then(|text| {
            let (name, value) = text.strip_prefix("--")?.split_once('=')?;
            let key = keys.named(name).filter(|&key| keys.all[key].form == KeyForm::Switch)?;
            Some((key, name, is_true(value)?))
        });
        match switch {
            Some((_, name, true)) => typed.words.push(format!("--{name}").into()),
            Some((key, _, false)) => typed.entries.push(off(key)),
            None => typed.words.push(word.clone()),
        }
    }
    typed
}

pub(super) fn off(key: usize) -> Entry {
    Entry { key, given: Given::Off, origin: Origin::CommandLine }
}

/// What the matches of a command line hold that was typed, or that a source has set.
pub(super) fn entries(keys: &Keys, matches: &ArgMatches) -> Vec<Entry> {
    let mut entries = Vec::new();
    let raw = |id: &str| -> Vec<OsString> { matches.get_raw(id).into_iter().flatten().map(Into::into).collect() };
    for (at, key) in keys.all.iter().enumerate() {
        if key.place == KeyPlace::Word || matches.value_source(&key.id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let given = match key.form {
            KeyForm::Switch => Given::On,
            KeyForm::Count => Given::Times(matches.get_count(&key.id)),
            _ => Given::Values(raw(&key.id)),
        };
        entries.push(Entry { key: at, given, origin: Origin::CommandLine });
    }
    let mut ids: Vec<&str> = keys.words().iter().map(|&key| keys.all[key].id.as_str()).collect();
    ids.dedup();
    let words: Vec<OsString> = ids
        .into_iter()
        .filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
        .flat_map(raw)
        // An action of the command, not an address.
        .filter(|word| !is_action(keys, word))
        .collect();
    entries.extend(assigned(keys, &words));
    entries
}

/// Is a word the action of a command, such as `test` in `resound client test`?
fn is_action(keys: &Keys, word: &OsString) -> bool {
    let is_value = |value: &clap::builder::PossibleValue| word.to_str().is_some_and(|word| value.matches(word, false));
    keys.command.get_positionals().any(|arg| arg.get_possible_values().iter().any(is_value))
}

/// Which key each word without a flag is: the last ones, for a relay's target alone is its target;
/// and the port of a lone number.
fn assigned(keys: &Keys, words: &[OsString]) -> Vec<Entry> {
    let of = keys.words();
    let entry = |key: usize, word: &OsString| {
        let given = Given::Values(vec![word.clone()]);
        Entry { key, given, origin: Origin::CommandLine }
    };
    let is_one_arg = of.first().is_some_and(|first| of.iter().all(|key| keys.all[*key].id == keys.all[*first].id));
    match (words, &of[..]) {
        ([], _) => Vec::new(),
        ([word], [host, port]) if !is_one_arg => {
            let text = word.to_string_lossy();
            match (is_port(&text), has_port(&text)) {
                (true, _) => vec![entry(*port, &text.trim_start_matches(':').into())],
                // It has its port: no other source names one.
                (false, true) => vec![entry(*host, word), off(*port)],
                (false, false) => vec![entry(*host, word)],
            }
        }
        _ if words.len() > of.len() => {
            // Too many: clap or the command says so, and no source adds to them.
            of.iter().zip(words).map(|(key, word)| entry(*key, word)).collect()
        }
        _ if is_one_arg => {
            of[of.len() - words.len()..].iter().zip(words).map(|(key, word)| entry(*key, word)).collect()
        }
        _ => of.iter().zip(words).map(|(key, word)| entry(*key, word)).collect(),
    }
}

impl Merged {
    /// The command line of all sources: `layers` are in their order, the first has the highest
    /// precedence.
    pub(super) fn of(keys: &Keys, typed: TypedWords, layers: [Vec<Entry>; 2]) -> Self {
        let mut merged = Self::default();
        let mut decided: Vec<Entry> = typed.entries;
        for layer in layers {
            let (mut kept, higher) = (Vec::new(), decided.len());
            for entry in layer {
                match keeps_out(keys, &decided[..higher], &entry) {
                    Some(why) => merged.left_out.push((entry, why)),
                    None => kept.push(entry),
                }
            }
            decided.extend(kept.iter().cloned());
            merged.kept.extend(kept);
        }
        merged.leave_out_dependents(keys, &decided);
        merged.words = merged.command_line(keys, typed.words, &decided);
        merged
    }

    /// Leaves out each entry that needs a flag which is off, as a certificate needs TLS.
    fn leave_out_dependents(&mut self, keys: &Keys, decided: &[Entry]) {
        let name = |entry: &Entry| keys.all[entry.key].name.clone();
        let mut off: Vec<String> = decided.iter().filter(|entry| !entry.given.is_on()).map(name).collect();
        off.extend(self.left_out.iter().map(|(entry, _)| name(entry)));
        off.retain(|off| !decided.iter().any(|entry| entry.given.is_on() && keys.all[entry.key].name == *off));
        loop {
            let needs = |entry: &Entry| keys.needs(entry.key, &entry.given).into_iter().find(|need| off.contains(need));
            let found = match off.is_empty() {
                true => None,
                false => self.kept.iter().position(|entry| entry.given.is_on() && needs(entry).is_some()),
            };
            let Some(at) = found else { return };
            let need = needs(&self.kept[at]).unwrap_or_default();
            let entry = self.kept.remove(at);
            off.push(name(&entry));
            self.left_out.push((entry, format!("it needs {need}, which is off")));
        }
    }

    fn command_line(&self, keys: &Keys, typed: Vec<OsString>, decided: &[Entry]) -> Vec<OsString> {
        let mut words: Vec<OsString> = self.kept.iter().flat_map(|entry| keys.typed(entry.key, &entry.given)).collect();
        let of_command_line = |key: usize| {
            decided.iter().any(|entry| entry.key == key && entry.origin == Origin::CommandLine && entry.given.is_on())
        };
        let value = |key: usize| {
            let entry = self.kept.iter().find(|entry| entry.key == key)?;
            let Given::Values(values) = &entry.given else { return None };
            values.first().cloned()
        };
        let of = keys.words();
        let typed_one = of.iter().position(|&key| of_command_line(key)).unwrap_or(of.len());
        // Before the words that were typed, and after them.
        words.extend(of[..typed_one].iter().filter_map(|&key| value(key)));
        let dashes = typed.iter().position(|word| word == "--").unwrap_or(typed.len());
        let (flags, command) = typed.split_at(dashes);
        // The word that is an action comes last.
        let action = flags.iter().rposition(|word| is_action(keys, word)).unwrap_or(flags.len());
        words.extend_from_slice(&flags[..action]);
        words.extend(of[typed_one..].iter().filter_map(|&key| value(key)));
        words.extend_from_slice(&flags[action..]);
        words.extend_from_slice(command);
        let is_last = |key: &ConfigKey| key.place == KeyPlace::Last;
        let last = self.kept.iter().find(|entry| is_last(&keys.all[entry.key]));
        if let Some(Entry { given: Given::Values(values), .. }) = last
            && !values.is_empty()
        {
            words.push("--".into());
            words.extend(values.iter().cloned());
        }
        words
    }
}

/// What keeps an entry out: a source with more to say of the same flag, or a flag that does not go
/// with it.
fn keeps_out(keys: &Keys, higher: &[Entry], entry: &Entry) -> Option<String> {
    if let Some(other) = higher.iter().find(|other| other.key == entry.key) {
        return Some(format!("{} has the last word", other.origin));
    }
    if !entry.given.is_on() {
        return None;
    }
    let other = higher.iter().find(|other| other.given.is_on() && keys.conflict(other.key, entry.key))?;
    Some(format!("it does not go with {} of {}", keys.all[other.key].name, other.origin))
}
