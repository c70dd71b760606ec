//! [`HeaderReader`]: the PROXY header at the beginning of a connection.

use std::path::Path;
use std::sync::Arc;

use super::{Addresses, Header, Parser, Ssl, Tlv, Version};
use crate::detect::{DetectedProtocol, detect_protocol};
use crate::error::{CloseReason, ProxyError};
use crate::handshake::{HeaderProgress, ReadHeader};
use crate::service::{ConnInfo, Endpoint, ProxiedAddresses, ProxiedTls};

/// Reads the header that each connection must begin with.
pub(super) struct HeaderReader {
    pub(super) trusted: bool,
    pub(super) parser: Parser,
}

impl ReadHeader for HeaderReader {
    fn read(&mut self, wire: &[u8], conn: &mut ConnInfo) -> HeaderProgress {
        if !self.trusted {
            if conn.peer == Endpoint::Unknown && wire.is_empty() {
                // A peer without an address is most often gone, and the socket reports that next:
                // it is not refused before it has sent bytes.
                return HeaderProgress::More;
            }
            return HeaderProgress::Refused(CloseReason::UntrustedProxy);
        }
        match self.parser.read(wire) {
            Ok(None) => HeaderProgress::More,
            Ok(Some((header, n))) => {
                apply(header, conn);
                HeaderProgress::Done(n)
            }
            Err(ProxyError::Absent) => {
                let instead = detect_protocol(self.parser.seen()).unwrap_or(DetectedProtocol::Binary);
                HeaderProgress::Refused(CloseReason::NoProxyHeader(instead))
            }
            Err(error) => HeaderProgress::Refused(CloseReason::BadProxyHeader(error)),
        }
    }
}

/// From now on the peer of the connection is the client, not the proxy.
fn apply(header: Header, conn: &mut ConnInfo) {
    let is_local = header.addresses == Addresses::Local;
    let (peer, local) = match header.addresses {
        // All that is known of the client is in the header's values. LOCAL has no client.
        Addresses::Local | Addresses::Unknown => (conn.peer.clone(), conn.local.clone()),
        Addresses::Ip { source, destination, .. } => (source.into(), destination.into()),
        Addresses::Unix { source, destination, .. } => (unix(&source), unix(&destination)),
    };
    // Of several values of one type the first counts.
    let ssl = header.tlvs.iter().find_map(|tlv| if let Tlv::Ssl(ssl) = tlv { Some(ssl) } else { None });
    let mut via = ProxiedAddresses {
        peer: std::mem::replace(&mut conn.peer, peer),
        local: std::mem::replace(&mut conn.local, local),
        version: if header.version == Version::V1 { 1 } else { 2 },
        is_local,
        authority: None,
        alpn: None,
        unique_id: None,
        namespace: None,
        tls: ssl.filter(|ssl| ssl.client & Ssl::TLS != 0).map(client_tls),
    };
    for tlv in header.tlvs {
        let (field, value) = match tlv {
            Tlv::Authority(name) => (&mut via.authority, name),
            Tlv::Alpn(protocol) => (&mut via.alpn, protocol),
            Tlv::UniqueId(id) => (&mut via.unique_id, id),
            Tlv::NetNs(name) => (&mut via.namespace, name),
            Tlv::Ssl(_) | Tlv::Noop(_) | Tlv::Other(..) => continue,
        };
        field.get_or_insert_with(|| value.into());
    }
    conn.via = Some(Arc::new(via));
}

fn client_tls(ssl: &Ssl) -> ProxiedTls {
    let value = |kind| ssl.get(kind).map(Into::into);
    let has_certificate = ssl.client & (Ssl::CERT_CONN | Ssl::CERT_SESS) != 0;
    ProxiedTls {
        version: value(Ssl::VERSION),
        cipher: value(Ssl::CIPHER),
        common_name: value(Ssl::COMMON_NAME),
        verified: has_certificate && ssl.verify == 0,
    }
}

fn unix(path: &[u8]) -> Endpoint {
    #[cfg(unix)]
    let path = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
    #[cfg(not(unix))]
    let lossy = String::from_utf8_lossy(path);
    #[cfg(not(unix))]
    let path = Path::new(lossy.as_ref());
    Endpoint::Unix((!path.as_os_str().is_empty()).then(|| path.into()))
}
