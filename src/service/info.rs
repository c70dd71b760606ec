//! Who is at the two ends of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

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
        Self::Tcp(match address {
            // Keep scope ids and flow labels of real IPv6 addresses.
            SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), v6.port()),
                None => address,
            },
            SocketAddr::V4(_) => address,
        })
    }
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
pub struct ConnInfo {
    /// The connection's number.
    pub id: ConnId,
    /// The far end.
    pub peer: Endpoint,
    /// The near end.
    pub local: Endpoint,
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
