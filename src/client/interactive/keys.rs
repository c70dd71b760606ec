//! Terminal input as keys.

use super::key_press::KeyPress;
use crate::stdio::StdStream;
use resound_console::escape;

/// Passes on the keys of each read until `take` returns false. The thread lives as long as the
/// process at most.
#[cfg(unix)]
pub(super) fn read(take: impl Fn(Vec<KeyPress>) -> bool) {
    use std::io::Read;
    let (mut parser, mut buffer) = (super::key_parser::KeyParser::default(), [0; 4096]);
    loop {
        let keys = match StdStream::Stdin.read(&mut buffer) {
            Ok(0) | Err(_) => vec![KeyPress::EndOfInput],
            Ok(n) => parser.feed(&buffer[..n]),
        };
        if !keys.is_empty() && !take(keys) {
            return;
        }
    }
}

/// The same for a terminal that edits lines itself.
pub(super) fn read_lines(take: impl Fn(Vec<KeyPress>) -> bool) {
    use std::io::BufRead;
    let mut stdin = std::io::BufReader::new(StdStream::Stdin);
    loop {
        let mut line = Vec::new();
        let keys = match stdin.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => vec![KeyPress::EndOfInput],
            Ok(_) => vec![KeyPress::pasted(escape::without_ending(&line)), KeyPress::Ctrl('m')],
        };
        if !take(keys) {
            return;
        }
    }
}

#[cfg(not(unix))]
pub(super) fn read(take: impl Fn(Vec<KeyPress>) -> bool) {
    use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
    loop {
        let key = match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                let (ctrl, alt) = (key.modifiers == KeyModifiers::CONTROL, key.modifiers == KeyModifiers::ALT);
                match key.code {
                    KeyCode::Char(c) if ctrl => KeyPress::Ctrl(c.to_ascii_lowercase()),
                    KeyCode::Char(c) if alt => KeyPress::Alt(c.to_ascii_lowercase()),
                    KeyCode::Char(c) => KeyPress::Char(c),
                    KeyCode::Enter => KeyPress::Ctrl('m'),
                    KeyCode::Tab => KeyPress::Ctrl('i'),
                    KeyCode::Backspace if alt => KeyPress::Alt('\x08'),
                    KeyCode::Backspace => KeyPress::Ctrl('h'),
                    KeyCode::Left if ctrl || alt => KeyPress::Alt('b'),
                    KeyCode::Right if ctrl || alt => KeyPress::Alt('f'),
                    KeyCode::Left => KeyPress::Ctrl('b'),
                    KeyCode::Right => KeyPress::Ctrl('f'),
                    KeyCode::Up => KeyPress::Ctrl('p'),
                    KeyCode::Down => KeyPress::Ctrl('n'),
                    KeyCode::Home => KeyPress::Ctrl('a'),
                    KeyCode::End => KeyPress::Ctrl('e'),
                    KeyCode::PageUp => KeyPress::Alt('<'),
                    KeyCode::PageDown => KeyPress::Alt('>'),
                    KeyCode::Delete => KeyPress::Delete,
                    _ => continue,
                }
            }
            // A resize is no key, but the window must be measured.
            Ok(Event::Resize(..)) if take(Vec::new()) => continue,
            Ok(Event::Resize(..)) => return,
            Ok(_) => continue,
            Err(_) => KeyPress::EndOfInput,
        };
        if !take(vec![key]) {
            return;
        }
    }
}
