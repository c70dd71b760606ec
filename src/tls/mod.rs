//! WHO is at the two ends: certificates and keys, whom to trust, and how many handshakes at once.
//!
//! The protocol itself is rustls's; [`Conn`](crate::Conn) drives it without I/O.

mod certificate;
mod client;
mod handshakes;
mod identity;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use certificate::{Certificate, Fingerprint};
pub use client::{TlsClient, Trust};
pub(crate) use handshakes::{Handshakes, Turn};
pub use identity::Identity;
pub(crate) use server::Name;
pub use server::{TlsServer, TlsSettings};

/// What all connections encrypt with: aws-lc.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
