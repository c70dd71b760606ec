//! The result of a TLS handshake, as text and as JSON.

use resound::tls::TlsInfo;

use crate::escape;
use crate::json::JsonObject;

/// The result in a few words.
pub struct TlsSummary<'a>(pub &'a TlsInfo);

impl std::fmt::Display for TlsSummary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.0;
        write!(f, "{}, {}", tls.version, tls.cipher_suite)?;
        let parts = [
            tls.group.map(str::to_string),
            tls.alpn.as_ref().map(|alpn| format!("ALPN {}", escape::text(alpn))),
            tls.server_name.as_ref().map(|name| format!("for {}", escape::text(name.as_bytes()))),
            tls.resumed.then(|| "resumed".into()),
            tls.peer.as_ref().map(|peer| format!("peer {}", escape::plain(peer.subject.as_bytes()))),
        ];
        parts.iter().flatten().try_for_each(|part| write!(f, ", {part}"))
    }
}

/// The result as JSON.
pub fn json(tls: &TlsInfo) -> JsonObject {
    JsonObject::default()
        .with("version", tls.version)
        .with("cipher_suite", tls.cipher_suite)
        .with("group", tls.group)
        .with("alpn", tls.alpn.as_deref().map(escape::text))
        .with("server_name", &tls.server_name)
        .with("resumed", tls.resumed)
        .with("peer", tls.peer.as_ref().map(|peer| &peer.subject))
        .with("peer_sha256", tls.peer.as_ref().map(|peer| &peer.fingerprint))
}
