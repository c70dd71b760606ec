//! [`Keys`]: the flags of a command, as a file and the environment name them. All of it comes from
//! the definitions of the flags.

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory};
use resound::{Address, Error};

use crate::args::{CONFIGURATION, Cli, address};

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// A flag without a value: true or false.
    Switch,
    /// A flag that is repeated without a value: a number.
    Count,
    One,
    /// A flag whose value may be left out: true, false or a value.
    Maybe,
    /// A flag that is repeated: a list.
    Many,
}

/// Where the value stands on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    Flag,
    /// One of the words without a flag, in their order.
    Word,
    /// After `--`.
    Last,
}

/// One key: a flag, or a word without a flag.
#[derive(Clone, Debug)]
pub(super) struct ConfigKey {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) id: String,
    pub(super) form: KeyForm,
    pub(super) place: KeyPlace,
}

/// What a source says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Off,
    On,
    Times(u8),
    Values(Vec<OsString>),
}

impl Given {
    /// Is the flag there then?
    pub(super) fn is_on(&self) -> bool {
        match self {
            Self::Off | Self::Times(0) => false,
            Self::On | Self::Times(_) => true,
            Self::Values(values) => !values.is_empty(),
        }
    }
}

/// The keys of a command.
pub(super) struct Keys {
    pub(super) command: Command,
    pub(super) all: Vec<ConfigKey>,
}

impl Keys {
    /// Those of each command that has a configuration.
    pub(super) fn of_all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Keys>> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut program = Cli::command();
            program.build();
            program.get_subcommands().filter(|command| is_configured(command)).map(Self::of).collect()
        })
    }

    fn of(command: &Command) -> Self {
        let all = command.get_arguments().flat_map(keys).collect();
        Self { command: command.clone(), all }
    }

    pub(super) fn name(&self) -> &str {
        self.command.get_name()
    }

    /// The key of this name, which may be another name of its flag.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        let is_named = |key: &ConfigKey| key.name == name || key.aliases.iter().any(|alias| alias == name);
        self.all.iter().position(is_named)
    }

    /// The name that was probably meant.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        let names = self.all.iter().map(|key| key.name.as_str());
        nearest(&name.replace('_', "-").to_lowercase(), names)
    }

    /// The keys of the words without a flag, in their order.
    pub(super) fn words(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|&at| self.all[at].place == KeyPlace::Word).collect()
    }

    /// The later words of the same argument. Where they are missing, this one is the last.
    pub(super) fn words_after(&self, key: usize) -> Vec<usize> {
        let is_same = |other: &usize| *other > key && self.all[*other].id == self.all[key].id;
        self.words().into_iter().filter(is_same).collect()
    }

    pub(super) fn arg(&self, key: usize) -> &Arg {
        let id = self.all[key].id.as_str();
        // The keys were made from these arguments.
        self.command.get_arguments().find(|arg| arg.get_id() == id).unwrap_or_else(|| unreachable!("{id}"))
    }

    /// Does one of the two flags exclude the other?
    pub(super) fn conflict(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.arg(one), self.arg(other));
        let excludes = |one: &Arg, other: &Arg| {
            self.command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        one.get_id() != other.get_id() && (excludes(one, other) || excludes(other, one))
    }

    /// The flag on a command line, with its values.
    pub(super) fn typed(&self, key: usize, given: &Given) -> Vec<OsString> {
        let key = &self.all[key];
        let flag = OsString::from(format!("--{}", key.name));
        match given {
            _ if key.place != KeyPlace::Flag => Vec::new(),
            Given::Off => Vec::new(),
            Given::On => vec![flag],
            Given::Times(times) => vec![flag; usize::from(*times)],
            Given::Values(values) => {
                let with = |value: &OsString| [flag.as_os_str(), "=".as_ref(), value].into_iter().collect();
                values.iter().map(with).collect()
            }
        }
    }

    /// The flags that one flag needs beside it, by name, if it is alone on a command line.
    pub(super) fn needs(&self, key: usize, given: &Given) -> Vec<String> {
        if self.all[key].place == KeyPlace::Word {
            return self.words_after(key).into_iter().map(|key| self.all[key].name.clone()).collect();
        }
        match self.parse(self.typed(key, given)) {
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => super::named_in(&error),
            _ => Vec::new(),
        }
    }

    /// Checks the values of a key: those that are wrong, each with the sentence of the flag's own
    /// error.
    pub(super) fn check(&self, key: usize, given: &Given) -> Vec<(usize, String)> {
        let Given::Values(values) = given else { return Vec::new() };
        let check = |value: &OsString| {
            if self.all[key].place == KeyPlace::Word {
                return self.check_word(key, &value.to_string_lossy()).err();
            }
            match self.parse(self.typed(key, &Given::Values(vec![value.clone()]))) {
                Err(error) if is_about_value(&error) => Some(sentence(&error)),
                _ => None,
            }
        };
        values.iter().enumerate().filter_map(|(at, value)| Some((at, check(value)?))).collect()
    }

    /// A word without a flag is an address, or the port of one.
    fn check_word(&self, key: usize, value: &str) -> Result<(), String> {
        let name = &self.all[key].name;
        if value.starts_with('-') {
            return Err(format!("invalid value '{value}' for '{name}': a flag begins so"));
        }
        let checked = match name.as_str() {
            "port" => address(Some("127.0.0.1"), Some(value)),
            _ => address(Some(value), None),
        };
        let why = |error: Error| match error {
            // What was given stands before it already.
            Error::Address { reason, .. } => reason,
            other => other.to_string(),
        };
        checked.map(drop).map_err(|error| format!("invalid value '{value}' for '{name}': {}", why(error)))
    }

    fn parse(&self, words: Vec<OsString>) -> Result<(), clap::Error> {
        self.command.clone().no_binary_name(true).try_get_matches_from(words).map(drop)
    }
}

/// Does a host have its port, or no place for one?
pub(super) fn has_port(host: &str) -> bool {
    let with = |port| Address::parse(host, port).ok();
    host.starts_with("unix:") || with(1).is_some_and(|one| with(2) == Some(one))
}

/// Is a lone word the port?
pub(super) fn is_port(word: &str) -> bool {
    let digits = word.strip_prefix(':').unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_configured(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_help_heading() == Some(CONFIGURATION))
}

/// The nearest of some names, if it is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = if word.len() < 5 { 1 } else { 2 };
    let near = names.map(|name| (strsim::osa_distance(word, name), name)).min();
    near.filter(|(distance, _)| *distance <= most).map(|(_, name)| name)
}

/// The keys of an argument: none for help, for what is hidden, and for a word that is an action.
fn keys(arg: &Arg) -> Vec<ConfigKey> {
    let form = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => KeyForm::Switch,
        ArgAction::Count => KeyForm::Count,
        ArgAction::Append => KeyForm::Many,
        ArgAction::Set if arg.get_num_args().is_some_and(|values| values.min_values() == 0) => KeyForm::Maybe,
        ArgAction::Set => KeyForm::One,
        _ => return Vec::new(),
    };
    let is_own = arg.get_help_heading() == Some(CONFIGURATION) && arg.get_id() != "config";
    if arg.is_hide_set() || is_own {
        return Vec::new();
    }
    let id = arg.get_id().to_string();
    if let Some(long) = arg.get_long() {
        let aliases = arg.get_all_aliases().unwrap_or_default().into_iter().map(String::from).collect();
        return vec![ConfigKey { name: long.into(), aliases, id, form, place: KeyPlace::Flag }];
    }
    let word = |name: String, form, place| ConfigKey { name, aliases: Vec::new(), id: id.clone(), form, place };
    let names = arg.get_value_names().unwrap_or_default();
    match names {
        _ if arg.is_last_set() => vec![word(id.clone(), KeyForm::Many, KeyPlace::Last)],
        _ if !arg.is_positional() || !arg.get_possible_values().is_empty() => Vec::new(),
        [_, _, ..] => names.iter().map(|name| word(name.to_lowercase(), KeyForm::One, KeyPlace::Word)).collect(),
        _ => vec![word(id.clone(), KeyForm::One, KeyPlace::Word)],
    }
}

/// Is it about the value, and not about what stands beside the flag?
fn is_about_value(error: &clap::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::ArgumentConflict
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// The error's own words, without its usage.
pub(super) fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let ends = ["\n\nFor more information", "\n\nUsage:"];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end().to_string()
}
