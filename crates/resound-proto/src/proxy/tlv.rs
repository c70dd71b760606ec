//! [`Tlv`]: the further values of a version 2 header, as type, length and value
//! (`proxy-protocol.txt`, 2.2.1 to 2.2.8).

use std::borrow::Cow;

use bytes::BufMut;

use super::{EncodeError, LONGEST_UNIQUE_ID};
use crate::error::ProxyError;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const NETNS: u8 = 0x30;

/// One value. The checksum is not among them: see [`Header::checksum`](super::Header::checksum).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tlv {
    /// The application protocol that the client and the proxy have negotiated (ALPN, RFC 7301).
    Alpn(Vec<u8>),
    /// The host name that the client asked for, such as TLS's server name: UTF-8, if the proxy
    /// follows the specification.
    Authority(Vec<u8>),
    /// Padding of this many bytes.
    Noop(usize),
    /// The connection's identity at the proxy: up to 128 bytes of any kind.
    UniqueId(Vec<u8>),
    /// The TLS between client and proxy.
    Ssl(Ssl),
    /// The network namespace that the proxy was in.
    NetNs(Vec<u8>),
    /// Any other type.
    Other(u8, Vec<u8>),
}

/// The TLS between a client and its proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    /// A bit mask: [`Ssl::TLS`], [`Ssl::CERT_CONN`], [`Ssl::CERT_SESS`].
    pub client: u8,
    /// 0 where the client has sent a certificate that was verified.
    pub verify: u32,
    /// Types and values: [`Ssl::VERSION`] and the like.
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

impl Ssl {
    /// In [`Ssl::client`]: the client uses TLS.
    pub const TLS: u8 = 1;
    /// In [`Ssl::client`]: it has sent a certificate on this connection.
    pub const CERT_CONN: u8 = 2;
    /// In [`Ssl::client`]: it has sent one in this TLS session.
    pub const CERT_SESS: u8 = 4;

    /// The type of TLS's version, such as `TLSv1.3`.
    pub const VERSION: u8 = 0x21;
    /// The type of the common name in the client's certificate.
    pub const COMMON_NAME: u8 = 0x22;
    /// The type of the cipher's name, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    pub const CIPHER: u8 = 0x23;
    /// The type of the algorithm that signed the certificate, such as `SHA256`.
    pub const SIGNATURE: u8 = 0x24;
    /// The type of the certificate's key, such as `RSA2048`.
    pub const KEY: u8 = 0x25;

    /// The first value of this type.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs.iter().find(|(other, _)| *other == kind).map(|(_, value)| value.as_slice())
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (&client, rest) = value.split_first()?;
        let (verify, mut rest) = rest.split_first_chunk()?;
        let mut tlvs = Vec::new();
        while !rest.is_empty() {
            let (kind, value, behind) = next(rest)?;
            tlvs.push((kind, value.to_vec()));
            rest = behind;
        }
        Some(Self { client, verify: u32::from_be_bytes(*verify), tlvs })
    }
}

/// The first value, its type, and what is behind it; `None` where it does not end.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let &[kind, high, low] = bytes.first_chunk()?;
    let (value, rest) = bytes[3..].split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((kind, value, rest))
}

/// All values, and the place of the checksum's, if there is one.
pub(super) fn read_all(all: &[u8]) -> Result<(Vec<Tlv>, Option<usize>), ProxyError> {
    let (mut tlvs, mut checksum, mut rest) = (Vec::new(), None, all);
    while let Some(&kind) = rest.first() {
        let broken = ProxyError::Tlv(kind);
        let (_, value, behind) = next(rest).ok_or(broken)?;
        rest = behind;
        let owned = || value.to_vec();
        tlvs.push(match kind {
            ALPN => Tlv::Alpn(owned()),
            AUTHORITY => Tlv::Authority(owned()),
            CRC32C if value.len() != 4 || checksum.is_some() => return Err(broken),
            CRC32C => {
                checksum = Some(all.len() - rest.len() - 4);
                continue;
            }
            NOOP => Tlv::Noop(value.len()),
            UNIQUE_ID if value.len() > LONGEST_UNIQUE_ID => return Err(ProxyError::UniqueId),
            UNIQUE_ID => Tlv::UniqueId(owned()),
            SSL => Tlv::Ssl(Ssl::read(value).ok_or(broken)?),
            NETNS => Tlv::NetNs(owned()),
            other => Tlv::Other(other, owned()),
        });
    }
    Ok((tlvs, checksum))
}

/// The checksum of a header whose own, at `at`, counts as zero.
fn checksum(header: &[u8], at: usize) -> u32 {
    let zeroed = crc32c::crc32c_append(crc32c::crc32c(&header[..at]), &[0; 4]);
    crc32c::crc32c_append(zeroed, &header[at + 4..])
}

pub(super) fn check(header: &[u8], at: usize) -> Result<(), ProxyError> {
    match header[at..at + 4] == checksum(header, at).to_be_bytes() {
        true => Ok(()),
        false => Err(ProxyError::Checksum),
    }
}

impl Tlv {
    /// The type and the value as they are sent.
    fn encoded(&self) -> Result<(u8, Cow<'_, [u8]>), EncodeError> {
        Ok(match self {
            Self::Alpn(value) => (ALPN, value.into()),
            Self::Authority(value) => (AUTHORITY, value.into()),
            Self::Noop(n) => (NOOP, vec![0; (*n).min(usize::from(u16::MAX) + 1)].into()),
            Self::UniqueId(value) if value.len() > LONGEST_UNIQUE_ID => return Err(EncodeError::UniqueId),
            Self::UniqueId(value) => (UNIQUE_ID, value.into()),
            Self::Ssl(ssl) => {
                let mut value = vec![ssl.client];
                value.put_u32(ssl.verify);
                let mut sorted: Vec<_> = ssl.tlvs.iter().collect();
                sorted.sort_by_key(|(kind, _)| *kind);
                sorted.iter().try_for_each(|(kind, inner)| write(*kind, inner, &mut value))?;
                (SSL, value.into())
            }
            Self::NetNs(value) => (NETNS, value.into()),
            Self::Other(CRC32C, _) => return Err(EncodeError::Checksum),
            Self::Other(kind, value) => (*kind, value.into()),
        })
    }
}

/// Writes them in ascending order of their types, those of one type in their own order, with room
/// for a checksum in its place. Returns that place.
pub(super) fn write_all(tlvs: &[Tlv], has_checksum: bool, out: &mut Vec<u8>) -> Result<Option<usize>, EncodeError> {
    let mut values = tlvs.iter().map(Tlv::encoded).collect::<Result<Vec<_>, _>>()?;
    values.extend(has_checksum.then(|| (CRC32C, vec![0; 4].into())));
    values.sort_by_key(|(kind, _)| *kind);
    let mut checksum = None;
    for (kind, value) in values {
        write(kind, &value, out)?;
        checksum = if has_checksum && kind == CRC32C { Some(out.len() - 4) } else { checksum };
    }
    Ok(checksum)
}

fn write(kind: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = u16::try_from(value.len()).map_err(|_| EncodeError::TooLong)?;
    out.put_u8(kind);
    out.put_u16(length);
    out.extend_from_slice(value);
    Ok(())
}

/// Writes the checksum at this place, once the header is complete.
pub(super) fn fill_in_checksum(out: &mut [u8], at: usize) {
    let sum = checksum(out, at);
    out[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}
