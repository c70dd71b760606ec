//! Verifiers that accept the listed certificates themselves, besides those that an authority has
//! signed. They still check name, dates and purpose, and the peer still proves that it holds the
//! key. rustls verifies every other certificate.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::{Certificate, Fingerprint};
use super::provider;
use super::x509::{ANY_PURPOSE, CLIENT_AUTH, SERVER_AUTH, X509};

type Certificates = Arc<[CertificateDer<'static>]>;

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(super) struct KnownServers {
    pub(super) known: Certificates,
    pub(super) others: Arc<dyn ServerCertVerifier>,
}

/// Verifies the certificates of clients.
#[derive(Debug)]
pub(super) struct KnownClients {
    pub(super) known: Certificates,
    pub(super) others: Arc<dyn ClientCertVerifier>,
}

/// Checks only that a certificate is the pinned one, if one is pinned.
#[derive(Debug)]
pub(super) struct NoVerification(pub(super) Option<Fingerprint>);

/// Is this certificate valid now, and for this?
fn check(certificate: &CertificateDer<'_>, now: UnixTime, purpose: &[u8]) -> Result<(), Error> {
    let read = X509::read(certificate).ok_or(CertificateError::BadEncoding)?;
    let unix =
        |time: SystemTime| UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let (from, until) = (unix(read.not_before), unix(read.not_after));
    if now < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: from }.into());
    }
    if now > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: until }.into());
    }
    match read.purposes {
        Some(purposes) if !purposes.iter().any(|one| one == ANY_PURPOSE || one == purpose) => {
            Err(CertificateError::InvalidPurpose.into())
        }
        _ => Ok(()),
    }
}

/// The names in the error as people write them.
fn plainly(error: Error, certificate: &CertificateDer<'_>) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. }) => {
            let presented = Certificate::read(certificate).map(|certificate| certificate.names).unwrap_or_default();
            CertificateError::NotValidForNameContext { expected, presented }.into()
        }
        error => error,
    }
}

/// The peer proves that it holds the key. Rustls has these methods in two traits.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for KnownServers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = if self.known.contains(certificate) {
            check(certificate, now, SERVER_AUTH)
                .and_then(|()| verify_server_name(&ParsedCertificate::try_from(certificate)?, name))
                .map(|()| ServerCertVerified::assertion())
        } else {
            self.others.verify_server_cert(certificate, intermediates, name, ocsp, now)
        };
        judged.map_err(|error| plainly(error, certificate))
    }

    signatures!();
}

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0 {
            Some(pin) if Fingerprint::of(certificate) != pin => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    signatures!();
}

impl ClientCertVerifier for KnownClients {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.contains(certificate) {
            return check(certificate, now, CLIENT_AUTH).map(|()| ClientCertVerified::assertion());
        }
        self.others.verify_client_cert(certificate, intermediates, now)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.others.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.others.client_auth_mandatory()
    }

    signatures!();
}
