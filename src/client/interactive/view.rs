//! Received bytes as the user sees them: line by line, or in hexadecimal.

use std::fmt::Write;
use std::time::Duration;

use resound_console::escape;

use crate::colour::Colour;
use crate::units;

/// The view shows an endless line in pieces of this size.
const PIECE: usize = 4096;
/// Bytes in one row of hexadecimal.
const ROW: usize = 16;

/// Turns bytes into text for the screen.
pub(super) struct TextView {
    pub(super) hex: bool,
    /// Each reply shows the time since the last send.
    timed: bool,
    colour: Colour,
    /// The start of a line without its end.
    unended: Vec<u8>,
    /// The time between the last send and the start of that line.
    unended_after: Option<Duration>,
    sent: u64,
    received: u64,
}

impl TextView {
    pub(super) fn new(timed: bool, colour: Colour) -> Self {
        Self { hex: false, timed, colour, unended: Vec::new(), unended_after: None, sent: 0, received: 0 }
    }

    /// The text for received bytes, `after` the last send.
    pub(super) fn received(&mut self, bytes: &[u8], after: Option<Duration>) -> String {
        let offset = self.received;
        self.received += bytes.len() as u64;
        if self.hex {
            return self.rest() + &dump("<-", offset, bytes, self.colour);
        }
        self.unended_after = after;
        self.unended.extend_from_slice(bytes);
        let mut text = String::new();
        let whole = memchr::memrchr(b'\n', &self.unended).map_or(0, |newline| newline + 1);
        let unended = self.unended.split_off(whole);
        for line in std::mem::replace(&mut self.unended, unended).split_inclusive(|&byte| byte == b'\n') {
            self.show(&mut text, line);
        }
        while self.unended.len() > PIECE {
            let whole = PIECE - escape::unfinished(&self.unended[..PIECE]);
            let piece: Vec<u8> = self.unended.drain(..whole).collect();
            self.show(&mut text, &piece);
        }
        text
    }

    /// The text for sent bytes.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> String {
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        if self.hex { dump("->", offset, bytes, self.colour) } else { String::new() }
    }

    /// Does a line wait for its end?
    pub(super) fn is_waiting(&self) -> bool {
        !self.unended.is_empty()
    }

    /// The text of a line that waited long enough for its end: it may be a prompt. An incomplete
    /// character waits on.
    pub(super) fn overdue(&mut self) -> String {
        let begun = self.unended.split_off(self.unended.len() - escape::unfinished(&self.unended));
        let text = self.rest();
        self.unended = begun;
        text
    }

    /// The rest, at the end of the connection.
    pub(super) fn rest(&mut self) -> String {
        let mut text = String::new();
        let unended = std::mem::take(&mut self.unended);
        if !unended.is_empty() {
            self.show(&mut text, &unended);
        }
        text
    }

    /// Restarts the offsets, for a new connection.
    pub(super) fn reset_offsets(&mut self) {
        (self.sent, self.received) = (0, 0);
    }

    fn show(&self, text: &mut String, line: &[u8]) {
        let label = match self.unended_after.filter(|_| self.timed) {
            Some(after) => format!("Server (+{}):", units::elapsed(after)),
            None => "Server:".into(),
        };
        let line = escape::plain(escape::without_ending(line));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {line}", self.colour.label(&label));
    }
}

/// Bytes as rows of hexadecimal, with their direction and their offset in the stream.
fn dump(direction: &str, offset: u64, bytes: &[u8], colour: Colour) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(ROW) * 80);
    for (row, bytes) in bytes.chunks(ROW).enumerate() {
        let offset = offset + (row * ROW) as u64;
        let mut cells = String::with_capacity(3 * ROW + 1);
        for (at, byte) in bytes.iter().enumerate() {
            let gap = if at == ROW / 2 { " " } else { "" };
            let _ = write!(cells, "{gap} {byte:02x}");
        }
        let shown: String =
            bytes.iter().map(|&byte| if matches!(byte, b' '..=b'~') { byte as char } else { '.' }).collect();
        let _ = writeln!(
            text,
            "{}{cells:<width$} |{shown}|",
            colour.label(&format!("{direction} {offset:08x}")),
            width = 3 * ROW + 1
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> TextView {
        TextView::new(false, Colour::never())
    }

    #[test]
    fn lines_are_whole_at_any_chunking() {
        let text = "one\r\n\ntwo \x1b[2J\nthree".as_bytes();
        for cut in 0..=text.len() {
            let mut view = view();
            let shown = view.received(&text[..cut], None) + &view.received(&text[cut..], None) + &view.rest();
            assert_eq!(shown, "Server: one\nServer: \nServer: two \\x1b[2J\nServer: three\n", "cut at {cut}");
            assert!(!view.is_waiting());
        }
    }

    #[test]
    fn text_is_shown_unchanged_and_characters_whole() {
        let mut view = view();
        assert_eq!(view.received(b"C:\\dir\tx\n", None), "Server: C:\\dir\tx\n");
        assert_eq!(view.received("caf\u{e9}".as_bytes().split_at(4).0, None), "");
        assert_eq!(view.overdue(), "Server: caf\n");
        assert_eq!(view.received(b"\xa9\n", None), "Server: \u{e9}\n");
        let long = "\u{4e16}".repeat(PIECE);
        let shown = view.received(long.as_bytes(), None) + &view.rest();
        assert!(!shown.contains("\\x"), "no character is cut");
    }

    #[test]
    fn an_endless_line_is_shown_in_pieces() {
        let mut view = view();
        let shown = view.received(&vec![b'x'; 3 * PIECE + 1], None);
        assert_eq!(shown.lines().count(), 3);
        assert_eq!(view.rest(), "Server: x\n");
    }

    #[test]
    fn a_reply_shows_its_delay() {
        let mut view = TextView::new(true, Colour::never());
        assert_eq!(view.received(b"hi\n", Some(Duration::from_micros(312))), "Server (+312 us): hi\n");
        assert_eq!(view.received(b"hi\n", None), "Server: hi\n");
    }

    #[test]
    fn hexadecimal_has_offsets_and_directions() {
        let mut view = view();
        assert_eq!(view.sent(b"not shown"), "");
        view.hex = true;
        assert_eq!(view.sent(b"Hi\n"), "-> 00000009 48 69 0a                                         |Hi.|\n");
        let want = "<- 00000000 00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f |................|\n\
                    <- 00000010 10                                               |.|\n";
        assert_eq!(view.received(&(0..=16).collect::<Vec<u8>>(), None), want);
        view.reset_offsets();
        assert!(view.received(b"x", None).starts_with("<- 00000000 78 "));
    }
}
