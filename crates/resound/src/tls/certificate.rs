//! [`Certificate`]: the fields of a certificate that people read, and its [`Fingerprint`].

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use super::x509::X509;

/// The SHA-256 of a certificate's DER form: what `openssl x509 -fingerprint -sha256` prints.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER form.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// 64 hexadecimal digits, in either case, with or without colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a SHA-256 fingerprint has 64 hexadecimal digits, with or without colons";
        let digits = text.chars().filter(|&c| c != ':').map(|c| c.to_digit(16));
        let digits: [u32; 64] = digits.collect::<Option<Vec<_>>>().and_then(|all| all.try_into().ok()).ok_or(WRONG)?;
        Ok(Self(std::array::from_fn(|at| (digits[2 * at] << 4 | digits[2 * at + 1]) as u8)))
    }
}

/// The fields of a certificate that people read (RFC 5280).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The subject, such as `CN=example.org`. It may be empty where the names are enough.
    pub subject: String,
    /// The issuer, which signed it.
    pub issuer: String,
    /// The DNS names and IP addresses that it is for.
    pub names: Vec<String>,
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last moment at which it is valid.
    pub not_after: SystemTime,
    /// It is a certificate authority's own: it may sign others (CA:TRUE, RFC 5280, 4.2.1.9).
    pub is_authority: bool,
    /// Subject and issuer are the same: it has signed itself.
    pub is_self_issued: bool,
    /// Of the whole certificate.
    pub fingerprint: Fingerprint,
}

impl Certificate {
    /// A certificate of which only the [fingerprint](Self::fingerprint) is known.
    pub(crate) fn unreadable(der: &[u8]) -> Self {
        Self {
            subject: "(a certificate that cannot be read)".into(),
            issuer: String::new(),
            names: Vec::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            is_authority: false,
            is_self_issued: false,
            fingerprint: Fingerprint::of(der),
        }
    }

    /// Reads a certificate in DER form; `None` where it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let X509 { issuer, subject, is_self_issued, not_before, not_after, names, is_authority, .. } = X509::read(der)?;
        let fingerprint = Fingerprint::of(der);
        Some(Self { subject, issuer, names, not_before, not_after, is_authority, is_self_issued, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let print = Fingerprint::of(b"abc");
        assert_eq!(print.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let colons: Vec<String> =
            print.to_string().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
        assert_eq!(colons.join(":").parse(), Ok(print));
        for wrong in ["", "ab", "zz", &"a".repeat(63), &"a".repeat(65), &"é".repeat(64)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_give_none() {
        assert_eq!(Certificate::read(b"\x30\x03\x02\x01\x00"), None);
    }
}
