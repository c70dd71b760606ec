//! [`RecordScanner`]: what the bytes of a TLS connection are, as far as their clear part tells.

/// Reads the heads of TLS records (RFC 8446, 5.1) in one direction, however the calls cut them.
#[derive(Default)]
pub(super) struct RecordScanner {
    head: Vec<u8>,
    /// Bytes of the current record after its head.
    rest: usize,
    /// Handshake messages are encrypted from here on.
    is_encrypted: bool,
    /// The bytes are not TLS.
    is_lost: bool,
}

/// Of a record, and the first byte after its head, which names a handshake message.
const HEAD: usize = 5;

impl RecordScanner {
    /// The records that begin in these bytes.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Vec<&'static str> {
        let mut found = Vec::new();
        while !bytes.is_empty() && !self.is_lost {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (HEAD + 1 - self.head.len()).min(bytes.len());
            if self.rest > 0 || wanted == 0 {
                break;
            }
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [kind, 3, _, high, low, first] = self.head[..] {
                // The first byte after the head is part of the record.
                self.rest = usize::from(u16::from_be_bytes([high, low])).saturating_sub(1);
                found.push(self.name(kind, first));
                self.head.clear();
            } else if self.head.len() > HEAD {
                self.is_lost = true;
            }
        }
        found
    }

    fn name(&mut self, kind: u8, first: u8) -> &'static str {
        match kind {
            // After it all messages of this direction are encrypted.
            20 => {
                self.is_encrypted = true;
                "change_cipher_spec"
            }
            21 if self.is_encrypted => "alert (encrypted)",
            21 => "alert",
            22 if self.is_encrypted => "handshake (encrypted)",
            22 => match first {
                1 => "ClientHello",
                2 => "ServerHello",
                4 => "NewSessionTicket",
                11 => "Certificate",
                12 => "ServerKeyExchange",
                13 => "CertificateRequest",
                14 => "ServerHelloDone",
                16 => "ClientKeyExchange",
                _ => "handshake",
            },
            23 => "encrypted record",
            _ => "unknown record",
        }
    }
}

/// Names as text; equal ones in a row are counted.
pub(super) fn listed(names: &[&str]) -> String {
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match parts.last_mut().filter(|(last, _)| last == name) {
            Some((_, n)) => *n += 1,
            None => parts.push((name, 1)),
        }
    }
    let text = |(name, n): &(&str, usize)| if *n == 1 { name.to_string() } else { format!("{n} x {name}") };
    parts.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_named_wherever_the_calls_cut_them() {
        let bytes =
            [&[22, 3, 1, 0, 3, 1, 9, 9][..], &[20, 3, 3, 0, 1, 1], &[23, 3, 3, 0, 2, 7, 7], &[23, 3, 3, 0, 1, 8]]
                .concat();
        for cut in 0..=bytes.len() {
            let mut scanner = RecordScanner::default();
            let names = [scanner.scan(&bytes[..cut]), scanner.scan(&bytes[cut..])].concat();
            assert_eq!(listed(&names), "ClientHello, change_cipher_spec, 2 x encrypted record", "cut at {cut}");
        }
        assert!(RecordScanner::default().scan(b"HTTP/1.1 400 Bad Request").is_empty());
    }
}
