//! Text in lines of limited width.

use super::bars::Glyphs;
use crate::colour::Colour;

/// The width of the first column.
pub(super) const LABEL: usize = 13;

/// The look of the text.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) colour: Colour,
    pub(crate) glyphs: Glyphs,
    /// The width in columns; the text uses at most 80.
    pub(crate) width: usize,
}

/// Text, line by line.
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) style: Style,
    pub(crate) width: usize,
}

impl Page {
    pub(crate) fn new(style: Style) -> Self {
        Self { text: String::new(), style, width: style.width.clamp(40, 80) }
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.text += line.trim_end();
        self.text.push('\n');
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let text = self.style.colour.strong(text);
        self.line(&text);
    }

    pub(crate) fn section(&mut self, text: &str) {
        self.text.push('\n');
        self.heading(text);
    }

    /// A label and its text.
    pub(crate) fn row(&mut self, label: &str, text: &str) {
        let label = self.style.colour.label(&format!("{label:<LABEL$}"));
        self.wrapped(&format!("  {label}"), &" ".repeat(LABEL + 2), text);
    }

    /// Wraps words into lines.
    pub(crate) fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let (mut line, mut used) = (first.to_string(), visible(first));
        let indent = visible(rest);
        let mut is_empty = true;
        for word in text.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            // A word longer than a line is cut at its end. Only short texts have colours.
            while used + word.len() + usize::from(!is_empty) > self.width
                && (!is_empty || word.len() > self.width - indent)
            {
                if is_empty {
                    let room = self.width - used;
                    line.extend(word.drain(..room));
                }
                self.line(&line);
                (line, used, is_empty) = (rest.to_string(), indent, true);
            }
            if !is_empty {
                line.push(' ');
                used += 1;
            }
            used += word.len();
            line.extend(word);
            is_empty = false;
        }
        self.line(&line);
    }
}

/// The width of a text in columns; colours have none.
pub(crate) fn visible(text: &str) -> usize {
    let mut columns = 0;
    let mut is_escape = false;
    for c in text.chars() {
        match (is_escape, c) {
            (false, '\x1b') => is_escape = true,
            (true, 'm') => is_escape = false,
            (false, _) => columns += 1,
            (true, _) => {}
        }
    }
    columns
}
