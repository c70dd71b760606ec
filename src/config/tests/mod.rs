//! Tests of the configuration, without a process.

mod files;
mod flags;
mod sources;
mod variables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Config, read_with};

/// What all sources say, or the error as one line.
fn said(words: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    let (command, flags) = words.split_first().expect("a command");
    let typed = ["resound", command, "--print-config"].iter().chain(flags).map(Into::into).collect::<Vec<OsString>>();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    match read_with(&typed, variables) {
        Ok(read) => Ok(read.config.expect("a configuration")),
        Err(error) => Err(error.into_error().to_string()),
    }
}

/// What holds: `mode=echo`, `tls`, `allow=10.0.0.0/8,::1`.
fn holds(words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    shown(&said(words, variables).unwrap_or_else(|error| panic!("{words:?} {variables:?}: {error}")))
}

fn shown(config: &Config) -> Vec<String> {
    let text = |value: OsString| value.into_string().unwrap();
    let values = config.values().into_iter().filter(|(name, _)| name != "config");
    let line = |(name, values): (String, Vec<OsString>)| match values.is_empty() {
        true => name,
        false => format!("{name}={}", values.into_iter().map(text).collect::<Vec<_>>().join(",")),
    };
    values.map(line).collect()
}

/// A file in a folder that goes with it.
struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let written = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(written.path(), text).unwrap();
        written
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("resound.toml")
    }

    fn name(&self) -> String {
        self.path().to_str().unwrap().into()
    }
}

fn with_file(command: &str, text: &str, words: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    let file = Written::new(text);
    let name = file.name();
    said(&[&[command, "--config", &name], words].concat(), variables).map_err(|error| error.replace(&name, "FILE"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
