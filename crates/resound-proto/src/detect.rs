//! [`detect_protocol`]: which protocol a peer uses, by its first bytes.

use std::fmt;

/// What the first bytes of a peer look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DetectedProtocol {
    /// A record of TLS, well-formed or not, or a hello in the form of SSL 2.0.
    Tls,
    /// An HTTP request, or a web server's answer.
    Http,
    /// Other text.
    Text,
    /// Something else.
    Binary,
}

/// The protocol that these bytes, the first of a peer, belong to. `None` where more must come
/// before TLS is ruled out or not; [`DETECTION_BYTES`] are enough for that. Later bytes never
/// change whether it is TLS, but text may turn out to be HTTP or binary.
#[must_use]
pub fn detect_protocol(bytes: &[u8]) -> Option<DetectedProtocol> {
    Some(match bytes {
        [] => return None,
        // The type of a record: change_cipher_spec to heartbeat (RFC 8446, 5.1, and RFC 6520). No
        // text begins with any of these, and the version after the type is "to be ignored for all
        // purposes".
        [20..=24, ..] => DetectedProtocol::Tls,
        // A length of two bytes, its highest bit set, and then the message's type: client_hello
        // (RFC 5246, E.2). Longer ones than 16 KiB were never sent, and no text in UTF-8 begins
        // like this.
        [0x80..=0xbf] | [0x80..=0xbf, _] => return None,
        [0x80..=0xbf, _, 1, ..] => DetectedProtocol::Tls,
        _ if is_http(bytes) => DetectedProtocol::Http,
        _ if bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => DetectedProtocol::Text,
        _ => DetectedProtocol::Binary,
    })
}

/// Number of bytes that decide whether a peer uses TLS.
pub const DETECTION_BYTES: usize = 3;

fn is_http(bytes: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"PRI * HTTP/2"];
    // A status line, or the page of a server that answers a malformed request as HTTP 0.9 does.
    const ANSWERS: [&[u8]; 3] = [b"HTTP/", b"<!DOCTYPE", b"<HTML"];
    let begins_with = |answer: &&[u8]| bytes.get(..answer.len()).is_some_and(|b| b.eq_ignore_ascii_case(answer));
    METHODS.iter().any(|method| bytes.starts_with(method)) || ANSWERS.iter().any(begins_with)
}

impl fmt::Display for DetectedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "a TLS handshake",
            Self::Http => "an HTTP request",
            Self::Text => "text",
            Self::Binary => "binary data",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::DetectedProtocol::{Binary, Http, Text, Tls};
    use super::*;

    #[test]
    fn the_first_bytes_name_the_protocol() {
        let cases: [(&[u8], Option<DetectedProtocol>); 27] = [
            (b"", None),
            (b"\x16", Some(Tls)),
            (b"\x16\x03\x01\x02\x00", Some(Tls)),
            (b"\x16\x04", Some(Tls)),
            (b"\x14\x03\x03\0\x01\x01", Some(Tls)),
            (b"\x15\x03\x01\0\x02\x02\x28", Some(Tls)),
            (b"\x17\x03\x03\0\x05hello", Some(Tls)),
            (b"\x18\x03\x02\0\x03\x01\x40\0", Some(Tls)),
            (b"\x80", None),
            (b"\x80\x2e", None),
            (b"\x80\x2e\x01", Some(Tls)),
            (b"\x81\x03\x01\x03\x01", Some(Tls)),
            (b"\x80\x2e\x02\x03\x01", Some(Binary)),
            (b"\x13", Some(Binary)),
            (b"\x19\x03\x03", Some(Binary)),
            ("é".as_bytes(), Some(Binary)),
            (b"\0\0", Some(Binary)),
            (b"GET / HTTP/1.1\r\n", Some(Http)),
            (b"PRI * HTTP/2.0\r\n", Some(Http)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Http)),
            (b"<!doctype html>\n", Some(Http)),
            (b"<Html>", Some(Http)),
            (b"G", Some(Text)),
            (b"HTT", Some(Text)),
            (b"get it\n", Some(Text)),
            (b"hello\n", Some(Text)),
            (b"220 mail.example ESMTP\r\n", Some(Text)),
        ];
        for (bytes, want) in cases {
            assert_eq!(detect_protocol(bytes), want, "{}", bytes.escape_ascii());
            // However the bytes are split, the first answer on TLS is the last.
            for n in 0..bytes.len() {
                let (part, is_tls) = (detect_protocol(&bytes[..n]), want == Some(Tls));
                assert!(part.is_none_or(|part| (part == Tls) == is_tls), "{} of {}", n, bytes.escape_ascii());
                assert!(part.is_some() || n < DETECTION_BYTES, "{} of {}", n, bytes.escape_ascii());
            }
        }
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH"] {
            let is_http = |text: String| detect_protocol(text.as_bytes()) == Some(Http);
            assert!(is_http(format!("{method} / HTTP/1.1\r\n")), "{method}");
            assert!(!is_http(format!("{method}TING\n")), "{method}TING");
        }
    }
}
