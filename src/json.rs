//! JSON events, one a line.

use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use crate::escape;

/// An event as a line: compact, with its time of day, and without characters that are dangerous on
/// a terminal. Its keys must be strings.
pub(crate) fn line(event: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct JsonLine<'a, E> {
        time: String,
        #[serde(flatten)]
        event: &'a E,
    }
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    object(&JsonLine { time, event })
}

/// A value as a line, like [`line`] without the time.
pub(crate) fn object(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    let serialized = value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Escaping));
    debug_assert!(serialized.is_ok(), "a value of our own with string keys, into memory: {serialized:?}");
    line.push(b'\n');
    line
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
        let text = String::from_utf8(line(&serde_json::json!({ "text": hostile }))).unwrap();
        assert!(text.trim_end().chars().all(|c| !c.is_control() && !escape::is_dangerous(c)), "{text:?}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["text"], hostile);
        assert!(parsed["time"].as_str().unwrap().ends_with('Z'));
    }
}
