//! The proxy of a connection, as the console shows it.

use std::fmt;
use std::net::SocketAddr;

use resound::{ConnInfo, Endpoint};

use crate::escape;
use crate::json::JsonObject;

/// The text after the peer: ` via ('127.0.0.1', 40112), PROXY v2, authority example.org, TLSv1.3`,
/// `, PROXY v2 LOCAL`; empty without a header.
pub(crate) struct ProxiedText<'a>(pub(crate) &'a ConnInfo);

impl fmt::Display for ProxiedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(via) = &self.0.via else { return Ok(()) };
        if via.is_local {
            return write!(f, ", PROXY v{} LOCAL", via.version);
        }
        match &via.peer {
            Endpoint::Tcp(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
                write!(f, " via ('{}%{}', {})", v6.ip(), v6.scope_id(), v6.port())?;
            }
            Endpoint::Tcp(address) => write!(f, " via ('{}', {})", address.ip(), address.port())?,
            Endpoint::Unix(None) => f.write_str(" via a unix socket")?,
            other => write!(f, " via {}", escape::text(other.to_string().as_bytes()))?,
        }
        write!(f, ", PROXY v{}{}", via.version, if is_unknown(self.0) { " UNKNOWN" } else { "" })?;
        let values = [
            ("authority", &via.authority),
            ("ALPN", &via.alpn),
            ("unique id", &via.unique_id),
            ("network namespace", &via.namespace),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                write!(f, ", {name} {}", escape::text(value))?;
            }
        }
        let Some(tls) = &via.tls else { return Ok(()) };
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

/// The value for the JSON log. Bytes that are no text are escaped.
pub(crate) fn json(conn: &ConnInfo) -> Option<JsonObject> {
    let text = |value: &Option<Box<[u8]>>| value.as_deref().map(escape::text);
    let via = conn.via.as_ref()?;
    let tls = via.tls.as_ref().map(|tls| {
        JsonObject::default()
            .with_some("version", text(&tls.version))
            .with_some("cipher", text(&tls.cipher))
            .with_some("common_name", text(&tls.common_name))
            .with("verified", tls.verified)
    });
    let object = JsonObject::default()
        .with("peer", via.peer.to_string())
        .with("local", via.local.to_string())
        .with("version", via.version)
        // `local`: a connection of the proxy itself.
        .with("command", if via.is_local { "local" } else { "proxy" })
        .with_some("unknown", is_unknown(conn).then_some(true))
        .with_some("authority", text(&via.authority))
        .with_some("alpn", text(&via.alpn))
        .with_some("unique_id", text(&via.unique_id))
        .with_some("namespace", text(&via.namespace))
        .with_object("tls", tls);
    Some(object)
}

/// True if the proxy does not know its client (`UNKNOWN`, unspecified): the addresses are then the
/// proxy's own.
fn is_unknown(conn: &ConnInfo) -> bool {
    conn.via.as_ref().is_some_and(|via| !via.is_local && via.peer == conn.peer)
}
