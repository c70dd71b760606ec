//! The keys of `resound top`.

use tokio::sync::mpsc;

use crate::keys::{self, KeyPress};

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
    let take = move |pressed: Vec<KeyPress>| {
        // A read without a key is one of a window that has changed.
        let redraw = pressed.is_empty().then_some(TopKey::Redraw);
        let mut keys = pressed.iter().filter_map(named).chain(redraw);
        keys.all(|key| send.blocking_send(key).is_ok() && key != TopKey::Gone)
    };
    std::thread::Builder::new().name("resound-keys".into()).spawn(move || keys::read(true, take))?;
    Ok(keys)
}

/// The meaning of a key, if it has one here.
fn named(key: &KeyPress) -> Option<TopKey> {
    Some(match key {
        KeyPress::Char(c) => TopKey::Char(*c),
        KeyPress::Ctrl('p') => TopKey::Up,
        KeyPress::Ctrl('n') => TopKey::Down,
        KeyPress::Ctrl('b') | KeyPress::Alt('b') => TopKey::Left,
        KeyPress::Ctrl('f') | KeyPress::Alt('f') => TopKey::Right,
        KeyPress::Ctrl('a') => TopKey::Home,
        KeyPress::Ctrl('e') => TopKey::End,
        KeyPress::Alt('<') => TopKey::PageUp,
        KeyPress::Alt('>') => TopKey::PageDown,
        KeyPress::Ctrl('m' | 'j') => TopKey::Enter,
        KeyPress::Ctrl('h') => TopKey::Backspace,
        KeyPress::Escape => TopKey::Escape,
        KeyPress::Ctrl('c') => TopKey::Interrupt,
        KeyPress::Ctrl('z') if cfg!(unix) => TopKey::Suspend,
        KeyPress::Ctrl('l') => TopKey::Redraw,
        KeyPress::EndOfInput => TopKey::Gone,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_a_terminal_has_its_meaning() {
        use TopKey::*;
        let text = "a\u{20ac}\x1b[A\x1bOB\x1b[C\x1b[1;5D\x1b[5~\x1b[6~\x1b[H\x1b[4~\r\n\x7f\x03\x1a\x0c\x1bx\x01q";
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
            Enter,
            Backspace,
            Interrupt,
            Suspend,
            Redraw,
            Home,
            Char('q'),
        ];
        let keys: Vec<_> = keys::parsed(text.as_bytes()).iter().filter_map(named).collect();
        // Only Unix has job control.
        let want: Vec<_> = want.into_iter().filter(|key| cfg!(unix) || *key != Suspend).collect();
        assert_eq!(keys, want);
        assert_eq!((named(&KeyPress::Escape), named(&KeyPress::EndOfInput)), (Some(Escape), Some(Gone)));
    }
}
