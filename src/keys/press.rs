//! A key, and pasted text as one.

use std::borrow::Cow;

/// The most bytes of a line, or of a paste.
pub(crate) const LONGEST: usize = 1024 * 1024;

/// A key, or other input in the form of one. Named keys become their editor commands: Enter is
/// Ctrl+M, Tab Ctrl+I, Backspace Ctrl+H, Left and Right are Ctrl+B and Ctrl+F, with Ctrl or Alt
/// they are Alt+B and Alt+F, and so on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyPress {
    Char(char),
    /// With the letter in lower case.
    Ctrl(char),
    Alt(char),
    Delete,
    Escape,
    /// Pasted text, and whether all of it was UTF-8.
    Pasted(String, bool),
    /// A paste that is longer than a line may be.
    #[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "only bytes of a terminal have it"))]
    TooLong,
    #[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "only bytes of a terminal have it"))]
    NotUtf8,
    /// The answer to a question for the position of the cursor (DSR 6): its column, from 0.
    #[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "only bytes of a terminal have it"))]
    CursorAt(usize),
    /// Ctrl+D in a terminal that edits lines itself, or the terminal has gone.
    EndOfInput,
}

impl KeyPress {
    pub(crate) fn pasted(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let is_whole = matches!(text, Cow::Borrowed(_));
        Self::Pasted(text.replace("\r\n", "\n").replace('\r', "\n"), is_whole)
    }
}
