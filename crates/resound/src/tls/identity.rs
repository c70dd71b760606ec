//! [`Identity`]: a certificate chain and the key that belongs to it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use resound_proto::CertificateFlaw;
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, Fingerprint};
use super::files::{CERTIFICATE, KEY, Pem};
use super::kind::kind;
use super::provider;
use crate::error::{CertificateProblem, Error};

/// How long a certificate made on the spot is valid.
const DEVELOPMENT_DAYS: i64 = 30;

/// A certificate chain and its private key, known to belong together.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    certificate: Certificate,
}

impl Identity {
    /// Reads PEM files: the certificate and the ones between it and its root, in this order, and
    /// the key (PKCS #8, PKCS #1 or SEC1). One file may hold both.
    ///
    /// # Errors
    /// [`Error::Certificate`] with the file, where one is unreadable or holds something else, or
    /// where the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let pem = Pem::read(certificate)?;
        // One file may be a pipe, which can be read once.
        let other = if key == certificate { None } else { Some(Pem::read(key)?) };
        let of_key = other.as_ref().unwrap_or(&pem);
        if !pem.has(CERTIFICATE) && pem.has(KEY) && of_key.has(CERTIFICATE) && !of_key.has(KEY) {
            return Err(pem.error(CertificateProblem::Swapped { key: key.into() }));
        }
        let chain = pem.certificates()?;
        let secret = of_key.key()?;
        Self::of(chain.clone(), secret.clone_key()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => pem.error(Self::mismatch(&chain, &secret, key)),
            rustls::Error::InvalidCertificate(error) => {
                pem.error(CertificateProblem::Certificate(CertificateFlaw::of(&error)))
            }
            _ => of_key.error(CertificateProblem::Key(kind(&secret))),
        })
    }

    /// Why a certificate and a key do not belong together.
    fn mismatch(chain: &[CertificateDer<'static>], secret: &PrivateKeyDer<'static>, key: &Path) -> CertificateProblem {
        let is_its = |der: &CertificateDer<'static>| Self::of(vec![der.clone()], secret.clone_key()).is_ok();
        match chain.iter().position(is_its) {
            Some(at) => CertificateProblem::Order { number: at + 1, count: chain.len() },
            None => CertificateProblem::OtherKey { key: key.into() },
        }
    }

    /// A self-signed certificate for development: valid for 30 days, for these names and addresses.
    ///
    /// # Errors
    /// [`Error::Certificate`] without a name, or for one that no certificate can have.
    pub fn development(names: &[String]) -> Result<Self, Error> {
        let make = || -> Result<Self, Box<dyn std::error::Error>> {
            if names.is_empty() {
                return Err("it needs a name or an address".into());
            }
            if let Some(name) = names.iter().find(|name| !can_be_certified(name)) {
                return Err(format!("`{name}` is neither a host name nor an IP address").into());
            }
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
        make().map_err(|error| {
            Error::certificate("the development certificate", CertificateProblem::Names(error.to_string()))
        })
    }

    /// A chain and its key in DER form.
    ///
    /// # Errors
    /// The error of rustls for a key of an unknown kind or of another certificate.
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

    /// The fingerprint of the certificate itself.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint
    }

    /// The chain in DER form, the certificate itself first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Do both have at least one name in common?
    pub(super) fn shares_a_name_with(&self, other: &Self) -> bool {
        let own = &self.certificate.names;
        own == &other.certificate.names || own.iter().any(|name| other.certificate.names.contains(name))
    }

    /// Is the certificate for this name? A name is as in a ClientHello: in lower case, without a
    /// final dot. `*.` stands for one label (RFC 9525, 6.3).
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

/// Whether a certificate can be for this name or address. A client asks for no other.
fn can_be_certified(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
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
    fn a_certificate_is_for_names_that_a_client_can_ask_for() {
        for (names, want) in [
            (&[][..], "it needs a name or an address"),
            (&["localhost", ""], "`` is neither a host name nor an IP address"),
            (&["a b"], "`a b` is neither a host name nor an IP address"),
            (&["*.*.example.org"], "`*.*.example.org` is neither"),
        ] {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let error = Identity::development(&names).unwrap_err().to_string();
            assert!(error.contains(want), "{names:?}: {error}");
        }
    }

    #[test]
    fn a_development_certificate_names_itself_as_one() {
        let identity = Identity::development(&["localhost".into(), "::1".into(), "192.0.2.1".into()]).unwrap();
        let certificate = identity.certificate();
        assert_eq!(certificate.subject, "CN=resound development certificate");
        assert_eq!(certificate.names, ["localhost", "::1", "192.0.2.1"]);
        assert_eq!(certificate.fingerprint, Fingerprint::of(&identity.chain()[0]));
        let left = certificate.not_after.duration_since(SystemTime::now()).unwrap();
        assert!(left.as_secs() / 86_400 == 29 || left.as_secs() / 86_400 == 30);
    }
}
