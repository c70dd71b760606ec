//! Verifiers that accept the listed certificates themselves, besides those that an authority has
//! signed. They still check name, dates and purpose, and the peer still proves that it holds the
//! key. rustls verifies every other certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{ASN1Time, ExtendedKeyUsage, FromDer, X509Certificate};

use super::certificate::{Certificate, Fingerprint};
use super::provider;

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
fn check(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    is_for: fn(&ExtendedKeyUsage<'_>) -> bool,
) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let unix = |time: ASN1Time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
    };
    let (from, until) = (unix(parsed.validity().not_before), unix(parsed.validity().not_after));
    if now < from {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: from }.into());
    }
    if now > until {
        return Err(CertificateError::ExpiredContext { time: now, not_after: until }.into());
    }
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.any && !is_for(usage.value) => Err(CertificateError::InvalidPurpose.into()),
        Ok(_) => Ok(()),
        Err(_) => Err(CertificateError::BadEncoding.into()),
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
            check(certificate, now, |usage| usage.server_auth)
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
            return check(certificate, now, |usage| usage.client_auth).map(|()| ClientCertVerified::assertion());
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
