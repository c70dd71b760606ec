//! [`Certificate`]: the fields of a certificate that people read, and its [`Fingerprint`].

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::name::Name;

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
    /// Reads a certificate in DER form; `None` where it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = parsed(der)?;
        let fields = certificate.tbs_certificate();
        let names = fields.get_extension::<SubjectAltName>().ok().flatten();
        let constraints = fields.get_extension::<BasicConstraints>().ok().flatten();
        Some(Self {
            subject: in_order(fields.subject()),
            issuer: in_order(fields.issuer()),
            names: names.map(|(_, names)| names.0.iter().filter_map(plain).collect()).unwrap_or_default(),
            not_before: fields.validity().not_before.to_system_time(),
            not_after: fields.validity().not_after.to_system_time(),
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            is_self_issued: fields.subject() == fields.issuer(),
            fingerprint: Fingerprint::of(der),
        })
    }
}

/// The fields of a certificate in DER form, also of one that keeps less than all rules of RFC 5280.
pub(super) fn parsed(der: &[u8]) -> Option<CertificateInner<Raw>> {
    CertificateInner::from_der(der).ok()
}

/// The parts of a name in their order; RFC 4514 has them the other way round.
fn in_order(name: &Name) -> String {
    let parts: Vec<_> = name.iter_rdn().map(ToString::to_string).collect();
    parts.join(", ")
}

fn plain(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
            4 => <[u8; 4]>::try_from(bytes.as_bytes()).ok().map(|v4| std::net::Ipv4Addr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(bytes.as_bytes()).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
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
