//! [`Header`]: what a PROXY header says.

use std::net::SocketAddr;

use super::Tlv;

/// Which form a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which form it has.
    pub version: Version,
    /// Who speaks with whom.
    pub addresses: Addresses,
    /// The other values (version 2), in the order in which they came; they are sent in ascending
    /// order of types. LOCAL has none. Of several values of one type the first counts
    /// ([`ProxiedAddresses`](crate::ProxiedAddresses)), and a second checksum makes the header a wrong one.
    pub tlvs: Vec<Tlv>,
    /// It carries a checksum (version 2): checked when received, and computed when sent.
    pub checksum: bool,
}

/// Who speaks with whom, as the proxy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// The proxy speaks for itself, as for a health check: the transport's addresses are the real ones (version 2).
    Local,
    /// The proxy does not say: the transport's addresses are all that is known.
    Unknown,
    /// Over IPv4, or over IPv6.
    Ip {
        /// How the client speaks with the proxy.
        transport: Transport,
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// Over unix sockets: paths of up to 108 bytes (abstract ones begin with NUL; unnamed ones are empty).
    Unix {
        /// How the client speaks with the proxy.
        transport: Transport,
        /// The client.
        source: Vec<u8>,
        /// Where it connected to.
        destination: Vec<u8>,
    },
}

/// How a client speaks with its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP, or a unix stream socket: all that version 1 knows.
    Stream,
    /// UDP, or a unix datagram socket.
    Datagram,
}

impl Header {
    /// A header without TLVs and without a checksum.
    #[must_use]
    pub fn new(version: Version, addresses: Addresses) -> Self {
        Self { version, addresses, tlvs: Vec::new(), checksum: false }
    }
}

/// Both addresses in one family.
pub(super) fn in_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (mapped(source), mapped(destination)),
    }
}

/// What the beginning of a connection has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, perhaps: more bytes must come.
    More,
    /// A header.
    Done {
        /// What it says.
        header: Header,
        /// How long it was; what is behind it belongs to the connection.
        length: usize,
    },
}
