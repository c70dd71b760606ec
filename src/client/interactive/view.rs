//! What comes from the server, as a person sees it: line by line, or as hexadecimal.

use std::fmt::Write;
use std::time::Duration;

use crate::colour::Colour;
use crate::{escape, units};

/// An endless line is shown in pieces of this size.
const PIECE: usize = 4096;
/// Bytes a line of the hexadecimal view.
const ROW: usize = 16;

/// Turns bytes into what stands on the screen.
pub(super) struct TextView {
    pub(super) hex: bool,
    /// Each reply says how long after the last send it came.
    timed: bool,
    colour: Colour,
    /// The beginning of a line whose end has not come.
    unended: Vec<u8>,
    /// How long after the last send it came.
    unended_after: Option<Duration>,
    sent: u64,
    received: u64,
}

impl TextView {
    pub(super) fn new(timed: bool, colour: Colour) -> Self {
        Self { hex: false, timed, colour, unended: Vec::new(), unended_after: None, sent: 0, received: 0 }
    }

    /// What is to be shown of bytes that were received, `after` the last send.
    pub(super) fn received(&mut self, bytes: &[u8], after: Option<Duration>) -> String {
        let offset = self.received;
        self.received += bytes.len() as u64;
        if self.hex {
            let mut text = self.rest();
            text += &dump("<-", offset, bytes, self.colour);
            return text;
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

    /// What is to be shown of bytes that are sent.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> String {
        let offset = self.sent;
        self.sent += bytes.len() as u64;
        if self.hex { dump("->", offset, bytes, self.colour) } else { String::new() }
    }

    /// Is the beginning of a line waiting for its end?
    pub(super) fn is_waiting(&self) -> bool {
        !self.unended.is_empty()
    }

    /// What has waited for its end long enough: it may be a prompt of the server's. A character that has begun waits on.
    pub(super) fn overdue(&mut self) -> String {
        let begun = self.unended.split_off(self.unended.len() - escape::unfinished(&self.unended));
        let text = self.rest();
        self.unended = begun;
        text
    }

    /// What is left when nothing more can come.
    pub(super) fn rest(&mut self) -> String {
        let mut text = String::new();
        let unended = std::mem::take(&mut self.unended);
        if !unended.is_empty() {
            self.show(&mut text, &unended);
        }
        text
    }

    /// The streams begin anew.
    pub(super) fn start_over(&mut self) {
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

/// Bytes as rows of hexadecimal, with their offset in the stream and its direction.
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
    fn lines_are_whole_however_they_come() {
        let text = "one\r\n\ntwo \x1b[2J\nthree".as_bytes();
        for cut in 0..=text.len() {
            let mut view = view();
            let shown = view.received(&text[..cut], None) + &view.received(&text[cut..], None) + &view.rest();
            assert_eq!(shown, "Server: one\nServer: \nServer: two \\x1b[2J\nServer: three\n", "cut at {cut}");
            assert!(!view.is_waiting());
        }
    }

    #[test]
    fn text_is_shown_as_it_is_and_characters_whole() {
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
    fn a_reply_says_when_it_came() {
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
        view.start_over();
        assert!(view.received(b"x", None).starts_with("<- 00000000 78 "));
    }
}
