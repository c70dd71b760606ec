//! [`ExporterLog`]: the channel binding of a TLS session (RFC 9266).

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::tls13::OkmBlock;
use rustls::{KeyLog, SupportedCipherSuite};

/// The label of the channel binding `tls-exporter` (RFC 9266, 4.2).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// The secret that exporters start from, by its name in key logs. TLS 1.2 has none.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// Computes the channel binding of one connection. rustls's unbuffered interface has no exporter,
/// and gives the exporter secret to the key log only, so this wraps the key log of one connection.
/// It keeps the channel binding, not the secret.
#[derive(Debug)]
pub(super) struct ExporterLog {
    next: Arc<dyn KeyLog>,
    provider: Arc<CryptoProvider>,
    value: OnceLock<[u8; 32]>,
}

impl ExporterLog {
    /// Wraps this key log.
    pub(super) fn before(next: &Arc<dyn KeyLog>, provider: &Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { next: Arc::clone(next), provider: Arc::clone(provider), value: OnceLock::new() })
    }

    /// The channel binding, after the handshake of TLS 1.3.
    pub(super) fn value(&self) -> Option<[u8; 32]> {
        self.value.get().copied()
    }
}

impl KeyLog for ExporterLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if label == EXPORTER_SECRET
            && let Some(value) = export(&self.provider, secret)
        {
            let _ = self.value.set(value);
        }
        if self.next.will_log(label) {
            self.next.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET || self.next.will_log(label)
    }
}

/// The exporter of TLS 1.3 (RFC 8446, 7.5), without a context. The cipher suites whose hash has the
/// length of the secret have the same one.
fn export(provider: &CryptoProvider, secret: &[u8]) -> Option<[u8; 32]> {
    let suite = provider.cipher_suites.iter().find_map(|suite| match suite {
        SupportedCipherSuite::Tls13(suite) => {
            Some(suite).filter(|suite| suite.common.hash_provider.output_len() == secret.len())
        }
        SupportedCipherSuite::Tls12(_) => None,
    })?;
    let nothing = suite.common.hash_provider.hash(&[]);
    let (hash, expand) = (nothing.as_ref(), |secret: &OkmBlock| suite.hkdf_provider.expander_for_okm(secret));
    // HKDF-Expand-Label (RFC 8446, 7.1).
    let head = |length: usize, label: usize| [0, length as u8, b"tls13 ".len() as u8 + label as u8];
    let (first, second) = (head(secret.len(), EXPORTER_LABEL.len()), head(32, b"exporter".len()));
    let of_hash = [hash.len() as u8];
    let of_label = expand(&OkmBlock::new(secret)).expand_block(&[&first, b"tls13 ", EXPORTER_LABEL, &of_hash, hash]);
    let mut value = [0; 32];
    expand(&of_label).expand_slice(&[&second, b"tls13 ", b"exporter", &of_hash, hash], &mut value).ok()?;
    Some(value)
}
