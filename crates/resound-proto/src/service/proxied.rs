//! [`ProxiedAddresses`]: the proxy that a connection came through.

use super::Endpoint;

/// The proxy that a connection came through, and what it said of the connection (PROXY protocol). The values are bytes as the proxy sent
/// them, and the client may have chosen them: they are not fit for a terminal as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedAddresses {
    /// The proxy: the transport's far end.
    pub peer: Endpoint,
    /// Where the proxy connected to: the transport's near end.
    pub local: Endpoint,
    /// The version of its header: 1 or 2.
    pub version: u8,
    /// It has said `LOCAL`: the connection is its own, and there is no client behind it.
    pub is_local: bool,
    /// The host name that the client asked the proxy for, such as TLS's server name.
    pub authority: Option<Box<[u8]>>,
    /// The application protocol that the client has agreed on with the proxy (ALPN, RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// The connection's identity at the proxy, of at most 128 bytes.
    pub unique_id: Option<Box<[u8]>>,
    /// The network namespace that the proxy was in.
    pub namespace: Option<Box<[u8]>>,
    /// How the client spoke TLS with the proxy; `None` where it did not, or the proxy does not say.
    pub tls: Option<ProxiedTls>,
}

/// How a client spoke TLS with its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedTls {
    /// Such as `TLSv1.3`.
    pub version: Option<Box<[u8]>>,
    /// Such as `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: Option<Box<[u8]>>,
    /// The common name in the client's certificate.
    pub common_name: Option<Box<[u8]>>,
    /// The client has shown a certificate, and the proxy has verified it.
    pub verified: bool,
}
