//! [`ConnInfo`]: what is known of a connection.

use std::fmt;
use std::sync::Arc;

use super::{Endpoint, ProxiedAddresses};

/// A connection's number: unique within one server, counted from 1 in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The first number of the connections that a relay dials; those of its clients count from 1.
    pub const FIRST_DIALLED: u64 = 1 << 63;

    /// Whether a relay has dialled it for a client.
    #[must_use]
    pub fn is_dialled_by_relay(self) -> bool {
        self.0 >= Self::FIRST_DIALLED
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a connection: for its service and the observers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The connection's number.
    pub id: ConnId,
    /// The peer: behind a trusted proxy, the client.
    pub peer: Endpoint,
    /// This end: behind a proxy, the address that the client connected to.
    pub local: Endpoint,
    /// The trusted proxy that the connection came through, or that it belongs to.
    pub via: Option<Arc<ProxiedAddresses>>,
    /// What TLS has negotiated; `None` without TLS, and before the connection is open.
    pub tls: Option<Arc<TlsInfo>>,
}

/// What a TLS handshake has negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// IANA's name of the cipher suite, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`; `None` where an earlier session was
    /// resumed without one.
    pub group: Option<&'static str>,
    /// The application protocol (ALPN, RFC 7301), where one was negotiated.
    pub alpn: Option<Box<[u8]>>,
    /// At a server, the name that the client asked for (SNI, RFC 6066).
    pub server_name: Option<Box<str>>,
    /// An earlier session was resumed.
    pub resumed: bool,
    /// The peer's certificate, where it has sent one: a server always does, a client when asked.
    pub peer: Option<PeerCertificate>,
    /// The channel binding `tls-exporter` (RFC 9266): equal at both ends of this session, and
    /// different in each other session. An attacker who ends TLS between them cannot make it equal.
    /// `None` with TLS 1.2, where sessions may share it (section 4.2).
    pub exporter: Option<[u8; 32]>,
}

/// What the certificate of a peer says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject, such as `CN=example.org`.
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

    /// Whether a trusted proxy has declared this connection its own (`LOCAL`), such as a health
    /// check.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.via.as_ref().is_some_and(|via| via.is_local)
    }
}
