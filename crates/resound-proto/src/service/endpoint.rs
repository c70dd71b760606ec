//! [`Endpoint`]: the address of one end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

/// The address of one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An IP address and port. An IPv4 peer of a dual-stack listener appears as IPv4.
    Tcp(SocketAddr),
    /// A unix socket's path; `None` for an unnamed one, as most clients are.
    Unix(Option<Arc<Path>>),
    /// The peer was gone before the engine could read its address.
    Unknown,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(unmapped(address))
    }
}

/// The address as IPv4 where it is IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        // Scope id and flow label stay.
        IpAddr::V6(_) => address,
    }
}

/// The network in the form in which addresses are compared: `::ffff:10.0.0.0/104` is 10.0.0.0/8,
/// and the bits after the prefix are zero.
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
