//! The configuration: values of flags from the environment and a file, beneath those of the command
//! line.
//!
//! The names come from clap's definitions ([`key`]). Both sources become words of one command line
//! ([`merge`]), which clap parses like a typed one: so a value means the same wherever
//! it comes from, and what two flags have to do with each other is decided in one place.

mod environment;
mod file;
mod key;
mod layer;
mod merge;
mod mistake;
mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use resound_console::escape;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use self::key::{Given, Keys};
use self::layer::Entry;
use self::merge::{Merged, TypedWords, entries, off, take_switches};
pub(crate) use self::mistake::ConfigError;
use self::mistake::{ConfigMistake, one_line};
use crate::args::{Cli, CliCommand, overwritten};

/// What to do with a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Request {
    #[default]
    Run,
    Print,
    Check,
}

/// A command, and the configuration that it was made from.
pub(crate) struct ConfiguredCommand {
    pub(crate) command: CliCommand,
    /// `None` where nothing but the command line says anything.
    pub(crate) config: Option<Config>,
}

/// Why there is no command.
pub(crate) enum Unconfigured {
    /// The command line, or what all sources say together, with where the flags come from.
    Unparsed(clap::Error, Box<Config>),
    Invalid(ConfigError),
}

impl Unconfigured {
    /// One line, for a log.
    pub(crate) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Invalid(error) => error.into(),
            Self::Unparsed(error, config) => {
                let text = key::sentence(&error);
                let notes = config.notes(&text);
                anyhow::anyhow!("{}", one_line(&format!("{text}\n{notes}")))
            }
        }
    }
}

/// What all sources say of a command.
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) request: Request,
    pub(crate) warnings: Vec<String>,
    pub(crate) file: Option<PathBuf>,
    /// The file has no table for this command.
    pub(crate) lacks_table: bool,
    keys: Option<&'static Keys>,
    kept: Vec<Entry>,
    left_out: Vec<(Entry, String)>,
    /// The keys that were taken back.
    off: Vec<Entry>,
    matches: ArgMatches,
}

/// Reads the arguments of the program, its environment and its file.
pub(crate) fn read(typed: &[OsString]) -> Result<ConfiguredCommand, Unconfigured> {
    read_with(typed, std::env::vars_os().collect())
}

fn read_with(typed: &[OsString], variables: Vec<(OsString, OsString)>) -> Result<ConfiguredCommand, Unconfigured> {
    let at = typed.iter().skip(1).position(is_command).map(|at| at + 1);
    let Some(at) = at.filter(|&at| environment::is_used(&variables) || is_concerned(&typed[at..])) else {
        return plain(typed);
    };
    let commands = Keys::of_all();
    let Some(keys) = commands.iter().find(|keys| typed[at] == *keys.name()) else { return plain(typed) };
    let mut words = take_switches(keys, &typed[at + 1..]);
    let lenient = Cli::command().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(with(typed, at, &words.words)) else { return plain(typed) };
    let Some(matches) = matches.subcommand_matches(keys.name()) else { return plain(typed) };
    words.entries.extend(entries(keys, matches));
    let config = sources(keys, commands, words, matches, variables).map_err(Unconfigured::Invalid)?;
    parsed(typed, at, config)
}

/// The command that all sources make together.
fn parsed(
    typed: &[OsString],
    at: usize,
    (words, mut config): (Vec<OsString>, Config),
) -> Result<ConfiguredCommand, Unconfigured> {
    let unparsed = |error, config| Unconfigured::Unparsed(error, Box::new(config));
    match command(with(typed, at, &words)) {
        Ok((command, matches)) => {
            config.matches = matches;
            Ok(ConfiguredCommand { command, config: Some(config) })
        }
        Err(error) => Err(unparsed(error, config)),
    }
}

/// Without a source but the command line.
fn plain(typed: &[OsString]) -> Result<ConfiguredCommand, Unconfigured> {
    match command(typed.to_vec()) {
        Ok((command, _)) => Ok(ConfiguredCommand { command, config: None }),
        Err(error) => Err(Unconfigured::Unparsed(error, Box::default())),
    }
}

/// The command that these words make, and its flags.
fn command(words: Vec<OsString>) -> Result<(CliCommand, ArgMatches), clap::Error> {
    let mut cli = Cli::command();
    let matches = cli.try_get_matches_from_mut(words)?;
    let command = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut cli))?.command;
    let (name, flags) = matches.subcommand().map(|(name, flags)| (name, flags.clone())).unwrap_or_default();
    match cli.find_subcommand_mut(name).zip(overwritten(name, &flags)) {
        Some((of, text)) => Err(of.error(ErrorKind::ArgumentConflict, text)),
        None => Ok((command, flags)),
    }
}

/// Are these words, from the command's name on, about more than the flags themselves?
fn is_concerned(words: &[OsString]) -> bool {
    let flags = ["--config", "--without", "--print-config", "--check-config"];
    let is_own = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        flags.contains(&name) || word.starts_with("--") && environment::is_true(value).is_some()
    };
    words.iter().filter_map(|word| word.to_str()).any(is_own)
}

fn is_command(word: &OsString) -> bool {
    !word.as_encoded_bytes().starts_with(b"-")
}

/// The words up to the command's name, and these after it.
fn with(typed: &[OsString], at: usize, words: &[OsString]) -> Vec<OsString> {
    [&typed[..=at], words].concat()
}

/// Merges the sources into words after the command's name.
fn sources(
    keys: &'static Keys,
    commands: &[Keys],
    mut typed: TypedWords,
    matches: &ArgMatches,
    variables: Vec<(OsString, OsString)>,
) -> Result<(Vec<OsString>, Config), ConfigError> {
    let mut mistakes = Vec::new();
    let values = |id: &str| matches.get_raw(id).into_iter().flatten().collect::<Vec<_>>();
    for name in values("without") {
        let name = name.to_string_lossy();
        match keys.named(name.trim_start_matches('-')) {
            Some(key) => typed.entries.extend((!typed.entries.iter().any(|entry| entry.key == key)).then(|| off(key))),
            None => {
                let near = keys.nearest(&name).map(|near| format!(": perhaps {near} was meant")).unwrap_or_default();
                mistakes.push(ConfigMistake::new("--without", format!("there is no flag '{name}'{near}")));
            }
        }
    }
    let mut environment = environment::read(keys, commands, variables.into_iter());
    mistakes.append(&mut environment.mistakes);
    let file = config_file(keys, &typed, &environment.entries);
    let mut lacks_table = false;
    let of_file = match file.as_deref().map(|path| file::read(path).map(|text| file::parse(path, &text, commands))) {
        None => Vec::new(),
        Some(Ok(Ok(tables))) => {
            let table = tables.into_iter().find(|(name, _)| name == keys.name());
            lacks_table = table.is_none();
            table.map(|(_, of)| of).unwrap_or_default()
        }
        Some(Ok(Err(found))) => {
            mistakes.extend(found);
            Vec::new()
        }
        Some(Err(mistake)) => {
            mistakes.push(mistake);
            Vec::new()
        }
    };
    if let Some(error) = ConfigError::of(mistakes) {
        return Err(error);
    }
    let is_set = |id| matches.try_get_one::<bool>(id).ok().flatten() == Some(&true);
    let request = match (is_set("print_config"), is_set("check_config")) {
        (true, _) => Request::Print,
        (_, true) => Request::Check,
        _ => Request::Run,
    };
    let off = typed.entries.iter().filter(|entry| !entry.given.is_on()).cloned().collect();
    let typed_keys: Vec<usize> =
        typed.entries.iter().filter(|entry| entry.given.is_on()).map(|entry| entry.key).collect();
    let Merged { words, kept, left_out } = Merged::of(keys, typed, [environment.entries, of_file]);
    if let Some(mistake) = lone_word(keys, &kept, &typed_keys) {
        return Err(mistake.into());
    }
    let mut warnings = environment.warnings;
    if let Some(file) = file.as_deref().filter(|_| lacks_table) {
        let (file, command) = (escape::text(file.display().to_string().as_bytes()), keys.name());
        warnings.push(format!("{file} has no [{command}]: nothing in it is for `resound {command}`"));
    }
    let (keys, matches) = (Some(keys), ArgMatches::default());
    let config = Config { request, warnings, file, lacks_table, keys, kept, left_out, off, matches };
    Ok((words, config))
}

/// A word without the one that it stands before, whose place it would take.
fn lone_word(keys: &Keys, kept: &[Entry], typed: &[usize]) -> Option<ConfigMistake> {
    kept.iter().filter(|entry| entry.given.is_on()).find_map(|entry| {
        let is_there =
            |key: usize| typed.contains(&key) || kept.iter().any(|other| other.key == key && other.given.is_on());
        let after = keys.words_after(entry.key).into_iter().find(|&key| !is_there(key))?;
        let (name, after) = (&keys.all[entry.key].name, &keys.all[after].name);
        Some(ConfigMistake::new(entry.origin.to_string(), format!("`{name}` needs `{after}` beside it")))
    })
}

/// The file that the command line names, or else the environment.
fn config_file(keys: &Keys, typed: &TypedWords, environment: &[Entry]) -> Option<PathBuf> {
    let key = keys.named("config")?;
    let named = typed.entries.iter().chain(environment).find(|entry| entry.key == key)?;
    match &named.given {
        Given::Values(values) => values.first().map(PathBuf::from),
        _ => None,
    }
}

/// The flags that an error of clap names, without their dashes.
fn named_in(error: &clap::Error) -> Vec<String> {
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let name = |text: String| {
        let flag = text.trim_start_matches('-');
        flag.split([' ', '=', '[']).next().unwrap_or_default().to_string()
    };
    [ContextKind::InvalidArg, ContextKind::PriorArg].into_iter().flat_map(texts).map(name).collect()
}

impl Config {
    /// Where the flags and values come from that a text names: a line for each that was not typed.
    pub(crate) fn notes(&self, text: &str) -> String {
        let Some(keys) = self.keys else { return String::new() };
        let is_named = |flag: &str| {
            let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
            text.match_indices(flag).any(|(at, _)| is_end(&text[at + flag.len()..]))
        };
        // A shorter one stands in too many words.
        const SHORTEST: usize = 3;
        let mut notes = String::new();
        for Entry { key, given, origin } in &self.kept {
            let flag = format!("--{}", keys.all[*key].name);
            let holds =
                |value: &OsString| value.len() >= SHORTEST && value.to_str().is_some_and(|value| text.contains(value));
            let is_meant = is_named(&flag) || matches!(given, Given::Values(values) if values.iter().any(holds));
            if is_meant {
                notes += &format!("  {} comes from {origin}\n", keys.all[*key].name);
            }
        }
        notes
    }

    /// What holds, by flag: to see what another configuration changes.
    pub(crate) fn values(&self) -> BTreeMap<String, Vec<OsString>> {
        let Some(keys) = self.keys else { return BTreeMap::new() };
        let value = |Entry { key, given, .. }: Entry| {
            let values = match given {
                Given::Values(values) => values,
                Given::Times(times) => vec![times.to_string().into()],
                Given::On | Given::Off => Vec::new(),
            };
            (keys.all[key].name.clone(), values)
        };
        entries(keys, &self.matches).into_iter().filter(|entry| entry.given.is_on()).map(value).collect()
    }

    /// The configuration as a file.
    pub(crate) fn print(&self) -> Result<String, ConfigError> {
        self.keys.map_or(Ok(String::new()), |keys| print::file(keys, self).map_err(ConfigError::from))
    }
}
