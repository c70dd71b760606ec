//! The completions of the word being typed.

use resound_console::escape;
use rustyline::completion::{FilenameCompleter, Pair};

use super::command::COMMANDS;

/// The most candidates that are listed.
const SHOWN: usize = 100;

/// The candidates for the word at this place, and where it starts: commands, or file names after a
/// command that takes a file.
pub(super) fn find(line: &str, at: usize) -> (usize, Vec<Pair>) {
    if line.starts_with("/send ") {
        return FilenameCompleter::new().complete_path(line, at).unwrap_or_default();
    }
    let Some(typed) = line[..at].strip_prefix('/') else { return (at, Vec::new()) };
    let names = COMMANDS.iter().filter(|(name, ..)| name.starts_with(typed));
    let words = names.map(|(name, argument, _)| {
        let replacement = if argument.is_empty() { format!("/{name}") } else { format!("/{name} ") };
        Pair { display: format!("/{name}"), replacement }
    });
    (0, words.collect())
}

/// All candidates, as a line.
pub(super) fn listed(words: &[Pair]) -> String {
    let mut shown: Vec<_> = words.iter().take(SHOWN).map(|word| escape::text(word.display.as_bytes())).collect();
    if words.len() > SHOWN {
        shown.push(format!("and {} more", words.len() - SHOWN));
    }
    shown.join("  ") + "\n"
}
