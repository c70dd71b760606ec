//! Colour only on a terminal, unless NO_COLOR is set (<https://no-color.org>).

use std::io::IsTerminal;

/// Colours text, or leaves it unchanged.
#[derive(Clone, Copy)]
pub(crate) struct Colour(bool);

/// Whether the terminal, if there is one, knows control sequences.
pub(crate) fn can_draw() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

impl Colour {
    pub(crate) fn of(output: &impl IsTerminal) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && can_draw() && output.is_terminal())
    }

    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(false)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// A label before text.
    pub(crate) fn label(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// A heading.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The program's own notes, between the data.
    pub(crate) fn aside(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}
