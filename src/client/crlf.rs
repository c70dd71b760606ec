//! [`Crlf`]: `--crlf`.

/// Ends lines with CR LF, wherever the chunks end.
#[derive(Default)]
pub(super) struct Crlf {
    /// Did the last chunk end with a CR?
    after_cr: bool,
}

impl Crlf {
    /// The bytes with a CR before each LF that has none.
    pub(super) fn convert(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut converted = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        let mut copied = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            let before = at.checked_sub(1).map_or(self.after_cr, |before| bytes[before] == b'\r');
            converted.extend_from_slice(&bytes[copied..at]);
            converted.extend_from_slice(if before { b"\n" } else { b"\r\n" });
            copied = at + 1;
        }
        converted.extend_from_slice(&bytes[copied..]);
        self.after_cr = bytes.last().map_or(self.after_cr, |&byte| byte == b'\r');
        converted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_cr_lf_once_wherever_the_chunks_end() {
        let text = b"a\nb\r\n\r\n\n\rc\r";
        let want = b"a\r\nb\r\n\r\n\r\n\rc\r";
        for cut in 0..=text.len() {
            let mut crlf = Crlf::default();
            let (first, second) = text.split_at(cut);
            assert_eq!([crlf.convert(first), crlf.convert(second)].concat(), want, "cut at {cut}");
        }
    }
}
