//! [`Candidates`]: the completions of the word being typed.

use rustyline::completion::{FilenameCompleter, Pair, longest_common_prefix};

use super::command::COMMANDS;
use crate::escape;

/// The most candidates that are listed.
const SHOWN: usize = 100;

pub(super) struct Candidates {
    /// The start of the word.
    pub(super) start: usize,
    words: Vec<Pair>,
}

impl Candidates {
    /// Commands, or file names after a command that takes a file.
    pub(super) fn find(line: &str, at: usize) -> Self {
        if line.starts_with("/send ") {
            let (start, words) = FilenameCompleter::new().complete_path(line, at).unwrap_or_default();
            return Self { start, words };
        }
        let Some(typed) = line[..at].strip_prefix('/') else { return Self { start: at, words: Vec::new() } };
        let names = COMMANDS.iter().filter(|(name, ..)| name.starts_with(typed));
        let words = names.map(|(name, argument, _)| {
            let replacement = if argument.is_empty() { format!("/{name}") } else { format!("/{name} ") };
            Pair { display: format!("/{name}"), replacement }
        });
        Self { start: 0, words: words.collect() }
    }

    pub(super) fn are_one(&self) -> bool {
        self.words.len() == 1
    }

    /// The common prefix of all candidates.
    pub(super) fn certain(&self) -> Option<&str> {
        longest_common_prefix(&self.words)
    }

    /// All candidates, as a line.
    pub(super) fn listed(&self) -> String {
        let shown = self.words.iter().take(SHOWN);
        let mut words: Vec<_> = shown.map(|word| escape::text(word.display.as_bytes())).collect();
        if self.words.len() > SHOWN {
            words.push(format!("and {} more", self.words.len() - SHOWN));
        }
        words.join("  ") + "\n"
    }
}
