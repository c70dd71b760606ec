//! The result of a TLS handshake, as text and as JSON.

use resound::tls::TlsInfo;
use serde::Serialize;

use crate::escape;

/// The result in a few words.
pub(crate) struct TlsSummary<'a>(pub(crate) &'a TlsInfo);

impl std::fmt::Display for TlsSummary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.0;
        write!(f, "{}, {}", tls.version, tls.cipher_suite)?;
        let quoted = |bytes: &[u8]| escape::text(bytes);
        if let Some(group) = tls.group {
            write!(f, ", {group}")?;
        }
        if let Some(alpn) = &tls.alpn {
            write!(f, ", ALPN {}", quoted(alpn))?;
        }
        if let Some(name) = &tls.server_name {
            write!(f, ", for {}", quoted(name.as_bytes()))?;
        }
        if tls.resumed {
            f.write_str(", resumed")?;
        }
        match &tls.peer {
            Some(peer) => write!(f, ", peer {}", quoted(peer.subject.as_bytes())),
            None => Ok(()),
        }
    }
}

/// The result as JSON.
#[derive(Serialize)]
pub(crate) struct AgreedJson {
    version: &'static str,
    cipher_suite: &'static str,
    group: Option<&'static str>,
    alpn: Option<String>,
    server_name: Option<String>,
    resumed: bool,
    peer: Option<String>,
    peer_sha256: Option<String>,
}

impl From<&TlsInfo> for AgreedJson {
    fn from(tls: &TlsInfo) -> Self {
        Self {
            version: tls.version,
            cipher_suite: tls.cipher_suite,
            group: tls.group,
            alpn: tls.alpn.as_ref().map(|alpn| escape::text(alpn)),
            server_name: tls.server_name.as_ref().map(ToString::to_string),
            resumed: tls.resumed,
            peer: tls.peer.as_ref().map(|peer| peer.subject.clone()),
            peer_sha256: tls.peer.as_ref().map(|peer| peer.fingerprint.clone()),
        }
    }
}
