//! [`CertificateProblem`]: why a certificate or a key cannot be used.

use std::fmt;
use std::path::PathBuf;

use resound_proto::CertificateFlaw;

/// Keys that can be used here.
const USABLE: &str = "RSA of 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, and Ed25519";

/// What is wrong with a file that should hold certificates or a private key in PEM form (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// The file cannot be read; this is the system's message.
    #[error("{0}")]
    Unreadable(String),
    /// The file is larger than any certificate, key or list of authorities.
    #[error("it is larger than 16 MiB")]
    TooLarge,
    /// The file holds nothing but white space.
    #[error("it is empty")]
    Empty,
    /// The certificate with this number, counted from 1, is incomplete or not encoded as one.
    #[error("its certificate number {0} is damaged or cut off")]
    DamagedCertificate(usize),
    /// The private key is incomplete or not encoded as one.
    #[error("its private key is damaged or cut off")]
    DamagedKey,
    /// The private key needs a passphrase.
    #[error("its private key is encrypted, and no passphrase is ever asked for")]
    EncryptedKey,
    /// The file is in PEM form, and holds something else.
    #[error("it holds no {wanted} in PEM form, but a {}", described(.label))]
    OtherSection {
        /// What the file should hold.
        wanted: PemKind,
        /// The label of the section that it holds instead, such as `CERTIFICATE REQUEST`.
        label: String,
    },
    /// The file is not in PEM form.
    #[error("it is {0}")]
    OtherForm(FileForm),
    /// The file is in no known form.
    #[error("it holds no {wanted} in PEM form, but {bytes} bytes that are no DER either")]
    UnknownForm {
        /// What the file should hold.
        wanted: PemKind,
        /// The length of the file.
        bytes: usize,
    },
    /// The file of the certificate holds the key, and the file of the key the certificate.
    #[error("it holds the private key, and {} the certificate", .key.display())]
    Swapped {
        /// The file that was given as the key's.
        key: PathBuf,
    },
    /// The first certificate cannot be used.
    #[error("its first certificate cannot be used: {0}")]
    Certificate(CertificateFlaw),
    /// An authority's certificate cannot be used.
    #[error("its certificate number {number} cannot be used: {flaw}")]
    Authority {
        /// Its number in the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        flaw: CertificateFlaw,
    },
    /// The private key cannot be used: its kind, such as `a DSA key`, or `None` where it is
    /// malformed.
    #[error("{}", unusable(.0.as_deref()))]
    Key(Option<String>),
    /// The certificate of the key is not the first one.
    #[error("its certificates are in the wrong order: that of the key is number {number} of {count}")]
    Order {
        /// The number of the key's certificate, counted from 1.
        number: usize,
        /// How many certificates the file holds.
        count: usize,
    },
    /// The key belongs to another certificate.
    #[error("the key in {} belongs to another certificate", .key.display())]
    OtherKey {
        /// The file of the key.
        key: PathBuf,
    },
    /// No development certificate can be made for these names.
    #[error("{0}")]
    Names(String),
}

/// What a PEM file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemKind {
    /// Certificates.
    Certificate,
    /// A private key.
    Key,
}

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
        })
    }
}

/// The form of a file that is not in PEM form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileForm {
    /// A certificate in DER form.
    DerCertificate,
    /// A private key in DER form.
    DerKey,
    /// An encrypted private key in DER form.
    DerEncryptedKey,
    /// A PKCS #12 archive (RFC 7292).
    Pkcs12,
    /// Text in UTF-16.
    Utf16,
}

impl fmt::Display for FileForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DerCertificate => "a certificate in DER form, not in PEM form",
            Self::DerKey => "a private key in DER form, not in PEM form",
            Self::DerEncryptedKey => "an encrypted private key in DER form, not in PEM form",
            Self::Pkcs12 => "a PKCS #12 archive, not in PEM form",
            Self::Utf16 => "text in UTF-16, which PEM is not",
        })
    }
}

/// A section's label in the middle of a sentence.
fn described(label: &str) -> String {
    let label: String = label.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect();
    match label.as_str() {
        "CERTIFICATE"
        | "TRUSTED CERTIFICATE"
        | "PRIVATE KEY"
        | "PUBLIC KEY"
        | "CERTIFICATE REQUEST"
        | "NEW CERTIFICATE REQUEST" => label.to_ascii_lowercase(),
        "ENCRYPTED PRIVATE KEY" => "private key".into(),
        _ => format!("section '{label}'"),
    }
}

fn unusable(kind: Option<&str>) -> String {
    match kind {
        Some(kind) => format!("it holds {kind}, and such a key cannot be used here: {USABLE} can"),
        None => "its private key is malformed".into(),
    }
}
