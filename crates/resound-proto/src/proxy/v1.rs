//! Version 1: a line of text (`proxy-protocol.txt`, 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::in_one_family;
use super::{Addresses, EncodeError, Header, LONGEST_V1, Parsed, Transport, Version};
use crate::error::ProxyError;

/// The beginning of each header.
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// Reads a line that begins with [`PREFIX`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let head = &bytes[..bytes.len().min(LONGEST_V1)];
    let fields = &head[PREFIX.len()..];
    // The specification demands to ignore everything after UNKNOWN up to the CRLF, bare newlines
    // too.
    let unknown = fields.starts_with(b"UNKNOWN ") || fields.starts_with(b"UNKNOWN\r");
    let mut from = 0;
    let length = loop {
        match memchr::memchr(b'\n', &head[from..]) {
            Some(at) if from + at > 0 && head[from + at - 1] == b'\r' => break from + at + 1,
            Some(at) if unknown => from += at + 1,
            Some(_) => return Err(ProxyError::LineEnding),
            None if bytes.len() >= LONGEST_V1 => return Err(ProxyError::LineTooLong),
            None => return Ok(Parsed::More),
        }
    };
    let addresses = if unknown { Addresses::Unknown } else { addresses(&head[PREFIX.len()..length - 2])? };
    Ok(Parsed::Done { header: Header::new(Version::V1, addresses), length })
}

fn addresses(fields: &[u8]) -> Result<Addresses, ProxyError> {
    let mut fields = fields.split(|&b| b == b' ');
    let mut next = || fields.next().ok_or(ProxyError::Fields);
    let ip = match next()? {
        b"TCP4" => |text: &[u8]| number::<Ipv4Addr>(text).map(IpAddr::V4),
        b"TCP6" => |text: &[u8]| number::<Ipv6Addr>(text).map(IpAddr::V6),
        _ => return Err(ProxyError::Protocol),
    };
    let (source, destination, from, to) = (next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(ProxyError::Fields);
    }
    let address = |text: &[u8]| ip(text).ok_or(ProxyError::Address);
    let (source, destination) = (address(source)?, address(destination)?);
    Ok(Addresses::ip(SocketAddr::new(source, port(from)?), SocketAddr::new(destination, port(to)?)))
}

fn port(text: &[u8]) -> Result<u16, ProxyError> {
    let is_plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || !text.starts_with(b"0"));
    number(text).filter(|_| is_plain).ok_or(ProxyError::Port)
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn encode(header: &Header) -> Result<Vec<u8>, EncodeError> {
    if !header.tlvs.is_empty() || header.checksum {
        return Err(EncodeError::NoTlvs);
    }
    Ok(match header.addresses {
        Addresses::Local => return Err(EncodeError::NoLocal),
        Addresses::Ip { transport: Transport::Stream, source, destination } => {
            let (source, destination) = in_one_family(source, destination);
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.port(), destination.port());
            format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
        }
        _ => b"PROXY UNKNOWN\r\n".to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn parsed(line: &[u8]) -> Result<Addresses, ProxyError> {
        match parse(line)? {
            Parsed::Done { header, length } => {
                assert_eq!((header.version, length), (Version::V1, line.len()));
                Ok(header.addresses)
            }
            Parsed::More => panic!("{} is complete", line.escape_ascii()),
        }
    }

    #[test]
    fn good_lines() {
        let ip =
            |source: &str, destination: &str| Ok(Addresses::ip(source.parse().unwrap(), destination.parse().unwrap()));
        let cases: [(&[u8], _); 7] = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\r\n", ip("192.0.2.7:54321", "198.51.100.1:443")),
            (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", ip("255.255.255.255:65535", "0.0.0.0:0")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", ip("[2001:db8::1]:1", "[::1]:2")),
            (
                b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
                Err(ProxyError::Address), // the specification's own abbreviation
            ),
            (b"PROXY UNKNOWN\r\n", Ok(Addresses::Unknown)),
            (b"PROXY UNKNOWN ffff::1 whatever \n 65535\r\n", Ok(Addresses::Unknown)),
            (b"PROXY UNKNOWN \r\n", Ok(Addresses::Unknown)),
        ];
        for (line, want) in cases {
            assert_eq!(parsed(line), want, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn bad_lines() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat();
        assert_eq!(long.len(), 108);
        let cases: [(&[u8], ProxyError); 16] = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 54321\r\n", ProxyError::Fields),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 54321 443 \r\n", ProxyError::Fields),
            (b"PROXY TCP4  192.0.2.7 198.51.100.1 54321 443\r\n", ProxyError::Fields),
            (b"PROXY TCP4 192.0.2.07 198.51.100.1 54321 443\r\n", ProxyError::Address),
            (b"PROXY TCP4 ::1 ::1 54321 443\r\n", ProxyError::Address),
            (b"PROXY TCP6 192.0.2.7 198.51.100.1 54321 443\r\n", ProxyError::Address),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", ProxyError::Port),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n", ProxyError::Port),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n", ProxyError::Port),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n", ProxyError::Port),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\n", ProxyError::LineEnding),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 54321 443\r\n", ProxyError::Protocol),
            (b"PROXY UNKNOWNS\r\n", ProxyError::Protocol),
            (b"PROXY \r\n", ProxyError::Protocol),
            (b"PROXX TCP4 192.0.2.7 198.51.100.1 54321 443\r\n", ProxyError::Absent),
            (&long, ProxyError::LineTooLong),
        ];
        for (line, want) in cases {
            assert_eq!(parse(line), Err(want), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_longest_line_is_accepted() {
        let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat();
        assert_eq!(longest.len(), LONGEST_V1);
        assert_eq!(parsed(&longest), Ok(Addresses::Unknown));
        assert_eq!(parse(&longest[..LONGEST_V1 - 1]), Ok(Parsed::More));
    }

    #[test]
    fn values_without_a_place_in_a_line_are_not_sent() {
        let unix = Addresses::Unix { transport: Transport::Stream, source: Vec::new(), destination: Vec::new() };
        assert_eq!(Header::new(Version::V1, unix).encode().unwrap(), b"PROXY UNKNOWN\r\n");
        assert_eq!(Header::new(Version::V1, Addresses::Local).encode(), Err(EncodeError::NoLocal));
        let checked = Header { checksum: true, ..Header::new(Version::V1, Addresses::Unknown) };
        assert_eq!(checked.encode(), Err(EncodeError::NoTlvs));
        let mixed = Addresses::ip("192.0.2.7:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        let line = Header::new(Version::V1, mixed).encode().unwrap();
        assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n");
    }
}
