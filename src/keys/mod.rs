//! The keys of a terminal, for the conversation of a client and for `resound top`.

// Windows reports keys, and no bytes. The parser's tests run there too.
#[cfg(any(unix, test))]
mod parser;
mod press;

use resound_console::escape;

pub(crate) use self::press::{KeyPress, LONGEST};
use crate::stdio::StdStream;

/// The time in which the rest of a sequence follows the Esc that begins it, where Esc is a key.
#[cfg(unix)]
const REST: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Passes on the keys of each read until `take` returns false. The thread lives as long as the
/// process at most. Where `with_escape` holds, Esc is a key; otherwise a sequence may come in
/// pieces, as slowly as its terminal sends it.
#[cfg(unix)]
pub(crate) fn read(with_escape: bool, take: impl Fn(Vec<KeyPress>) -> bool) {
    use std::io::Read;

    use rustix::event::{PollFd, PollFlags, poll};

    let parser = if with_escape { parser::KeyParser::with_escape() } else { parser::KeyParser::default() };
    let (mut parser, mut buffer) = (parser, [0; 4096]);
    loop {
        let stdin = rustix::stdio::stdin();
        let ends = with_escape
            && parser.is_within_sequence()
            && matches!(poll(&mut [PollFd::from_borrowed_fd(stdin, PollFlags::IN)], Some(&REST)), Ok(0));
        let keys = match ends {
            true => parser.end_sequence(),
            false => match StdStream::Stdin.read(&mut buffer) {
                Ok(0) | Err(_) => vec![KeyPress::EndOfInput],
                Ok(n) => parser.feed(&buffer[..n]),
            },
        };
        if !keys.is_empty() && !take(keys) {
            return;
        }
    }
}

/// The same for a terminal that edits lines itself.
pub(crate) fn read_lines(take: impl Fn(Vec<KeyPress>) -> bool) {
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
pub(crate) fn read(_with_escape: bool, take: impl Fn(Vec<KeyPress>) -> bool) {
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
                    KeyCode::Esc => KeyPress::Escape,
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

#[cfg(test)]
pub(crate) fn parsed(bytes: &[u8]) -> Vec<KeyPress> {
    parser::KeyParser::with_escape().feed(bytes)
}
