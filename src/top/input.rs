//! The keys of a terminal.

use tokio::sync::mpsc;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopKey {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Backspace,
    Escape,
    /// Ctrl+C.
    Interrupt,
    /// Ctrl+Z.
    Suspend,
    /// Ctrl+L.
    Redraw,
    /// The terminal has gone.
    Gone,
}

/// Reads keys on a thread of its own, for as long as the process lives at most.
pub(super) fn keys() -> std::io::Result<mpsc::Receiver<TopKey>> {
    let (send, keys) = mpsc::channel(64);
    std::thread::Builder::new().name("resound-keys".into()).spawn(move || read(&send))?;
    Ok(keys)
}

/// The time in which the rest of a sequence follows an Esc that begins one.
#[cfg(unix)]
const REST: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The longest sequence that is waited for.
const SEQUENCE: usize = 64;

#[cfg(unix)]
fn read(send: &mpsc::Sender<TopKey>) {
    use std::io::Read;

    use rustix::event::{PollFd, PollFlags, poll};

    use crate::stdio::StdStream;

    let (mut bytes, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let mut keys = Vec::new();
        let stdin = rustix::stdio::stdin();
        let ends = !bytes.is_empty()
            && matches!(poll(&mut [PollFd::from_borrowed_fd(stdin, PollFlags::IN)], Some(&REST)), Ok(0));
        if !ends {
            match StdStream::Stdin.read(&mut part) {
                Ok(0) | Err(_) => keys.push(TopKey::Gone),
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
        }
        while let Some((key, length)) = next(&bytes, ends) {
            keys.extend(key);
            bytes.drain(..length);
        }
        for key in keys {
            if send.blocking_send(key).is_err() || key == TopKey::Gone {
                return;
            }
        }
    }
}

/// The first key, if it is one, and its length. `None` while more of it may follow.
#[cfg_attr(windows, allow(dead_code))]
fn next(bytes: &[u8], is_end: bool) -> Option<(Option<TopKey>, usize)> {
    match *bytes.first()? {
        0x1b => escaped(bytes, is_end),
        byte if byte.is_ascii() => Some((control(byte), 1)),
        _ => {
            let chunk = bytes.utf8_chunks().next()?;
            match chunk.valid().chars().next() {
                Some(c) => Some((Some(TopKey::Char(c)), c.len_utf8())),
                None if resound_console::escape::unfinished(bytes) == bytes.len() && !is_end => None,
                None => Some((None, chunk.invalid().len())),
            }
        }
    }
}

fn control(byte: u8) -> Option<TopKey> {
    Some(match byte {
        b'\r' | b'\n' => TopKey::Enter,
        0x7f | 0x08 => TopKey::Backspace,
        0x03 => TopKey::Interrupt,
        0x1a => TopKey::Suspend,
        0x0c => TopKey::Redraw,
        b' '..=b'~' => TopKey::Char(byte.into()),
        _ => return None,
    })
}

fn escaped(bytes: &[u8], is_end: bool) -> Option<(Option<TopKey>, usize)> {
    let rest = &bytes[1..];
    match rest.first() {
        None if is_end => Some((Some(TopKey::Escape), 1)),
        None => None,
        // Esc before a key.
        Some(0x1b) => Some((Some(TopKey::Escape), 1)),
        Some(b'O') if rest.len() > 1 => Some((named(b"", rest[1]), 3)),
        Some(b'[') => match rest[1..].iter().position(|byte| !matches!(byte, b' '..=b'?')) {
            Some(at) => Some((named(&rest[1..=at], rest[1 + at]), at + 3)),
            None => (is_end || bytes.len() > SEQUENCE).then_some((None, bytes.len())),
        },
        Some(b'O') => is_end.then_some((None, bytes.len())),
        // With Alt.
        Some(_) => Some((None, 2)),
    }
}

/// The key of a sequence (ECMA-48): its parameters and its last byte.
fn named(parameters: &[u8], last: u8) -> Option<TopKey> {
    Some(match (last, parameters) {
        (b'A', _) => TopKey::Up,
        (b'B', _) => TopKey::Down,
        (b'C', _) => TopKey::Right,
        (b'D', _) => TopKey::Left,
        (b'H', _) | (b'~', b"1" | b"7") => TopKey::Home,
        (b'F', _) | (b'~', b"4" | b"8") => TopKey::End,
        (b'~', b"5") => TopKey::PageUp,
        (b'~', b"6") => TopKey::PageDown,
        _ => return None,
    })
}

#[cfg(not(unix))]
fn read(send: &mpsc::Sender<TopKey>) {
    use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
    loop {
        let key = match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                let ctrl = key.modifiers == KeyModifiers::CONTROL;
                match key.code {
                    KeyCode::Char('c') if ctrl => TopKey::Interrupt,
                    KeyCode::Char('l') if ctrl => TopKey::Redraw,
                    KeyCode::Char(_) if ctrl => continue,
                    KeyCode::Char(c) => TopKey::Char(c),
                    KeyCode::Up => TopKey::Up,
                    KeyCode::Down => TopKey::Down,
                    KeyCode::Left => TopKey::Left,
                    KeyCode::Right => TopKey::Right,
                    KeyCode::PageUp => TopKey::PageUp,
                    KeyCode::PageDown => TopKey::PageDown,
                    KeyCode::Home => TopKey::Home,
                    KeyCode::End => TopKey::End,
                    KeyCode::Enter => TopKey::Enter,
                    KeyCode::Backspace => TopKey::Backspace,
                    KeyCode::Esc => TopKey::Escape,
                    _ => continue,
                }
            }
            Ok(Event::Resize(..)) => TopKey::Redraw,
            Ok(_) => continue,
            Err(_) => TopKey::Gone,
        };
        if send.blocking_send(key).is_err() || key == TopKey::Gone {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of some reads, after the last of which nothing follows.
    fn keys(reads: &[&[u8]]) -> Vec<TopKey> {
        let (mut bytes, mut keys) = (Vec::new(), Vec::new());
        for (at, part) in reads.iter().enumerate() {
            bytes.extend_from_slice(part);
            for is_end in [false, at + 1 == reads.len()] {
                while let Some((key, length)) = next(&bytes, is_end) {
                    keys.extend(key);
                    bytes.drain(..length);
                }
            }
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        keys
    }

    #[test]
    fn keys_are_the_same_at_any_split() {
        use TopKey::*;
        let text =
            "a\u{20ac}\x1b[A\x1bOB\x1b[C\x1b[1;5D\x1b[5~\x1b[6~\x1b[H\x1b[4~\r\x7f\x03\x1a\x0c\x1bx\x1b[200~\x01q";
        let want = [
            Char('a'),
            Char('\u{20ac}'),
            Up,
            Down,
            Right,
            Left,
            PageUp,
            PageDown,
            Home,
            End,
            Enter,
            Backspace,
            Interrupt,
            Suspend,
            Redraw,
            Char('q'),
        ];
        assert_eq!(keys(&[text.as_bytes()]), want);
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(keys(&bytes), want);
    }

    #[test]
    fn an_esc_is_a_key_if_nothing_follows() {
        assert_eq!(keys(&[b"\x1b"]), [TopKey::Escape]);
        assert_eq!(keys(&[b"\x1b", b"\x1b[A"]), [TopKey::Escape, TopKey::Up]);
        assert_eq!(keys(&[b"\x1b["]), []);
        assert_eq!(keys(&[b"\xff\xe2"]), []);
        let mut long = b"\x1b[".to_vec();
        long.extend([b'1'; 1000]);
        assert_eq!(next(&long, false), Some((None, long.len())));
    }
}
