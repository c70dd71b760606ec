//! [`Proxies`]: the proxies whose PROXY headers are accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Parser;
use super::reader::HeaderReader;
use crate::handshake::ReadHeader;
use crate::service::{ConnInfo, Endpoint, canonical};

/// The proxies that a server trusts: each connection must come from one of their addresses, and
/// begin with a PROXY header. The server never guesses: it either requires the header or does not
/// know it.
///
/// ```
/// use resound_proto::{ConnId, ConnInfo, Endpoint, Handshake};
/// use resound_proto::proxy::Proxies;
///
/// let proxies = Proxies::from(["10.0.0.0/8".parse().unwrap()]);
/// let peer = Endpoint::Tcp("10.1.2.3:4000".parse().unwrap());
/// let conn = ConnInfo::new(ConnId(1), peer, Endpoint::Tcp("10.0.0.1:80".parse().unwrap()));
/// let handshake = Handshake::new().expect_header(proxies.header_reader(&conn));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl<I: IntoIterator<Item = IpNet>> From<I> for Proxies {
    fn from(networks: I) -> Self {
        Self(networks.into_iter().map(canonical).collect())
    }
}

impl Proxies {
    /// The proxies of this machine: 127.0.0.0/8 and `::1`.
    #[must_use]
    pub fn local() -> Self {
        let v4 = IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8).trunc();
        Self(vec![v4, IpAddr::V6(Ipv6Addr::LOCALHOST).into()])
    }

    /// Whether the peer is one of them. A peer on a unix socket is: the permissions of the socket's
    /// file have admitted it.
    #[must_use]
    pub fn trusts(&self, peer: &Endpoint) -> bool {
        match peer {
            Endpoint::Tcp(address) => self.0.iter().any(|network| network.contains(&address.ip().to_canonical())),
            Endpoint::Unix(_) => true,
            Endpoint::Unknown => false,
        }
    }

    /// Reads the header that the connection must begin with.
    #[must_use]
    pub fn header_reader(&self, conn: &ConnInfo) -> impl ReadHeader + use<> {
        HeaderReader { trusted: self.trusts(&conn.peer), parser: Parser::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_trusted_or_not() {
        let peer = |text: &str| Endpoint::from(text.parse::<std::net::SocketAddr>().unwrap());
        let some = Proxies::from(["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let mapped = Proxies::from(["::ffff:10.0.0.0/104".parse().unwrap()]);
        let local = Proxies::local();
        for (proxies, address, want) in [
            (&some, "10.255.0.1:1", true),
            (&some, "[::ffff:10.0.0.1]:1", true),
            (&some, "11.0.0.1:1", false),
            (&some, "[2001:db8:ffff::1]:1", true),
            (&some, "127.0.0.1:1", false),
            (&mapped, "10.255.0.1:1", true),
            (&mapped, "[::ffff:10.255.0.1]:1", true),
            (&mapped, "11.0.0.1:1", false),
            (&local, "127.9.9.9:1", true),
            (&local, "[::1]:1", true),
            (&local, "[::2]:1", false),
            (&local, "10.0.0.1:1", false),
        ] {
            assert_eq!(proxies.trusts(&peer(address)), want, "{address}");
        }
        let raw = Endpoint::Tcp("[::ffff:10.0.0.1]:1".parse().unwrap());
        assert!(some.trusts(&raw) && mapped.trusts(&raw));
        assert!(some.trusts(&Endpoint::Unix(None)));
        assert!(!some.trusts(&Endpoint::Unknown));
    }
}
