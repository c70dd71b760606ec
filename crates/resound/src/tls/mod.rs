//! TLS: certificates and keys, which peers to trust, and how many handshakes run at once.
//!
//! The protocol itself is rustls's; [`Conn`](crate::conn::Conn) drives it without I/O.

mod certificate;
mod client;
mod files;
mod handshake_limit;
mod identity;
mod kind;
mod known;
mod server;
mod trust_store;
mod x509;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

use crate::error::Error;

pub use crate::error::{CertificateProblem, FileForm, PemKind};
pub use certificate::{Certificate, Fingerprint};
pub use client::{TlsClient, Trust};
pub use identity::Identity;
/// The TLS library behind [`TlsServer`] and [`TlsClient`], for programs that configure it
/// themselves.
pub use resound_proto::rustls;
pub use resound_proto::{CertificateFlaw, PeerCertificate, TlsFailure, TlsInfo};
pub use server::{TlsServer, TlsServerSettings};
pub use trust_store::TrustStore;

/// The cryptography of all connections: aws-lc.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// What services see of a peer's certificate.
pub(crate) fn read_peer(der: &CertificateDer<'_>) -> Option<PeerCertificate> {
    let certificate = Certificate::read(der)?;
    Some(PeerCertificate { subject: certificate.subject, fingerprint: certificate.fingerprint.to_string() })
}

/// The error of rustls about this end's settings, without the names of its types.
fn settings_error(error: rustls::Error) -> Error {
    Error::Tls(match error {
        rustls::Error::General(text) => text,
        error => TlsFailure::of(&error).to_string(),
    })
}
