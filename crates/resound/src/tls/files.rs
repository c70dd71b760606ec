//! Certificates and keys in files, and what a file holds instead of them.

use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::x509::X509;
use crate::error::{CertificateProblem, Error, FileForm, PemKind};

/// No certificate and no key is larger, nor are all authorities of a system together.
const LARGEST: u64 = 16 << 20;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

pub(super) const CERTIFICATE: &[&str] = &["CERTIFICATE"];
pub(super) const KEY: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

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
        let mut bytes = Vec::new();
        let read = crate::files::open_file(file).and_then(|open| open.take(LARGEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| Error::certificate(file, CertificateProblem::Unreadable(crate::error::plain(&error))))?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::certificate(file, CertificateProblem::TooLarge));
        }
        let sections = sections(&bytes);
        Ok(Self { file, bytes, sections })
    }

    /// All certificates, in their order.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let decoded = |(at, section): (usize, &Section)| {
            section.decoded().ok_or_else(|| self.error(CertificateProblem::DamagedCertificate(at + 1)))
        };
        let certificates: Vec<_> = self.labelled(CERTIFICATE).enumerate().map(decoded).collect::<Result<_, _>>()?;
        match certificates.is_empty() {
            true => Err(self.error(self.instead_of(PemKind::Certificate))),
            false => Ok(certificates),
        }
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        match self.labelled(KEY).next() {
            Some(section) if section.is_encrypted() => Err(self.error(CertificateProblem::EncryptedKey)),
            Some(section) => section.decoded().ok_or_else(|| self.error(CertificateProblem::DamagedKey)),
            None => Err(self.error(self.instead_of(PemKind::Key))),
        }
    }

    pub(super) fn has(&self, labels: &'static [&str]) -> bool {
        self.labelled(labels).next().is_some()
    }

    pub(super) fn error(&self, problem: CertificateProblem) -> Error {
        Error::certificate(self.file, problem)
    }

    fn labelled(&self, labels: &'static [&str]) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| labels.contains(&section.label.as_str()))
    }

    /// What the file holds where it has no `wanted` in PEM form.
    fn instead_of(&self, wanted: PemKind) -> CertificateProblem {
        if self.bytes.iter().all(u8::is_ascii_whitespace) {
            return CertificateProblem::Empty;
        }
        let labels = || self.sections.iter().map(|section| section.label.as_str());
        if wanted == PemKind::Key && labels().any(|label| label == "ENCRYPTED PRIVATE KEY") {
            return CertificateProblem::EncryptedKey;
        }
        // The key of a file matters more than the parameters in front of it.
        if let Some(label) = labels().find(|label| !label.ends_with("PARAMETERS")).or(labels().next()) {
            return CertificateProblem::OtherSection { wanted, label: label.into() };
        }
        match form(&self.bytes) {
            Some(form) => CertificateProblem::OtherForm(form),
            None => CertificateProblem::UnknownForm { wanted, bytes: self.bytes.len() },
        }
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

/// The form of a file without PEM sections; `None` for an unknown one.
fn form(bytes: &[u8]) -> Option<FileForm> {
    // PKCS #5, by which keys are encrypted in PKCS #8 (RFC 5958, 3); and PKCS #12's version
    // (RFC 7292, 4).
    const PKCS5: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05];
    const PKCS12: &[u8] = &[0x02, 0x01, 0x03];
    let behind = match bytes {
        [0x30, length @ 0..=0x7f, rest @ ..] if rest.len() == usize::from(*length) => rest,
        // A length of any size, or none and a marked end (as PKCS #12 may be).
        [0x30, 0x80, rest @ ..]
        | [0x30, 0x81, _, rest @ ..]
        | [0x30, 0x82, _, _, rest @ ..]
        | [0x30, 0x83, _, _, _, rest @ ..] => rest,
        [0xff, 0xfe, ..] => return Some(FileForm::Utf16),
        _ => return None,
    };
    let head = &behind[..behind.len().min(16)];
    if X509::read(bytes).is_some() {
        Some(FileForm::DerCertificate)
    } else if behind.starts_with(PKCS12) {
        Some(FileForm::Pkcs12)
    } else if PrivateKeyDer::try_from(bytes).is_ok() {
        Some(FileForm::DerKey)
    } else if head.windows(PKCS5.len()).any(|part| part == PKCS5) {
        Some(FileForm::DerEncryptedKey)
    } else {
        None
    }
}
