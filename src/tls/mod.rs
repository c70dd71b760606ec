//! WHO is at the two ends: certificates and keys, whom to trust, and how many handshakes at once.
//!
//! The protocol itself is rustls's; [`Conn`](crate::Conn) drives it without I/O.

mod authorities;
mod certificate;
mod client;
mod files;
mod handshake_limit;
mod identity;
mod kind;
mod known;
mod names;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use authorities::Authorities;
pub use certificate::{Certificate, Fingerprint};
pub use client::{TlsClient, Trust};
pub(crate) use handshake_limit::{HandshakeLimit, HandshakePermit};
pub use identity::Identity;
pub(crate) use names::{group, suite};
pub(crate) use server::Name;
pub use server::{TlsServer, TlsSettings};

/// What all connections encrypt with: aws-lc.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// What rustls says of something that this end has asked for, without its own names for things.
fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(text) => text.clone(),
        error => crate::error::TlsFailure::of(error).to_string(),
    }
}
