//! [`FirstBytes`]: does a client speak TLS at all?

/// What the first bytes of a client say of it. What might be TLS is rustls's to judge, which
/// answers with an alert; what cannot be gets a hint in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// More must come.
    Undecided,
    /// A record of TLS, well-formed or not, or a hello in the form of SSL 2.0.
    Tls,
    /// Neither.
    Plain,
}

impl FirstBytes {
    /// So many bytes decide it, whatever they are.
    pub(super) const ENOUGH: usize = 3;

    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Undecided,
            // The type of a record: change_cipher_spec to heartbeat (RFC 8446, 5.1, and RFC 6520).
            // No text begins with any of these, and the version behind the type is "to be ignored
            // for all purposes".
            [20..=24, ..] => Self::Tls,
            // A length of two bytes, its highest bit set, and then the message's type: client_hello
            // (RFC 5246, E.2). Longer ones than 16 KiB were never sent, and no text in UTF-8 begins
            // like this.
            [0x80..=0xbf] | [0x80..=0xbf, _] => Self::Undecided,
            [0x80..=0xbf, _, 1, ..] => Self::Tls,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_might_be_tls_is_told_from_what_cannot_be() {
        let (tls, plain, undecided) = (FirstBytes::Tls, FirstBytes::Plain, FirstBytes::Undecided);
        let cases: [(&[u8], FirstBytes); 16] = [
            (b"", undecided),
            (b"\x16", tls),
            (b"\x14\x03\x03\0\x01\x01", tls),
            (b"\x15\x03\x01\0\x02\x02\x28", tls),
            (b"\x17\x03\x03\0\x05hello", tls),
            (b"\x18\x03\x02\0\x03\x01\x40\0", tls),
            (b"\x80", undecided),
            (b"\x80\x2e", undecided),
            (b"\x80\x2e\x01", tls),
            (b"\x81\x03\x01\x03\x01", tls),
            (b"\x80\x2e\x02", plain),
            (b"hello", plain),
            (b"\x13", plain),
            (b"\x19\x03\x03", plain),
            ("é".as_bytes(), plain),
            (b"\0", plain),
        ];
        for (bytes, want) in cases {
            assert_eq!(FirstBytes::of(bytes), want, "{}", bytes.escape_ascii());
            if FirstBytes::of(bytes) != undecided {
                // However it is split, the first answer that is one is the answer.
                let first = (0..bytes.len()).map(|n| FirstBytes::of(&bytes[..n])).find(|answer| *answer != undecided);
                assert!(first.is_none_or(|first| first == want), "{}", bytes.escape_ascii());
            }
        }
    }
}
