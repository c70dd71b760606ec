//! Who is at the two ends of a connection.

use std::fmt;
use std::sync::Arc;

use super::{Endpoint, ProxiedAddresses};

/// A connection's number: unique within one server, counted from 1 in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a service may know of its connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The connection's number.
    pub id: ConnId,
    /// The far end: behind a proxy that is believed, the client.
    pub peer: Endpoint,
    /// The near end: behind a proxy, where the client connected to.
    pub local: Endpoint,
    /// The proxy that has said who the client is, where one is believed; or whose own connection it
    /// is.
    pub via: Option<Arc<ProxiedAddresses>>,
    /// What TLS has agreed on; `None` without TLS, and before the connection is open.
    pub tls: Option<Arc<TlsInfo>>,
}

/// What a TLS handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// As IANA names it, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// How the keys were exchanged, such as `X25519MLKEM768`; `None` where an earlier session was resumed without it.
    pub group: Option<&'static str>,
    /// The application protocol (ALPN, RFC 7301), where one was agreed on.
    pub alpn: Option<Box<[u8]>>,
    /// At a server, the name that the client asked for (SNI, RFC 6066).
    pub server_name: Option<Box<str>>,
    /// An earlier session was resumed.
    pub resumed: bool,
    /// The peer's certificate, where it has shown one: always to a client, and to a server that asks for it.
    pub peer: Option<Peer>,
}

/// A peer, as its certificate has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose it is, such as `CN=example.org`.
    pub subject: String,
    /// The SHA-256 of the certificate, in 64 hexadecimal digits.
    pub fingerprint: String,
}

impl ConnInfo {
    /// A connection between `peer` and `local`.
    #[must_use]
    pub fn new(id: ConnId, peer: Endpoint, local: Endpoint) -> Self {
        Self { id, peer, local, via: None, tls: None }
    }

    /// Has a proxy that is believed said that this connection is its own (`LOCAL`), such as a
    /// health check?
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.via.as_ref().is_some_and(|via| via.is_local)
    }
}
