//! [`Header`]: the contents of a PROXY header.

use std::net::SocketAddr;

use super::Tlv;

/// The version of a header.
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
    /// The version.
    pub version: Version,
    /// The client and the address that it connected to.
    pub addresses: Addresses,
    /// The other values (version 2), in the order in which they came; they are sent in ascending
    /// order of types. LOCAL has none. Of several values of one type the first counts
    /// ([`ProxiedAddresses`](crate::ProxiedAddresses)), and a second checksum makes the header a
    /// wrong one.
    pub tlvs: Vec<Tlv>,
    /// It carries a checksum (version 2): checked when received, and computed when sent.
    pub checksum: bool,
}

/// The addresses of the proxied connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// The connection is the proxy's own, such as a health check: the transport's addresses are the
    /// real ones (version 2).
    Local,
    /// The header has no addresses: the transport's are all that is known.
    Unknown,
    /// Over IPv4, or over IPv6.
    Ip {
        /// The transport between client and proxy.
        transport: Transport,
        /// The client.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
    /// Over unix sockets: paths of up to 108 bytes (abstract ones begin with NUL; unnamed ones are
    /// empty).
    Unix {
        /// The transport between client and proxy.
        transport: Transport,
        /// The client.
        source: Vec<u8>,
        /// The address that it connected to.
        destination: Vec<u8>,
    },
}

/// The transport between a client and its proxy.
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

/// The result of [`parse`](super::parse).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The bytes may be the beginning of a header: more must come.
    More,
    /// A header.
    Done {
        /// Its contents.
        header: Header,
        /// Its length in bytes; the bytes after it belong to the connection.
        length: usize,
    },
}
