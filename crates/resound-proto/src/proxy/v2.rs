//! Version 2: binary (`proxy-protocol.txt`, 2.2).

use std::array;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut};

use super::header::in_one_family;
use super::{Addresses, EncodeError, Header, LONGEST_V2, Parsed, Transport, Version, tlv};
use crate::error::ProxyError;

/// The beginning of each header, which no text protocol takes for a request.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// A unix socket's path.
const PATH: usize = 108;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

/// Reads a header that begins with [`SIGNATURE`]. Each byte is checked as soon as it is there, so
/// that the error does not depend on how the bytes are split.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let Some(&byte) = bytes.get(12) else { return Ok(Parsed::More) };
    let (version, command) = (byte >> 4, byte & 0xf);
    if version != 2 {
        return Err(ProxyError::Version(version));
    }
    if !matches!(command, LOCAL | PROXY) {
        return Err(ProxyError::Command(command));
    }
    let Some(&family) = bytes.get(13) else { return Ok(Parsed::More) };
    // The contents of LOCAL are skipped, its family included.
    let addresses = if command == LOCAL { 0 } else { size(family).ok_or(ProxyError::Family(family))? };
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(Parsed::More) };
    let length = u16::from_be_bytes([high, low]);
    if usize::from(length) > LONGEST_V2 - FIXED {
        return Err(ProxyError::TooLong(length));
    }
    if usize::from(length) < addresses {
        return Err(ProxyError::TooShort);
    }
    let length = FIXED + usize::from(length);
    let Some(whole) = bytes.get(..length) else { return Ok(Parsed::More) };
    let header = if command == LOCAL {
        Header::new(Version::V2, Addresses::Local)
    } else {
        let (block, rest) = whole[FIXED..].split_at(addresses);
        let (tlvs, checksum) = match tlv::read_all(rest) {
            // The specification demands to ignore the contents of an unknown family, which may be
            // anything: addresses of the sender's own kind, for one.
            Err(_) if addresses == 0 => (Vec::new(), None),
            read => read?,
        };
        if let Some(at) = checksum {
            tlv::check(whole, FIXED + addresses + at)?;
        }
        Header { version: Version::V2, addresses: read(family, block), tlvs, checksum: checksum.is_some() }
    };
    Ok(Parsed::Done { header, length })
}

/// The length of the addresses of a family; `None` where it is not assigned.
fn size(family: u8) -> Option<usize> {
    Some(match (family >> 4, family & 0xf) {
        (UNSPECIFIED, 0) => 0,
        (INET, 1 | 2) => 2 * (4 + 2),
        (INET6, 1 | 2) => 2 * (16 + 2),
        (UNIX, 1 | 2) => 2 * PATH,
        _ => return None,
    })
}

/// The addresses in a block of the family's size.
fn read(family: u8, mut block: &[u8]) -> Addresses {
    let transport = if family & 0xf == 2 { Transport::Datagram } else { Transport::Stream };
    let [source, destination]: [IpAddr; 2] = match family >> 4 {
        INET => array::from_fn(|_| Ipv4Addr::from(block.get_u32()).into()),
        INET6 => array::from_fn(|_| Ipv6Addr::from(block.get_u128()).into()),
        UNIX => {
            // Padded with NULs; an abstract path begins with one.
            let path = |bytes: &[u8]| {
                let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
                bytes[..end].to_vec()
            };
            return Addresses::Unix { transport, source: path(&block[..PATH]), destination: path(&block[PATH..]) };
        }
        _ => return Addresses::Unknown,
    };
    let (source, destination) =
        (SocketAddr::new(source, block.get_u16()), SocketAddr::new(destination, block.get_u16()));
    Addresses::Ip { transport, source, destination }
}

pub(super) fn encode(header: &Header) -> Result<Vec<u8>, EncodeError> {
    let mut out = SIGNATURE.to_vec();
    let command = if header.addresses == Addresses::Local { LOCAL } else { PROXY };
    out.extend([0x20 | command, UNSPECIFIED << 4, 0, 0]);
    let low = |transport: &Transport| if *transport == Transport::Stream { 1 } else { 2 };
    match &header.addresses {
        Addresses::Local | Addresses::Unknown => {}
        Addresses::Ip { transport, source, destination } => {
            let (source, destination) = in_one_family(*source, *destination);
            out[13] = low(transport) | if source.is_ipv4() { INET << 4 } else { INET6 << 4 };
            for ip in [source.ip(), destination.ip()] {
                match ip {
                    IpAddr::V4(v4) => out.put_u32(v4.to_bits()),
                    IpAddr::V6(v6) => out.put_u128(v6.to_bits()),
                }
            }
            out.put_u16(source.port());
            out.put_u16(destination.port());
        }
        Addresses::Unix { transport, source, destination } => {
            out[13] = low(transport) | UNIX << 4;
            for path in [source, destination] {
                let padding = PATH.checked_sub(path.len()).ok_or(EncodeError::Path)?;
                out.extend_from_slice(path);
                out.resize(out.len() + padding, 0);
            }
        }
    }
    let checksum = match command {
        PROXY => tlv::write_all(&header.tlvs, header.checksum, &mut out)?,
        _ => None,
    };
    let length = out.len().checked_sub(FIXED).filter(|n| *n <= LONGEST_V2 - FIXED).ok_or(EncodeError::TooLong)?;
    out[14..FIXED].copy_from_slice(&(length as u16).to_be_bytes());
    if let Some(at) = checksum {
        tlv::fill_in_checksum(&mut out, at);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Ssl, Tlv, parse};
    use super::*;

    /// The signature and what follows it.
    fn bytes(rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, rest].concat()
    }

    #[test]
    fn headers_laid_out_by_hand_are_parsed_and_encoded() {
        // Laid out by hand, from the specification.
        let tcp4 = bytes(&[0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0xd4, 0x31, 1, 0xbb]);
        let addresses = Addresses::ip("192.0.2.7:54321".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
        let header = Header::new(Version::V2, addresses);
        assert_eq!(header.encode().unwrap(), tcp4);
        assert_eq!(parse(&tcp4), Ok(Parsed::Done { header, length: 28 }));
        let local = bytes(&[0x20, 0, 0, 0]);
        let header = Header::new(Version::V2, Addresses::Local);
        assert_eq!(header.encode().unwrap(), local);
        assert_eq!(parse(&local), Ok(Parsed::Done { header, length: 16 }));
    }

    #[test]
    fn the_contents_of_local_are_skipped() {
        let odd = bytes(&[0x20, 0x7f, 0, 3, 1, 2, 3]);
        let header = Header::new(Version::V2, Addresses::Local);
        assert_eq!(parse(&odd), Ok(Parsed::Done { header, length: 19 }));
    }

    #[test]
    fn bad_headers() {
        // Behind addresses of IPv4.
        let with = |tlvs: &[u8]| [&[0x21, 0x11, 0, 12 + tlvs.len() as u8][..], &[0; 12], tlvs].concat();
        let short_ssl = with(&[0x20, 0, 4, 1, 0, 0, 0]);
        let open_ssl = with(&[0x20, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 1]);
        let unique = with(&[&[5, 0, 129][..], &[b'x'; 129]].concat());
        let cases: [(&[u8], ProxyError); 16] = [
            (&[0x11], ProxyError::Version(1)),
            (&[0x22], ProxyError::Command(2)),
            (&[0x21, 0x41], ProxyError::Family(0x41)),
            (&[0x21, 0x10], ProxyError::Family(0x10)),
            (&[0x21, 0x13], ProxyError::Family(0x13)),
            (&[0x21, 0x01], ProxyError::Family(0x01)),
            (&[0x21, 0x11, 0x10, 0x01], ProxyError::TooLong(4097)),
            (&[0x20, 0x00, 0xff, 0xff], ProxyError::TooLong(65535)),
            (&[0x21, 0x11, 0, 11], ProxyError::TooShort),
            (&with(&[4, 0]), ProxyError::Tlv(4)),
            (&with(&[4, 0, 2, 0]), ProxyError::Tlv(4)),
            (&short_ssl, ProxyError::Tlv(0x20)),
            (&open_ssl, ProxyError::Tlv(0x20)),
            (&unique, ProxyError::UniqueId),
            (&with(&[3, 0, 4, 0, 0, 0, 0]), ProxyError::Checksum),
            (&[0x21, 0, 0, 7, 3, 0, 4, 0, 0, 0, 0], ProxyError::Checksum),
        ];
        for (rest, want) in cases {
            assert_eq!(parse(&bytes(rest)), Err(want), "{rest:02x?}");
        }
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT\r"), Err(ProxyError::Absent));
    }

    #[test]
    fn a_changed_bit_and_a_second_checksum_are_errors() {
        let addresses = Addresses::ip("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
        let header = Header { tlvs: vec![Tlv::Noop(5)], checksum: true, ..Header::new(Version::V2, addresses) };
        let good = header.encode().unwrap();
        assert_eq!(parse(&good), Ok(Parsed::Done { header, length: good.len() }));
        let checksum = FIXED + 36 + 3;
        for bit in FIXED * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A bit of the checksum's own type hides it: nothing can be done about that.
            let hides = bit / 8 == checksum - 3;
            assert!(hides || parse(&bad).is_err(), "bit {bit}");
        }
        let sums = [3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0];
        let two = bytes(&[&[0x21, 0x11, 0, 26][..], &[0; 12], &sums].concat());
        assert_eq!(parse(&two), Err(ProxyError::Tlv(3)));
    }

    #[test]
    fn the_contents_of_an_unknown_family_may_be_anything() {
        let unknown = || Header::new(Version::V2, Addresses::Unknown);
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xd4, 0x31, 1, 0xbb];
        for carried in
            [&addresses[..], &[4], &[4, 0, 2, 0], &[0x20, 0, 4, 1, 0, 0, 0], b"anything at all", &[0xff; 216]]
        {
            let wire = bytes(&[&[0x21, 0, 0, carried.len() as u8][..], carried].concat());
            assert_eq!(parse(&wire), Ok(Parsed::Done { header: unknown(), length: wire.len() }), "{carried:02x?}");
        }
        // Valid values count, and so does a checksum.
        let valid = Header { tlvs: vec![Tlv::UniqueId(b"a".to_vec())], checksum: true, ..unknown() };
        let wire = valid.encode().unwrap();
        assert_eq!(parse(&wire), Ok(Parsed::Done { header: valid, length: wire.len() }));
    }

    #[test]
    fn values_are_sent_in_ascending_order_and_the_checksum_in_its_place() {
        let ssl = Ssl { client: 1, verify: 0, tlvs: vec![(0x23, vec![3]), (0x21, vec![1]), (0x23, vec![4])] };
        let tlvs = vec![
            Tlv::Other(0xe1, vec![]),
            Tlv::NetNs(vec![]),
            Tlv::Ssl(ssl),
            Tlv::Other(0xe0, vec![2]),
            Tlv::Other(0xe0, vec![1]),
            Tlv::UniqueId(vec![]),
            Tlv::Authority(vec![]),
            Tlv::Noop(0),
            Tlv::Alpn(vec![]),
        ];
        let header = Header { tlvs, checksum: true, ..Header::new(Version::V2, Addresses::Unknown) };
        let wire = header.encode().unwrap();
        let mut rest = &wire[FIXED..];
        let mut kinds = Vec::new();
        while let [kind, 0, length, behind @ ..] = rest {
            kinds.push(*kind);
            rest = &behind[usize::from(*length)..];
        }
        assert_eq!(kinds, [1, 2, 3, 4, 5, 0x20, 0x30, 0xe0, 0xe0, 0xe1]);
        let Ok(Parsed::Done { header: read, .. }) = parse(&wire) else { panic!("it is a header") };
        assert!(read.checksum && read.tlvs[6..8] == [Tlv::Other(0xe0, vec![2]), Tlv::Other(0xe0, vec![1])]);
        let Tlv::Ssl(ssl) = &read.tlvs[4] else { panic!("{read:?}") };
        assert_eq!(ssl.tlvs, [(0x21, vec![1]), (0x23, vec![3]), (0x23, vec![4])]);
    }

    #[test]
    fn values_that_are_too_long_are_not_sent() {
        let of = |tlv| Header { tlvs: vec![tlv], ..Header::new(Version::V2, Addresses::Unknown) }.encode();
        assert_eq!(of(Tlv::UniqueId(vec![0; 129])), Err(EncodeError::UniqueId));
        assert_eq!(of(Tlv::Noop(4094)), Err(EncodeError::TooLong));
        assert_eq!(of(Tlv::Noop(4093)).map(|bytes| bytes.len()), Ok(LONGEST_V2));
        assert_eq!(of(Tlv::Other(0xe0, vec![0; 70_000])), Err(EncodeError::TooLong));
        assert_eq!(of(Tlv::Other(3, vec![0; 4])), Err(EncodeError::Checksum));
        let ssl = Ssl { tlvs: vec![(0x21, vec![0; 70_000])], ..Ssl::default() };
        assert_eq!(of(Tlv::Ssl(ssl)), Err(EncodeError::TooLong));
        let long = vec![b'x'; 109];
        let unix = Addresses::Unix { transport: Transport::Stream, source: long, destination: Vec::new() };
        assert_eq!(Header::new(Version::V2, unix).encode(), Err(EncodeError::Path));
    }
}
