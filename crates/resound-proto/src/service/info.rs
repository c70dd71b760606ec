//! Who is at the two ends of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::ProxiedAddresses;

/// A connection's number: unique within one server, counted from 1 in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One end's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An IP address and port. An IPv4 peer of a dual-stack listener appears as IPv4.
    Tcp(SocketAddr),
    /// A unix socket's path; `None` for an unnamed one, as most clients are.
    Unix(Option<Arc<Path>>),
    /// The peer was gone before its address could be read.
    Unknown,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(unmapped(address))
    }
}

/// The address as IPv4 where it is one that is written as IPv6 (RFC 4291, 2.5.5.2).
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        // Keep scope ids and flow labels of real IPv6 addresses.
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// The network in the form in which addresses are compared: `::ffff:10.0.0.0/104` is 10.0.0.0/8,
/// and there is nothing behind the prefix.
pub fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let v4 = mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
    v4.unwrap_or(network).trunc()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
            Self::Unknown => f.write_str("unknown"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_peer_is_ipv4_again() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:80".parse().unwrap();
        assert_eq!(Endpoint::from(mapped).to_string(), "192.0.2.7:80");
        let real: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(Endpoint::from(real).to_string(), "[2001:db8::1]:80");
    }
}
