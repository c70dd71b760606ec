//! The PROXY protocol, versions 1 and 2: a header by which a proxy names its client to the server.
//!
//! The specification is HAProxy's
//! [`proxy-protocol.txt`](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). A header
//! stands before everything else on the connection, TLS included. It is accepted only from trusted
//! proxies, since its sender chooses the address that the server sees. [`Proxies`] is the list of
//! them.
//!
//! ```
//! use resound_proto::proxy::{Addresses, Header, Parsed, Version, parse};
//!
//! let client = "192.0.2.7:54321".parse().unwrap();
//! let server = "198.51.100.1:443".parse().unwrap();
//! let addresses = Addresses::ip(client, server);
//! let header = Header::new(Version::V1, addresses);
//! let bytes = header.encode().unwrap();
//! assert_eq!(bytes, b"PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\r\n");
//! let length = bytes.len();
//! assert_eq!(parse(&bytes), Ok(Parsed::Done { header, length }));
//! ```

mod codec;
mod header;
mod proxies;
mod reader;
mod tlv;
mod v1;
mod v2;

pub use codec::{Parser, parse};
pub use header::{Addresses, Header, Parsed, Transport, Version};
pub use proxies::Proxies;
pub use tlv::{Ssl, Tlv};

use crate::service::Endpoint;

/// The longest header of version 1, its CRLF included.
pub const LONGEST_V1: usize = 107;
/// The longest header of version 2 that is accepted: 16 bytes, and 4096 of addresses and TLVs. The
/// specification allows 65535, and needs 216 for its longest addresses; the headers of known
/// proxies, client certificates included, stay below this.
pub const LONGEST_V2: usize = 16 + 4096;
/// The longest unique id.
pub const LONGEST_UNIQUE_ID: usize = 128;

/// Why a header cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Version 1 has neither TLVs nor a checksum.
    #[error("version 1 of the PROXY protocol has no place for more than addresses")]
    NoTlvs,
    /// Version 1 has no LOCAL.
    #[error("version 1 of the PROXY protocol has no LOCAL")]
    NoLocal,
    /// A path of more than 108 bytes.
    #[error("a unix address in a PROXY header has at most 108 bytes")]
    Path,
    /// A unique id of more than [`LONGEST_UNIQUE_ID`] bytes.
    #[error("a unique id in a PROXY header has at most 128 bytes")]
    UniqueId,
    /// A [`Tlv::Other`] of the checksum's type, 3: [`Header::checksum`] asks for a checksum.
    #[error("the checksum of a PROXY header is no TLV of its own")]
    Checksum,
    /// More than [`LONGEST_V2`] bytes in all.
    #[error("a PROXY header of more than 4112 bytes is not sent")]
    TooLong,
}

impl Addresses {
    /// The addresses in the header of a connection from `source` to `destination`; unknown, where
    /// the two are of different kinds.
    #[must_use]
    pub fn of(source: &Endpoint, destination: &Endpoint) -> Self {
        match (source, destination) {
            (Endpoint::Tcp(source), Endpoint::Tcp(destination)) => Self::ip(*source, *destination),
            (Endpoint::Unix(source), Endpoint::Unix(destination)) => {
                let bytes = |path: &Option<std::sync::Arc<std::path::Path>>| {
                    path.as_ref().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).unwrap_or_default()
                };
                Self::Unix { transport: Transport::Stream, source: bytes(source), destination: bytes(destination) }
            }
            _ => Self::Unknown,
        }
    }

    /// TCP from `source` to `destination`; where their families differ, the IPv4 one is written as
    /// IPv6 (`::ffff:a.b.c.d`).
    #[must_use]
    pub fn ip(source: std::net::SocketAddr, destination: std::net::SocketAddr) -> Self {
        Self::Ip { transport: Transport::Stream, source, destination }
    }
}
