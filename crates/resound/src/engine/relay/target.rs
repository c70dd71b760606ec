//! [`RelayTarget`]: where a relay connects to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_proto::{ConnId, ConnInfo, Endpoint, Handshake};

use super::resolver::{ClientWaker, Lookup, Resolver};
use crate::engine::address::{Address, Family};
use crate::error::Error;

/// Makes the handshake with a target, for a client and the connection that was dialled for it.
type TargetHandshake = dyn Fn(&ConnInfo, &ConnInfo) -> Handshake + Send + Sync;

/// Where a relay connects to for each client.
///
/// The addresses of a name race as RFC 8305 says: each has a head start of 250 ms over the next,
/// the families take turns, and the first that answers is taken. A name is resolved anew for a
/// client that comes a second or more after the last look-up.
pub struct RelayTarget {
    address: Address,
    resolver: Arc<Resolver>,
    pub(super) timeout: Duration,
    pub(super) source: Option<IpAddr>,
    family: Family,
    pub(super) handshake: Option<Box<TargetHandshake>>,
}

impl RelayTarget {
    /// A target that is reached from wherever the system chooses, within 10 s, in plain text.
    ///
    /// # Errors
    /// [`Error::Interface`] for a link-local address without an interface.
    pub fn new(address: Address) -> Result<Self, Error> {
        address.check_interface()?;
        let resolver = Arc::new(Resolver::new(address.clone()));
        let timeout = Duration::from_secs(10);
        Ok(Self { address, resolver, timeout, source: None, family: Family::Any, handshake: None })
    }

    /// The address as it was given.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Uses only the addresses of one family.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// How long the resolver, and then each address, may take; 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The address of this machine to connect from; only targets of its family are dialled.
    pub fn source_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source.to_canonical());
        self
    }

    /// Sets the handshake with the target, such as a PROXY header or TLS, before the first byte is
    /// relayed. It is made for the client (first argument; [`client_addresses`] are those for a
    /// PROXY header) and the connection to the target (second argument).
    ///
    /// [`client_addresses`]: super::client_addresses
    pub fn handshake(mut self, handshake: impl Fn(&ConnInfo, &ConnInfo) -> Handshake + Send + Sync + 'static) -> Self {
        self.handshake = Some(Box::new(handshake));
        self
    }

    /// The addresses to dial, in order; or, for a name, a promise to wake the client once they are
    /// known.
    pub(super) fn addresses(&self, now: Instant, client: ConnId, waker: &Arc<ClientWaker>) -> Lookup {
        let found = self.resolver.lookup(now, client, waker);
        let Lookup::Found(addresses) = found else { return found };
        let admits = |address: &SocketAddr| {
            self.family.admits(address) && self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        };
        let admits = |address: &Endpoint| !matches!(address, Endpoint::Tcp(tcp) if !admits(tcp));
        let addresses: Vec<_> = addresses.into_iter().filter(admits).collect();
        match addresses.is_empty() {
            true => Lookup::Failed(std::io::Error::other("it has no address of the wanted family")),
            false => Lookup::Found(addresses),
        }
    }
}

/// Whether an address is one of this machine's.
fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// Listeners, and where their connections lead.
pub(super) struct Route {
    pub(super) from: Vec<Endpoint>,
    pub(super) target: RelayTarget,
}

impl Route {
    /// Whether a connection to `address` would come back to these listeners.
    pub(super) fn leads_back(&self, address: &Endpoint) -> bool {
        let is_same = |from: &Endpoint| match (from, address) {
            (Endpoint::Tcp(from), Endpoint::Tcp(to)) => {
                from.port() == to.port() && (from.ip() == to.ip() || (from.ip().is_unspecified() && is_own(to.ip())))
            }
            (from, to) => from == to,
        };
        self.from.iter().any(is_same)
    }

    /// The route of a connection to `local`: one that listens on exactly this address, or on any
    /// address and this port.
    pub(super) fn of(routes: &[Self], local: &Endpoint) -> usize {
        let is_wild = |from: &Endpoint| match (from, local) {
            (Endpoint::Tcp(from), Endpoint::Tcp(local)) => from.ip().is_unspecified() && from.port() == local.port(),
            _ => false,
        };
        let position =
            |matches: &dyn Fn(&Endpoint) -> bool| routes.iter().position(|route| route.from.iter().any(matches));
        position(&|from| from == local).or_else(|| position(&is_wild)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    #[test]
    fn an_address_may_lead_back() {
        let tcp = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let target = || RelayTarget::new(Address::tcp("localhost", "1").unwrap()).unwrap();
        for (from, to, want) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "192.0.2.1:1", false),
        ] {
            let route = Route { from: vec![tcp(from)], target: target() };
            assert_eq!(route.leads_back(&tcp(to)), want, "{from} to {to}");
        }
    }

    #[test]
    fn a_connection_takes_the_route_of_its_listener() {
        let tcp = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let route = |from: &[&str]| Route {
            from: from.iter().map(|from| tcp(from)).collect(),
            target: RelayTarget::new(Address::tcp("127.0.0.1", "1").unwrap()).unwrap(),
        };
        let routes = [route(&["127.0.0.1:1", "[::1]:1"]), route(&["0.0.0.0:2"]), route(&["127.0.0.2:2"])];
        for (local, want) in [("[::1]:1", 0), ("127.0.0.1:2", 1), ("127.0.0.2:2", 2), ("192.0.2.1:2", 1)] {
            assert_eq!(Route::of(&routes, &tcp(local)), want, "{local}");
        }
    }

    #[test]
    fn only_addresses_of_the_wanted_family_are_dialled() {
        let addresses = |change: &dyn Fn(RelayTarget) -> RelayTarget| {
            let target = change(RelayTarget::new(Address::tcp("127.0.0.1", "1").unwrap()).unwrap());
            match target.addresses(Instant::now(), ConnId(1), &Arc::new(ClientWaker(OnceLock::new()))) {
                Lookup::Found(addresses) => addresses.len(),
                Lookup::Failed(_) => 0,
                Lookup::Waiting => panic!("a number needs no resolver"),
            }
        };
        assert_eq!([Family::Any, Family::V4, Family::V6].map(|family| addresses(&|to| to.family(family))), [1, 1, 0]);
        let sources = ["127.0.0.1", "::1"].map(|source| source.parse().unwrap());
        assert_eq!(sources.map(|source| addresses(&|to| to.source_address(source))), [1, 0]);
    }
}
