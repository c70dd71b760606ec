//! A file with values of flags, in TOML.

use std::ops::Range;
use std::path::Path;

use resound_console::escape;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{ConfigKey, Given, KeyForm, Keys, nearest};
use super::layer::{Entry, Origin};
use super::mistake::{ConfigMistake, place_in, position};
use crate::text_file::{self, TextFileError};

/// What a file says: entries for each command.
pub(super) type Tables = Vec<(String, Vec<Entry>)>;

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, ConfigMistake> {
    text_file::read(path).map_err(|error| match error {
        TextFileError::NotUtf8 { valid } => {
            let (line, column, _) = position(&valid, valid.len());
            ConfigMistake::new(place_in(path, line, column), "it is not UTF-8 from here on: save it as UTF-8")
        }
        error => ConfigMistake::new(escape::text(path.display().to_string().as_bytes()), error.to_string()),
    })
}

/// A file that is read, with the mistakes found in it.
struct FileReader<'a> {
    path: &'a Path,
    text: &'a str,
    commands: &'a [Keys],
    mistakes: Vec<ConfigMistake>,
}

/// What the text of a file says of each command.
pub(super) fn parse(path: &Path, text: &str, commands: &[Keys]) -> Result<Tables, Vec<ConfigMistake>> {
    let mut reader = FileReader { path, text, commands, mistakes: Vec::new() };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            reader.wrong(error.span().unwrap_or_default(), format!("it is not TOML: {}", error.message().trim()));
            return Err(reader.mistakes);
        }
    };
    let tables = document.get_ref().iter().filter_map(|(name, value)| reader.table(name, value)).collect();
    if reader.mistakes.is_empty() { Ok(tables) } else { Err(reader.mistakes) }
}

impl FileReader<'_> {
    fn wrong(&mut self, range: Range<usize>, sentence: impl Into<String>) {
        self.mistakes.push(ConfigMistake::within(self.path, self.text, range, sentence));
    }

    fn table(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<(String, Vec<Entry>)> {
        let word = name.get_ref().as_ref();
        let Some(keys) = self.commands.iter().find(|keys| keys.name() == word) else {
            let sentence = self.unknown_table(word, matches!(value.get_ref(), DeValue::Table(_)));
            self.wrong(name.span(), sentence);
            return None;
        };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(name.span(), format!("`{word}` is a command: its flags are the keys of a table, [{word}]"));
            return None;
        };
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in table {
            let Some(entry) = self.entry(keys, name, value) else { continue };
            if entries.iter().any(|other| other.key == entry.key) {
                let sentence = format!("`{}` stands here twice, by two names of the flag", keys.all[entry.key].name);
                self.wrong(name.span(), sentence);
                continue;
            }
            entries.push(entry);
        }
        Some((word.into(), entries))
    }

    fn unknown_table(&self, word: &str, is_table: bool) -> String {
        let with: Vec<_> = self
            .commands
            .iter()
            .filter(|keys| keys.named(word).is_some())
            .map(|keys| format!("[{}]", keys.name()))
            .collect();
        if !with.is_empty() {
            return format!("`{word}` stands in no table: put it under {}", with.join(" or "));
        }
        let names = || self.commands.iter().map(Keys::name);
        if !is_table {
            let word = escape::text(word.as_bytes());
            return format!("`{word}` stands in no table: each key stands under its command, such as [server]");
        }
        match nearest(word, names()) {
            Some(near) => format!("there is no table [{}]: perhaps [{near}] was meant", escape::text(word.as_bytes())),
            None => {
                let all: Vec<_> = names().map(|name| format!("[{name}]")).collect();
                format!("there is no table [{}]; there are {}", escape::text(word.as_bytes()), all.join(", "))
            }
        }
    }

    fn entry(
        &mut self,
        keys: &Keys,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Entry> {
        let word = name.get_ref().as_ref();
        let at = match keys.named(word) {
            // A file that names another would have two meanings.
            Some(at) if keys.all[at].name != "config" => at,
            _ => {
                let sentence = self.unknown_key(keys, word);
                self.wrong(name.span(), sentence);
                return None;
            }
        };
        let given = match given(&keys.all[at], value) {
            Ok(given) => given,
            Err(wrong) => {
                wrong.into_iter().for_each(|(range, sentence)| self.wrong(range, sentence));
                return None;
            }
        };
        let wrong = keys.check(at, &given);
        if !wrong.is_empty() {
            for (nth, sentence) in wrong {
                let one = match value.get_ref() {
                    DeValue::Array(values) => values.get(nth).map(Spanned::span),
                    _ => None,
                };
                self.wrong(one.unwrap_or_else(|| value.span()), sentence);
            }
            return None;
        }
        let (line, column, _) = position(self.text, name.span().start);
        Some(Entry { key: at, given, origin: Origin::File { path: self.path.into(), line, column } })
    }

    fn unknown_key(&self, keys: &Keys, word: &str) -> String {
        let (shown, command) = (escape::text(word.as_bytes()), keys.name());
        if word == "config" {
            return "a file cannot name another: give --config on the command line".into();
        }
        let others: Vec<_> = self
            .commands
            .iter()
            .filter(|others| others.named(word).is_some())
            .map(|others| format!("[{}]", others.name()))
            .collect();
        match keys.nearest(word) {
            Some(near) => format!("there is no `{shown}` in [{command}]: perhaps `{near}` was meant"),
            None if others.is_empty() => {
                format!("there is no `{shown}` in [{command}]; `resound {command} --help` lists the flags")
            }
            None => format!("`{shown}` belongs under {}, not under [{command}]", others.join(" or ")),
        }
    }
}

/// What a value says of a key, or the places of its mistakes.
fn given(key: &ConfigKey, value: &Spanned<DeValue<'_>>) -> Result<Given, Vec<(Range<usize>, String)>> {
    let name = &key.name;
    let wrong = |sentence: String| Err(vec![(value.span(), sentence)]);
    match (key.form, value.get_ref()) {
        (KeyForm::Switch | KeyForm::Maybe, DeValue::Boolean(is_on)) => Ok(if *is_on { Given::On } else { Given::Off }),
        (KeyForm::Switch, _) => wrong(format!("`{name}` is a switch: true or false, without quotes")),
        (KeyForm::Count, DeValue::Integer(number)) => match number.to_string().parse() {
            Ok(times) => Ok(Given::Times(times)),
            Err(_) => wrong(format!("`{name}` is a number from 0 to 255")),
        },
        (KeyForm::Count, _) => wrong(format!("`{name}` is a number from 0 to 255")),
        (KeyForm::Many, DeValue::Array(values)) => {
            let (right, wrong): (Vec<_>, Vec<_>) =
                values.iter().map(|value| scalar(name, value)).partition(Result::is_ok);
            let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
            if !wrong.is_empty() {
                return Err(wrong);
            }
            Ok(Given::Values(right.into_iter().flatten().map(Into::into).collect()))
        }
        (_, DeValue::Array(_)) => wrong(format!("`{name}` has one value, not a list")),
        _ => Ok(Given::Values(vec![scalar(name, value).map_err(|wrong| vec![wrong])?.into()])),
    }
}

/// A value as a command line has it.
fn scalar(name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, (Range<usize>, String)> {
    match value.get_ref() {
        // No argument of a program has one.
        DeValue::String(text) if text.contains('\0') => Err((value.span(), format!("`{name}` holds a NUL"))),
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string().trim_start_matches('+').into()),
        DeValue::Float(number) => Ok(number.as_str().trim_start_matches('+').into()),
        other => {
            let what = match other {
                DeValue::Boolean(_) => "true or false",
                DeValue::Datetime(_) => "a date",
                DeValue::Table(_) => "a table",
                _ => "a list",
            };
            Err((value.span(), format!("`{name}` takes a text in quotes or a number, not {what}")))
        }
    }
}

/// A list as a file has it: `["a", "b"]`. `None` where the text is none.
pub(super) fn list(name: &str, text: &str) -> Option<Result<Vec<String>, String>> {
    let value = DeValue::parse(text).ok()?;
    let DeValue::Array(values) = value.get_ref() else { return None };
    Some(values.iter().map(|value| scalar(name, value).map_err(|(_, sentence)| sentence)).collect())
}
