//! [`TopLine`]: a line of the terminal, cut to its width.

use std::fmt::Write as _;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// A colour of the terminal's own (ECMA-48, SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopColour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Cyan = 36,
}

/// How a part of a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TopStyle {
    pub(super) colour: Option<TopColour>,
    pub(super) is_bold: bool,
    pub(super) is_faint: bool,
}

/// Parts of a line, each in its style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopLine {
    parts: Vec<(TopStyle, String)>,
    /// In columns.
    width: usize,
}

impl TopStyle {
    pub(super) fn bold(self) -> Self {
        Self { is_bold: true, ..self }
    }
}

impl TopLine {
    /// Appends as much of a text as fits in a line of `most` columns. What moves the cursor is left
    /// out.
    pub(super) fn add(&mut self, text: &str, style: TopStyle, most: usize) {
        let mut part = String::new();
        for character in text.graphemes(true).filter(|character| !character.contains(char::is_control)) {
            let wide = self.width + character.width();
            if wide > most {
                break;
            }
            // What has no width of its own might turn the direction of the line.
            if wide > self.width {
                part += character;
            }
            self.width = wide;
        }
        if !part.is_empty() {
            self.parts.push((style, part));
        }
    }

    /// Fills the line with spaces up to a column.
    pub(super) fn fill_to(&mut self, column: usize) {
        let spaces = " ".repeat(column.saturating_sub(self.width));
        self.add(&spaces, TopStyle::default(), column);
    }

    /// The text without its style.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.parts.iter().map(|(_, part)| &**part).collect()
    }

    /// Writes the line for a terminal of `columns` columns, whose cursor is at the start of the
    /// row.
    pub(super) fn write(&self, to: &mut String, columns: usize) {
        let mut column = 0;
        for (style, part) in &self.parts {
            *to += "\x1b[0";
            *to += if style.is_bold { ";1" } else { "" };
            *to += if style.is_faint { ";2" } else { "" };
            if let Some(colour) = style.colour {
                let _ = write!(to, ";{}", colour as u8);
            }
            let _ = write!(to, "m{part}");
            column += part.width();
            // Terminals differ in how wide they show other characters.
            if !part.is_ascii() {
                let _ = write!(to, "\x1b[{}G", column + 1);
            }
        }
        // After a full line the cursor is still on its last character, which this would erase.
        *to += if column < columns { "\x1b[0m\x1b[K" } else { "\x1b[0m" };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters_at_its_width() {
        for (text, most, want) in [
            ("hello", 3, "hel"),
            ("hello", 9, "hello"),
            ("日本語", 5, "日本"),
            ("e\u{301}tat", 2, "e\u{301}t"),
            ("a\u{1b}[2Jb\r\nc", 9, "a[2Jbc"),
            ("a\u{202e}\u{200b}b", 9, "ab"),
        ] {
            let mut line = TopLine::default();
            line.add(text, TopStyle::default(), most);
            assert_eq!(line.text(), want, "{text:?} in {most}");
        }
    }

    #[test]
    fn what_follows_a_wide_character_has_its_column_on_each_terminal() {
        let mut line = TopLine::default();
        line.add("▁█", TopStyle::default(), 9);
        line.add("x", TopStyle::default(), 9);
        let mut written = String::new();
        line.write(&mut written, 9);
        assert_eq!(written, "\x1b[0m▁█\x1b[3G\x1b[0mx\x1b[0m\x1b[K");
    }

    #[test]
    fn a_part_has_its_style_and_the_next_one_has_not() {
        let mut line = TopLine::default();
        line.add("on", TopStyle { colour: Some(TopColour::Red), ..TopStyle::default() }.bold(), 9);
        line.fill_to(4);
        line.add("off", TopStyle { is_faint: true, ..TopStyle::default() }, 9);
        let mut written = String::new();
        line.write(&mut written, 9);
        assert_eq!(written, "\x1b[0;1;31mon\x1b[0m  \x1b[0;2moff\x1b[0m\x1b[K");
        written.clear();
        line.write(&mut written, 7);
        assert!(written.ends_with("off\x1b[0m"), "the last character stays: {written:?}");
    }
}
