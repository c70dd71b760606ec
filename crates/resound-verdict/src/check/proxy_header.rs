//! A proxy that sends a PROXY header to a server that does not expect one.

use super::CheckId;
use crate::report::{CheckReport, CheckVerdict, PathDirection};

/// Bytes in which a header begins, with what a server says before each line of it.
const BEFORE: usize = 80;

/// Whether a server has answered a PROXY header as if it were a message.
pub(crate) fn is_proxy_header(words: &[u8]) -> bool {
    let has = |words: &[u8], text: &[u8]| words.windows(text.len()).any(|piece| piece == text);
    // At the beginning of what a server has echoed, or after the first words of its answer.
    let start = &words[..words.len().min(BEFORE)];
    let v1 = ["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN\r", "PROXY UNKNOWN\n"];
    // Version 2 begins with empty lines, a zero byte, and this.
    let zero = words.iter().position(|&byte| byte == 0);
    let v2 = zero.is_some_and(|at| has(&words[at..words.len().min(at + BEFORE)], b"QUIT"));
    v1.iter().any(|text| has(start, text.as_bytes())) || (v2 && has(start, b"\n"))
}

/// The report of a proxy whose header the server takes for a message.
pub(crate) fn unexpected() -> CheckReport {
    let what = "the server answers a PROXY header that the path puts before the first byte";
    CheckReport::new(CheckId::Integrity, CheckVerdict::Fail, what).towards(PathDirection::Out).suspects(
        "a proxy that sends a PROXY header (HAProxy's `send-proxy`, nginx's `proxy_protocol on`) to a server \
                   that does not expect one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_versions_are_known_in_an_answer() {
        assert!(is_proxy_header(b"Server received: PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"));
        assert!(is_proxy_header(b"\r\n\r\n\0\r\nQUIT\n!\x11"));
        assert!(is_proxy_header(b"Server received: \nServer received: \nServer received: \0\nServer received: QUIT\n"));
        assert!(!is_proxy_header(b"220 ready, QUIT leaves\r\n") && !is_proxy_header(b"SSH-2.0-OpenSSH_9.2\r\n"));
    }
}
