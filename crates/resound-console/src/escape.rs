//! Escapes untrusted bytes for a terminal or a log: bytes that could move the cursor, ring the
//! bell, reverse the writing direction or start a new line.

/// Appends `bytes` to `to`: printable text unchanged, everything else escaped (`\n`, `\x1b`,
/// `\u{202e}`), backslashes too, so that no text looks like an escape.
pub fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    append_with(to, bytes, b"\\\\");
}

/// As [`append`], but with backslashes and tabs unchanged: for reading the text rather than its
/// bytes.
pub fn append_plain(to: &mut Vec<u8>, bytes: &[u8]) {
    for (at, cell) in bytes.split(|&byte| byte == b'\t').enumerate() {
        if at > 0 {
            to.push(b'\t');
        }
        append_with(to, cell, b"\\");
    }
}

/// As [`append_plain`], as a string.
pub fn plain(bytes: &[u8]) -> String {
    string(append_plain, bytes)
}

/// A word as a shell takes it: quoted where it must be, with control characters escaped.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", plain(word.as_bytes()).replace('\'', "'\\''")),
    }
}

fn string(append: fn(&mut Vec<u8>, &[u8]), bytes: &[u8]) -> String {
    let mut escaped = Vec::with_capacity(bytes.len());
    append(&mut escaped, bytes);
    String::from_utf8_lossy(&escaped).into_owned()
}

/// The length of an incomplete UTF-8 character at the end.
pub fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    let Some(start) = bytes[bytes.len() - longest..].iter().rposition(|&byte| byte >= 0xc0) else { return 0 };
    let character = &bytes[bytes.len() - longest + start..];
    match std::str::from_utf8(character) {
        Err(error) if error.error_len().is_none() => character.len(),
        _ => 0,
    }
}

fn append_with(to: &mut Vec<u8>, bytes: &[u8], backslash: &[u8]) {
    if bytes.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'\\') {
        return to.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => to.extend_from_slice(backslash),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '\t' => to.extend_from_slice(b"\\t"),
                c if c.is_ascii_control() => hex(to, c as u8),
                c if is_dangerous(c) => to.extend_from_slice(format!("\\u{{{:x}}}", c as u32).as_bytes()),
                c => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            hex(to, byte);
        }
    }
}

/// As [`append`], as a string.
pub fn text(bytes: &[u8]) -> String {
    string(append, bytes)
}

/// C1 controls, bidirectional controls, line and paragraph separators, and invisible characters.
pub fn is_dangerous(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The line without its ending.
pub fn without_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn hex(to: &mut Vec<u8>, byte: u8) {
    to.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases: [(&[u8], &str); 10] = [
            (b"Hello, server!", "Hello, server!"),
            ("Gr\u{fc}\u{df}e \u{4e16}\u{1f30d}".as_bytes(), "Gr\u{fc}\u{df}e \u{4e16}\u{1f30d}"),
            (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            (b"a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
            (b"back\\slash", "back\\\\slash"),
            (b"\x7f", "\\x7f"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("\u{202e}evil\u{2028}".as_bytes(), "\\u{202e}evil\\u{2028}"),
            (b"ok\xff\xfe", "ok\\xff\\xfe"),
            (b"", ""),
        ];
        for (bytes, want) in cases {
            assert_eq!(text(bytes), want);
        }
    }

    #[test]
    fn an_incomplete_character_is_measured() {
        let cases: [(&[u8], usize); 9] = [
            (b"", 0),
            (b"a", 0),
            (b"a\xc3", 1),
            (b"\xe5\x8d", 2),
            (b"\xe5\x8d\x8a", 0),
            (b"x\xf0\x9f\x8c", 3),
            (b"\xff", 0),
            (b"\xc3x", 0),
            (b"\x80\x80\x80\x80", 0),
        ];
        for (bytes, want) in cases {
            assert_eq!(unfinished(bytes), want, "{bytes:x?}");
        }
    }

    #[test]
    fn no_dangerous_character_passes() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = text(c.to_string().as_bytes());
            assert!(shown.chars().all(|c| !c.is_control() && !is_dangerous(c)), "{:x}", c as u32);
            let shown = plain(c.to_string().as_bytes());
            assert!(shown.chars().all(|c| c == '\t' || !c.is_control() && !is_dangerous(c)), "{:x}", c as u32);
        }
    }
}
