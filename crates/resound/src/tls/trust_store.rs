//! [`TrustStore`]: trusted certificates.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use resound_proto::CertificateFlaw;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::files::Pem;
use crate::error::{CertificateProblem, Error};

/// Trusted certificates: whatever they have signed is trusted, and so is each of them itself, an
/// authority's or not. Cheap to clone.
#[derive(Clone)]
pub struct TrustStore {
    pub(super) roots: Arc<RootCertStore>,
    /// Those that are trusted themselves.
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

impl TrustStore {
    /// The certificates in a PEM file.
    ///
    /// # Errors
    /// [`Error::Certificate`] where the file cannot be read, or holds no certificate.
    pub fn file(file: &Path) -> Result<Self, Error> {
        let pem = Pem::read(file)?;
        let certificates = pem.certificates()?;
        let mut roots = RootCertStore::empty();
        for (at, certificate) in certificates.iter().enumerate() {
            roots.add(certificate.clone()).map_err(|error| {
                let flaw = match error {
                    rustls::Error::InvalidCertificate(error) => CertificateFlaw::of(&error),
                    _ => CertificateFlaw::Other,
                };
                pem.error(CertificateProblem::Authority { number: at + 1, flaw })
            })?;
        }
        Ok(Self { roots: Arc::new(roots), certificates: certificates.into() })
    }
}

/// Bare roots: only certificates that they have signed are trusted.
impl From<Arc<RootCertStore>> for TrustStore {
    fn from(roots: Arc<RootCertStore>) -> Self {
        Self { roots, certificates: Arc::new([]) }
    }
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustStore").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}
