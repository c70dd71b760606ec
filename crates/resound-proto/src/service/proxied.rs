//! [`ProxiedAddresses`]: the trusted proxy that a connection came through.

use super::Endpoint;

/// The proxy that a connection came through, and what its PROXY header contained. The values are
/// bytes as the proxy sent them, and the client may have chosen them: escape them before a terminal
/// shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedAddresses {
    /// The proxy: the transport's peer.
    pub peer: Endpoint,
    /// The address that the proxy connected to: the transport's local address.
    pub local: Endpoint,
    /// The version of its header: 1 or 2.
    pub version: u8,
    /// The header was `LOCAL`: the connection is the proxy's own, and there is no client behind it.
    pub is_local: bool,
    /// The host name that the client asked the proxy for, such as TLS's server name.
    pub authority: Option<Box<[u8]>>,
    /// The application protocol that the client has negotiated with the proxy (ALPN, RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// The connection's identity at the proxy, of at most 128 bytes.
    pub unique_id: Option<Box<[u8]>>,
    /// The network namespace that the proxy was in.
    pub namespace: Option<Box<[u8]>>,
    /// The client's TLS with the proxy; `None` where it used none, or the header does not contain
    /// it.
    pub tls: Option<ProxiedTls>,
}

/// The TLS between a client and its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedTls {
    /// Such as `TLSv1.3`.
    pub version: Option<Box<[u8]>>,
    /// Such as `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: Option<Box<[u8]>>,
    /// The common name in the client's certificate.
    pub common_name: Option<Box<[u8]>>,
    /// The client has sent a certificate, and the proxy has verified it.
    pub verified: bool,
}
