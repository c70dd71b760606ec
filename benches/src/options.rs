//! The command line: a page, and options that any page may have.

use std::str::FromStr;
use std::time::Duration;

/// The value of `--name VALUE` or `--name=VALUE`.
pub(crate) fn option<T: FromStr>(name: &str) -> Option<T> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = arguments.iter().enumerate().find_map(|(at, argument)| {
        match argument.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('=') {
            Some(value) => Some(value),
            None if argument.len() == name.len() + 2 => Some(arguments.get(at + 1)?.as_str()),
            None => None,
        }
    })?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("--{name} {value}: not a value of this option")),
    )
}

/// How many rounds, and how long each measurement is: `--rounds`, `--seconds`.
pub(crate) fn extent(rounds: u64, seconds: f64) -> (u64, Duration) {
    let seconds = option("seconds").unwrap_or(seconds);
    (option("rounds").unwrap_or(rounds), Duration::from_secs_f64(seconds))
}
