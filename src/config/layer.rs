//! [`Entry`]: what a source says of one flag.

use std::fmt;
use std::path::PathBuf;

use super::key::Given;
use super::mistake::place_in;

/// The source of a value, the highest precedence first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    Environment(String),
    File { path: PathBuf, line: usize, column: usize },
}

/// What one source says of one key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: usize,
    pub(super) given: Given,
    pub(super) origin: Origin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("the command line"),
            Self::Environment(name) => write!(f, "the environment ({name})"),
            Self::File { path, line, column } => f.write_str(&place_in(path, *line, *column)),
        }
    }
}
