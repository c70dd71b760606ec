//! What can be wrong with a PROXY header.

use std::fmt;

/// Why bytes are no valid PROXY header, as HAProxy's `proxy-protocol.txt` defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The bytes begin as neither version does.
    #[error("there is none")]
    Absent,
    /// Version 1: no CRLF within 107 bytes, the longest that a line can be.
    #[error("its line is longer than 107 bytes")]
    LineTooLong,
    /// Version 1: the line ends with a bare newline.
    #[error("its line does not end with CR LF")]
    LineEnding,
    /// Version 1: not one of `TCP4`, `TCP6` and `UNKNOWN`.
    #[error("its family is none of TCP4, TCP6 and UNKNOWN")]
    Protocol,
    /// Version 1: not two addresses and two ports, with one space before each.
    #[error("it does not have two addresses and two ports, each behind one space")]
    Fields,
    /// Version 1: an address that is none of the family.
    #[error("one of its addresses is none of its family")]
    Address,
    /// Version 1: a port that is no number from 0 to 65535 without leading zeros.
    #[error("one of its ports is no number from 0 to 65535")]
    Port,
    /// A version behind the binary signature that is not 2.
    #[error("its version is {0}, not 2")]
    Version(u8),
    /// Version 2: neither LOCAL (0) nor PROXY (1).
    #[error("its command is {0}, neither LOCAL nor PROXY")]
    Command(u8),
    /// Version 2: a family and transport that the specification does not assign.
    #[error("its family and transport are 0x{0:02x}, which is not assigned")]
    Family(u8),
    /// Version 2: longer than this end accepts.
    #[error("it is {0} bytes long, more than the 4096 that are accepted")]
    TooLong(u16),
    /// Version 2: too short for the addresses of its family.
    #[error("it is too short for its addresses")]
    TooShort,
    /// Version 2: a TLV, or one within it, that does not end where it should.
    #[error("a value in it (TLV 0x{0:02x}) does not end where it should")]
    Tlv(u8),
    /// Version 2: the checksum (CRC32C) is not that of the header.
    #[error("its checksum is wrong")]
    Checksum,
    /// Version 2: a unique id of more than 128 bytes.
    #[error("its unique id is longer than 128 bytes")]
    UniqueId,
}

/// What came where a PROXY header should have, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DetectedProtocol {
    /// A TLS handshake, or another record of TLS.
    Tls,
    /// An HTTP request.
    Http,
    /// Other text.
    Text,
    /// Something else.
    Binary,
}

impl DetectedProtocol {
    /// What these bytes, the first of a connection, look like.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 9] =
            [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"PRI * HTTP/2"];
        match bytes {
            // A record of the handshake protocol (RFC 8446, 5.1), or of another, or a hello in the
            // form of SSL 2.0 (RFC 5246, E.2).
            [0x16] | [0x14..=0x18, 3, ..] | [0x80..=0xbf, _, 1, 3, ..] => Self::Tls,
            _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Self::Http,
            _ if bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => Self::Text,
            _ => Self::Binary,
        }
    }
}

impl fmt::Display for DetectedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "a TLS handshake",
            Self::Http => "an HTTP request",
            Self::Text => "text",
            Self::Binary => "something that is no text",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_instead_is_named() {
        let cases: [(&[u8], DetectedProtocol); 10] = [
            (b"GET / HTTP/1.1\r\n", DetectedProtocol::Http),
            (b"G", DetectedProtocol::Text),
            (b"hello\n", DetectedProtocol::Text),
            (b"\x16\x03\x01\x02\x00", DetectedProtocol::Tls),
            (b"\x16", DetectedProtocol::Tls),
            (b"\x15\x03\x01\0\x02\x02\x28", DetectedProtocol::Tls),
            (b"\x80\x2e\x01\x03\x01", DetectedProtocol::Tls),
            (b"\x80\x2e\x02\x03\x01", DetectedProtocol::Binary),
            (b"\x16\x04", DetectedProtocol::Binary),
            (b"\0\0", DetectedProtocol::Binary),
        ];
        for (bytes, want) in cases {
            assert_eq!(DetectedProtocol::of(bytes), want, "{bytes:?}");
        }
    }
}
