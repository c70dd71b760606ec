//! [`Identity`]: a certificate chain and the key that belongs to it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys};

use super::certificate::{Certificate, Fingerprint};
use super::provider;
use crate::error::Error;

/// How long a certificate made on the spot is valid.
const DEVELOPMENT_DAYS: i64 = 30;

/// A certificate chain and its private key, known to belong together.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    certificate: Certificate,
}

impl Identity {
    /// Reads PEM files: the certificate and the ones between it and its root, in this order, and the key (PKCS #8, PKCS #1 or SEC1). One
    /// file may hold both.
    ///
    /// # Errors
    /// [`Error::Certificate`], naming the file, where one cannot be read or is something else, or where the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let of_certificate = |reason: String| Error::certificate(certificate, reason);
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| of_certificate(told(&error, "certificate")))?;
        if chain.is_empty() {
            return Err(of_certificate(told(&pem::Error::NoItemsFound, "certificate")));
        }
        let secret =
            PrivateKeyDer::from_pem_file(key).map_err(|error| Error::certificate(key, told(&error, "private key")))?;
        Self::of(chain, secret).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Error::certificate(certificate, format!("the key in {} belongs to another certificate", key.display()))
            }
            rustls::Error::InvalidCertificate(_) => {
                of_certificate(format!("it holds no certificate of today: {error}"))
            }
            error => Error::certificate(key, error.to_string()),
        })
    }

    /// A certificate that has signed itself, for trying things out: valid for 30 days, for these names and addresses.
    ///
    /// # Errors
    /// [`Error::Certificate`] for a name that no certificate can have.
    pub fn development(names: &[String]) -> Result<Self, Error> {
        let make = || -> Result<Self, Box<dyn std::error::Error>> {
            let mut params = rcgen::CertificateParams::new(names.to_vec())?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, "resound development certificate");
            let now = time::OffsetDateTime::from(SystemTime::now());
            // Clocks differ.
            params.not_before = now - time::Duration::hours(1);
            params.not_after = now + time::Duration::days(DEVELOPMENT_DAYS);
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let certificate = params.self_signed(&key)?;
            let secret = PrivateKeyDer::try_from(key.serialize_der())?;
            Ok(Self::of(vec![certificate.der().clone()], secret)?)
        };
        make().map_err(|error| Error::certificate("the development certificate", error.to_string()))
    }

    /// A chain and its key in DER form.
    ///
    /// # Errors
    /// What rustls says of a key that it does not know or that belongs to another certificate.
    pub fn of(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        let certificate = chain.first().and_then(|first| Certificate::read(first));
        let certificate = certificate.ok_or(CertificateError::BadEncoding)?;
        Ok(Self { key: Arc::new(CertifiedKey::from_der(chain, key, &provider())?), certificate })
    }

    /// The certificate itself, the first of the chain.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Of the certificate itself.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint
    }

    /// The chain in DER form, the certificate itself first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    pub(crate) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Is the certificate for this name? A name stands as it came in a ClientHello: lower case, no dot behind it. `*.` stands for one label
    /// (RFC 9525, 6.3).
    pub(crate) fn is_for(&self, name: &str) -> bool {
        self.certificate.names.iter().any(|own| {
            own.eq_ignore_ascii_case(name)
                || own.strip_prefix("*.").is_some_and(|domain| {
                    name.split_once('.')
                        .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
                })
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.certificate).finish()
    }
}

/// Roots of trust from a PEM file.
pub(crate) fn roots(file: &Path) -> Result<rustls::RootCertStore, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Error::certificate(file, told(&error, "certificate")))?;
    for root in found {
        roots.add(root).map_err(|error| Error::certificate(file, error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(Error::certificate(file, told(&pem::Error::NoItemsFound, "certificate")));
    }
    Ok(roots)
}

/// What is wrong with a PEM file that should hold `what`.
fn told(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => crate::error::plain(error),
        pem::Error::NoItemsFound => format!("it holds no {what} in PEM form"),
        error => format!("it is not in PEM form: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let identity = Identity::development(&["*.example.org".into(), "example.org".into()]).unwrap();
        for (name, want) in [
            ("example.org", true),
            ("a.example.org", true),
            ("A.EXAMPLE.org", true),
            ("a.b.example.org", false),
            (".example.org", false),
            ("example.com", false),
        ] {
            assert_eq!(identity.is_for(name), want, "{name}");
        }
    }

    #[test]
    fn a_development_certificate_says_what_it_is() {
        let identity = Identity::development(&["localhost".into(), "::1".into(), "192.0.2.1".into()]).unwrap();
        let certificate = identity.certificate();
        assert_eq!(certificate.subject, "CN=resound development certificate");
        assert_eq!(certificate.names, ["localhost", "::1", "192.0.2.1"]);
        assert_eq!(certificate.fingerprint, Fingerprint::of(&identity.chain()[0]));
        let left = certificate.not_after.duration_since(SystemTime::now()).unwrap();
        assert!(left.as_secs() / 86_400 == 29 || left.as_secs() / 86_400 == 30);
    }
}
