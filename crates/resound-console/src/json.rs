//! JSON events, one a line.

use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use crate::escape;

/// A value as a line: compact, and without characters that are dangerous on a terminal. Its keys
/// must be strings.
pub fn object(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    write(&mut line, value);
    line.push(b'\n');
    line
}

fn write(to: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let serialized = value.serialize(&mut serde_json::Serializer::with_formatter(to, Escaping));
    debug_assert!(serialized.is_ok(), "a value of our own with string keys, into memory: {serialized:?}");
}

/// An object under construction: its fields appear in the order of the calls.
#[derive(Default)]
pub struct JsonObject(Vec<u8>);

impl JsonObject {
    /// An event, with its time of day.
    pub fn event(name: &str) -> Self {
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        Self(Vec::with_capacity(256)).with("time", time).with("event", name)
    }

    /// Adds a field.
    pub fn with(self, name: &str, value: impl Serialize) -> Self {
        self.field(name, |to| write(to, &value))
    }

    /// Adds a field, if it has a value.
    pub fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds an object within, if there is one.
    pub fn with_object(self, name: &str, object: Option<Self>) -> Self {
        match object {
            Some(Self(fields)) => self.field(name, |to| to.extend([&fields[..], b"}"].concat())),
            None => self,
        }
    }

    fn field(mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        write(&mut self.0, name);
        self.0.push(b':');
        value(&mut self.0);
        self
    }

    /// The object as a line.
    pub fn line(mut self) -> Vec<u8> {
        self.0.extend(b"}\n");
        self.0
    }
}

/// Compact JSON that also escapes characters that are dangerous on a terminal.
struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| escape::is_dangerous(*c)) {
            to.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(to, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        to.write_all(&fragment.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_hostile_text_and_keeps_its_value() {
        let hostile = "a\u{202e}b\u{9b}c\"\n\u{e0001}";
        let text = String::from_utf8(JsonObject::event("any").with("text", hostile).line()).unwrap();
        assert!(text.trim_end().chars().all(|c| !c.is_control() && !escape::is_dangerous(c)), "{text:?}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["text"], hostile);
        assert!(parsed["time"].as_str().unwrap().ends_with('Z'));
    }
}
