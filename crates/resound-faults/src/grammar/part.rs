//! A part of a text that knows where it stands.

use std::ops::Range;

/// A part of a specification, which knows its place.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its text.
    pub text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    /// The whole text.
    pub fn whole(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Its bytes in the whole.
    pub fn range(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    /// Has it nothing but white space?
    pub fn is_blank(self) -> bool {
        self.text.trim().is_empty()
    }

    fn sub(self, range: Range<usize>) -> Self {
        Self { text: &self.text[range.clone()], at: self.at + range.start }
    }

    /// Without white space around it.
    pub fn trimmed(self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        let end = start + self.text.trim().len();
        self.sub(start..end)
    }

    /// The parts between a character that stands outside of brackets; at least one.
    pub fn split(self, at: char) -> Vec<Self> {
        let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
        for (index, c) in self.text.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                c if c == at && depth == 0 => {
                    parts.push(self.sub(start..index));
                    start = index + c.len_utf8();
                }
                _ => {}
            }
        }
        parts.push(self.sub(start..self.text.len()));
        parts
    }

    /// What is before the first of a character, and what is behind it.
    pub fn split_once(self, at: char) -> (Self, Option<Self>) {
        match self.text.find(at) {
            Some(index) => (self.sub(0..index), Some(self.sub(index + at.len_utf8()..self.text.len()))),
            None => (self, None),
        }
    }

    /// The words between white space; an `@` begins one as well.
    pub fn words(self) -> Vec<Self> {
        let (mut words, mut start) = (Vec::new(), None::<usize>);
        for (index, c) in self.text.char_indices() {
            if (c.is_whitespace() || c == '@')
                && let Some(start) = start.take()
            {
                words.push(self.sub(start..index));
            }
            if !c.is_whitespace() {
                start.get_or_insert(index);
            }
        }
        words.extend(start.map(|start| self.sub(start..self.text.len())));
        words
    }
}
