//! What holds, as a file that means the same.

use clap::Arg;

use super::key::{Given, KeyForm, KeyPlace, Keys};
use super::layer::{Entry, Origin};
use super::merge::entries;
use super::mistake::ConfigMistake;
use super::{Config, environment};

/// The column of the comments, unless a line is longer.
const COMMENTS: usize = 40;

/// The file: what a source sets as values, and what no source sets as comments, so that a flag
/// which is left alone stays so.
pub(super) fn file(keys: &Keys, config: &Config) -> Result<String, ConfigMistake> {
    let command = keys.name();
    let mut text = format!(
        "# What holds for `resound {command}`, and where it comes from. A key in a comment is left at its default.\n\
         [{command}]\n"
    );
    let holds = entries(keys, &config.matches);
    for (at, key) in keys.all.iter().enumerate() {
        if key.name == "config" {
            continue;
        }
        let kept = config.kept.iter().find(|entry| entry.key == at);
        let taken_back = kept.into_iter().chain(&config.off).find(|entry| entry.key == at && !entry.given.is_on());
        let is_on = |entry: &&Entry| entry.key == at && entry.given.is_on();
        let line = match (holds.iter().find(is_on), taken_back) {
            (Some(entry), _) => {
                let origin = kept.map_or(&Origin::CommandLine, |kept| &kept.origin);
                commented(assignment(keys, entry)?, &origin.to_string())
            }
            (None, Some(Entry { given: Given::Off | Given::Times(0), origin, .. }))
                if matches!(key.form, KeyForm::Switch | KeyForm::Maybe) =>
            {
                commented(format!("{} = false", key.name), &origin.to_string())
            }
            (None, Some(Entry { origin, .. })) if key.form == KeyForm::Many => {
                commented(format!("{} = []", key.name), &origin.to_string())
            }
            (None, Some(Entry { origin, .. })) => {
                commented(format!("# {}", key.name), &format!("left out by {origin}"))
            }
            (None, None) => default(keys, at),
        };
        text += &line;
        for (entry, why) in config.left_out.iter().filter(|(entry, _)| entry.key == at) {
            let said = assignment(keys, entry).unwrap_or_else(|_| key.name.clone());
            text += &commented(format!("# {said}"), &format!("left out of {}: {why}", entry.origin));
        }
    }
    Ok(text)
}

fn commented(line: String, comment: &str) -> String {
    format!("{line:COMMENTS$} # {comment}\n")
}

/// A key that no source has set.
fn default(keys: &Keys, key: usize) -> String {
    let arg = keys.arg(key);
    let name = &keys.all[key].name;
    match arg.get_default_values() {
        [value, ..] if keys.all[key].form == KeyForm::One => {
            commented(format!("# {name} = {}", literal(&value.to_string_lossy())), "default")
        }
        _ => {
            let noted = noted_default(arg).map(|noted| format!("not set: {noted}"));
            let is_word = keys.all[key].place == KeyPlace::Word;
            let noted = noted.filter(|_| !is_word || keys.words().len() > 1);
            commented(format!("# {name}"), noted.as_deref().unwrap_or("not set"))
        }
    }
}

/// The default that the help names.
fn noted_default(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, rest) = help.split_once("[default: ")?;
    Some(rest.split(']').next()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// `key = value`.
fn assignment(keys: &Keys, entry: &Entry) -> Result<String, ConfigMistake> {
    let key = &keys.all[entry.key];
    let name = &key.name;
    let texts = |values: &[std::ffi::OsString]| -> Result<Vec<String>, ConfigMistake> {
        let text = |value: &std::ffi::OsString| match value.to_str() {
            Some(text) => Ok(literal(text)),
            None => {
                let variable = environment::variable(keys.name(), name);
                let sentence = format!("its value is not UTF-8, and no file can hold it (but {variable} can)");
                Err(ConfigMistake::new(format!("--{name}"), sentence))
            }
        };
        values.iter().map(text).collect()
    };
    Ok(match &entry.given {
        Given::Off => format!("{name} = false"),
        Given::On => format!("{name} = true"),
        Given::Times(times) => format!("{name} = {times}"),
        Given::Values(values) if key.form == KeyForm::Many => format!("{name} = [{}]", texts(values)?.join(", ")),
        Given::Values(values) => format!("{name} = {}", texts(values)?.join("")),
    })
}

/// A value in TOML: a number as one, anything else in quotes.
fn literal(text: &str) -> String {
    let is_number = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if is_number {
        return text.into();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c if c.is_control() || resound_console::escape::is_dangerous(c) => {
                quoted += &format!("\\U{:08X}", c as u32)
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
