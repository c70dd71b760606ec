//! Certificates and keys in files: what one holds instead of what it should, and the command that
//! mends it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;

/// No certificate and no key is larger, nor are all authorities of a system together.
const LARGEST: u64 = 16 << 20;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

const CERTIFICATE: &[&str] = &["CERTIFICATE"];
const KEY: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// Makes a certificate that a server can use, and its key.
pub(super) const MAKE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
     -keyout key.pem -out cert.pem -days 30 -subj /CN=localhost \
     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";

/// A file as it was read, and the parts of it that are in PEM form (RFC 7468).
pub(super) struct Pem<'a> {
    file: &'a Path,
    bytes: Vec<u8>,
    sections: Vec<Section>,
}

struct Section {
    label: String,
    lines: Vec<u8>,
    /// Its last line is there.
    is_whole: bool,
}

impl<'a> Pem<'a> {
    pub(super) fn read(file: &'a Path) -> Result<Self, Error> {
        let failed =
            |reason: String| Error::certificate(file, reason, "Check the path, and that you may read the file.");
        let mut bytes = Vec::new();
        let read = File::open(file).and_then(|open| open.take(LARGEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| failed(crate::error::plain(&error)))?;
        if bytes.len() as u64 > LARGEST {
            return Err(failed("it is larger than 16 MiB".into()));
        }
        let sections = sections(&bytes);
        Ok(Self { file, bytes, sections })
    }

    /// All certificates, in their order.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found = self.labelled(CERTIFICATE).enumerate();
        let certificates: Vec<_> = found
            .map(|(at, section)| match section.decoded::<CertificateDer<'_>>() {
                Some(der) => Ok(der),
                None => Err(self.error(format!("its certificate number {} is damaged or cut off", at + 1), AGAIN)),
            })
            .collect::<Result<_, _>>()?;
        match certificates.is_empty() {
            true => Err(self.instead_of("certificate")),
            false => Ok(certificates),
        }
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        match self.labelled(KEY).next() {
            Some(section) if section.is_encrypted() => Err(self.encrypted()),
            Some(section) => {
                section.decoded().ok_or_else(|| self.error("its private key is damaged or cut off".into(), AGAIN))
            }
            None => Err(self.instead_of("private key")),
        }
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.labelled(CERTIFICATE).next().is_some()
    }

    pub(super) fn has_key(&self) -> bool {
        self.labelled(KEY).next().is_some()
    }

    pub(super) fn error(&self, reason: String, advice: impl Into<String>) -> Error {
        Error::certificate(self.file, reason, advice)
    }

    fn labelled(&self, labels: &'static [&str]) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| labels.contains(&section.label.as_str()))
    }

    fn encrypted(&self) -> Error {
        let (from, to) = self.names();
        self.error(
            "its private key is encrypted, and no passphrase is ever asked for".into(),
            format!(
                "Write it without a passphrase, readable by you alone: (umask 077; openssl pkey -in {from} -out {to})"
            ),
        )
    }

    /// The file, and one beside it to write to, as a shell takes them.
    fn names(&self) -> (String, String) {
        let mut to = self.file.as_os_str().to_os_string();
        to.push(".pem");
        (shell(self.file), shell(Path::new(&to)))
    }

    /// What the file holds where it has no `wanted` in PEM form.
    fn instead_of(&self, wanted: &str) -> Error {
        let (from, to) = self.names();
        if self.bytes.iter().all(u8::is_ascii_whitespace) {
            return self.error("it is empty".into(), AGAIN);
        }
        let has = |label: &str| self.sections.iter().any(|section| section.label == label);
        if wanted == "private key" && has("ENCRYPTED PRIVATE KEY") {
            return self.encrypted();
        }
        // What stands beside a key says less than the key.
        let labels = || self.sections.iter().map(|section| section.label.as_str());
        if let Some(label) = labels().find(|label| !label.ends_with("PARAMETERS")).or(labels().next()) {
            let advice = match label {
                "CERTIFICATE" => "Its private key is in another file, which has a line -----BEGIN PRIVATE KEY-----: \
                     name that with --key FILE."
                    .into(),
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                    "The certificate is in another file, which has a line -----BEGIN CERTIFICATE-----.".into()
                }
                "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                    format!("Write it in the usual form: openssl x509 -in {from} -out {to}")
                }
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => format!(
                    "An authority makes a certificate of it, or its own key does: \
                     openssl x509 -req -days 30 -copy_extensions copy -in {from} -signkey KEY -out {to}"
                ),
                "PKCS7" | "CMS" => {
                    format!("Take the certificates out: openssl pkcs7 -print_certs -in {from} -out {to}")
                }
                "OPENSSH PRIVATE KEY" => {
                    format!("Write it in PEM form, if it is RSA or ECDSA: ssh-keygen -p -m PEM -f {from}")
                }
                _ => format!("A new pair is made with: {MAKE}"),
            };
            return self.error(format!("it holds no {wanted} in PEM form, but a {}", spoken(label)), advice);
        }
        let (reason, advice) = match Der::of(&self.bytes) {
            Some(Der::Certificate) => {
                ("a certificate in DER form, not in PEM form", format!("openssl x509 -inform DER -in {from} -out {to}"))
            }
            Some(Der::Key) => {
                ("a private key in DER form, not in PEM form", format!("openssl pkey -inform DER -in {from} -out {to}"))
            }
            Some(Der::EncryptedKey) => (
                "an encrypted private key in DER form, not in PEM form",
                format!("openssl pkcs8 -inform DER -in {from} -out {to}"),
            ),
            Some(Der::Pkcs12) => {
                ("a PKCS #12 archive, not in PEM form", format!("openssl pkcs12 -nodes -in {from} -out {to}"))
            }
            None if self.bytes.starts_with(b"\xff\xfe") => {
                ("text in UTF-16, which PEM is not", format!("iconv -f UTF-16 -t UTF-8 {from} > {to}"))
            }
            None => {
                let n = self.bytes.len();
                let reason = format!("it holds no {wanted} in PEM form, but {n} bytes that are no DER either");
                return self.error(reason, format!("A new pair is made with: {MAKE}"));
            }
        };
        self.error(format!("it is {reason}"), format!("Write it in PEM form: {advice}"))
    }
}

const AGAIN: &str = "Copy it again, whole: from a line `-----BEGIN ...` to its line `-----END ...`.";

/// A section's label in the middle of a sentence.
fn spoken(label: &str) -> String {
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

/// A path as a shell takes it for one word.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,@%:=".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl Section {
    fn decoded<T: PemObject>(&self) -> Option<T> {
        T::from_pem_slice(&self.lines).ok().filter(|_| self.is_whole)
    }

    /// In the manner before PKCS #8 (RFC 1421, 4.6.1.1).
    fn is_encrypted(&self) -> bool {
        self.lines
            .split(|&b| b == b'\n')
            .any(|line| line.starts_with(b"Proc-Type:") && line.windows(9).any(|part| part == b"ENCRYPTED"))
    }
}

fn sections(bytes: &[u8]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // Some editors put a mark before what they write.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for line in bytes.split(|&b| b == b'\n' || b == b'\r') {
        if let Some(label) = line.strip_prefix(BEGIN) {
            let label = String::from_utf8_lossy(label).trim_end_matches(['-', ' ']).to_string();
            sections.push(Section { label, lines: Vec::new(), is_whole: false });
        }
        if let Some(section) = sections.last_mut().filter(|section| !section.is_whole) {
            section.lines.extend_from_slice(line);
            section.lines.push(b'\n');
            section.is_whole = line.starts_with(END);
        }
    }
    sections
}

/// What is no text.
enum Der {
    Certificate,
    Key,
    EncryptedKey,
    Pkcs12,
}

impl Der {
    fn of(bytes: &[u8]) -> Option<Self> {
        // PKCS #5, by which keys are encrypted in PKCS #8 (RFC 5958, 3); and PKCS #12's version
        // (RFC 7292, 4).
        const PKCS5: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
        const PKCS12: &[u8] = &[0x02, 0x01, 0x03];
        let behind = match bytes {
            [0x30, length @ 0..=0x7f, rest @ ..] if rest.len() == usize::from(*length) => rest,
            // The length in so many bytes, or none, and an end that is marked (as PKCS #12 may be).
            [0x30, 0x80, rest @ ..]
            | [0x30, 0x81, _, rest @ ..]
            | [0x30, 0x82, _, _, rest @ ..]
            | [0x30, 0x83, _, _, _, rest @ ..] => rest,
            _ => return None,
        };
        let head = &behind[..behind.len().min(16)];
        if X509Certificate::from_der(bytes).is_ok() {
            Some(Self::Certificate)
        } else if behind.starts_with(PKCS12) {
            Some(Self::Pkcs12)
        } else if PrivateKeyDer::try_from(bytes).is_ok() {
            Some(Self::Key)
        } else if head.windows(PKCS5.len()).any(|part| part == PKCS5) {
            Some(Self::EncryptedKey)
        } else {
            None
        }
    }
}
