//! The proxy that a connection came through, as the console shows it.

use std::fmt;
use std::net::SocketAddr;

use resound::{Endpoint, Via};
use serde::Serialize;

use crate::escape;

/// For people: `('127.0.0.1', 40112), PROXY v2, authority example.org, TLSv1.3`.
pub(crate) struct ViaText<'a>(pub(crate) &'a Via);

impl fmt::Display for ViaText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.peer {
            Endpoint::Tcp(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
                write!(f, "('{}%{}', {})", v6.ip(), v6.scope_id(), v6.port())?;
            }
            Endpoint::Tcp(address) => write!(f, "('{}', {})", address.ip(), address.port())?,
            Endpoint::Unix(None) => f.write_str("a unix socket")?,
            other => f.write_str(&escape::text(other.to_string().as_bytes()))?,
        }
        write!(f, ", PROXY v{}", self.0.version)?;
        let values = [
            ("authority", &self.0.authority),
            ("ALPN", &self.0.alpn),
            ("unique id", &self.0.unique_id),
            ("network namespace", &self.0.namespace),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                write!(f, ", {name} {}", escape::text(value))?;
            }
        }
        let Some(tls) = &self.0.tls else { return Ok(()) };
        write!(f, ", {}", tls.version.as_deref().map_or("TLS".into(), escape::text))?;
        if let Some(cipher) = &tls.cipher {
            write!(f, " {}", escape::text(cipher))?;
        }
        if let Some(name) = &tls.common_name {
            let trust = if tls.verified { "verified" } else { "not verified" };
            write!(f, " from CN={} ({trust})", escape::text(name))?;
        }
        Ok(())
    }
}

/// For the JSON log. Values that are no text are escaped.
#[derive(Serialize)]
pub(crate) struct ViaJson {
    peer: String,
    local: String,
    version: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsJson>,
}

#[derive(Serialize)]
struct TlsJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<String>,
    verified: bool,
}

impl ViaJson {
    pub(crate) fn of(via: &Via) -> Self {
        let text = |value: &Option<Box<[u8]>>| value.as_deref().map(escape::text);
        Self {
            peer: via.peer.to_string(),
            local: via.local.to_string(),
            version: via.version,
            authority: text(&via.authority),
            alpn: text(&via.alpn),
            unique_id: text(&via.unique_id),
            namespace: text(&via.namespace),
            tls: via.tls.as_ref().map(|tls| TlsJson {
                version: text(&tls.version),
                cipher: text(&tls.cipher),
                common_name: text(&tls.common_name),
                verified: tls.verified,
            }),
        }
    }
}
