//! What must hold of the PROXY parser for any bytes: the body of the fuzz targets, and of the test
//! that replays their corpus.

use resound::proxy::ProxyError;
use resound::proxy::{Header, LONGEST_V1, LONGEST_V2, Parsed, Parser, Tlv, parse};

/// Panics where the parser does not keep its word.
pub(crate) fn proxy(data: &[u8]) {
    let whole = parse(data);
    // The first byte chooses how the rest is split.
    let step = data.first().map_or(1, |&byte| usize::from(byte) % 7 + 1);
    assert_eq!(in_parts(data, step), in_whole(&whole), "in parts of {step}: {data:02x?}");
    match whole {
        Ok(Parsed::Done { header, length }) => {
            assert!(length <= data.len() && length <= LONGEST_V2);
            if let Ok(again) = header.encode() {
                let length = again.len();
                assert_eq!(parse(&again), Ok(Parsed::Done { header: as_sent(header), length }), "{data:02x?}");
            }
        }
        // An undecided input is short: no peer can make the parser keep more.
        Ok(Parsed::More) if data.starts_with(b"P") => assert!(data.len() < LONGEST_V1),
        Ok(Parsed::More) => assert!(data.len() < LONGEST_V2),
        Err(_) => {}
    }
}

/// The header with its values in the order in which they are sent.
pub(crate) fn as_sent(mut header: Header) -> Header {
    let kind = |tlv: &Tlv| match tlv {
        Tlv::Alpn(_) => 0x01,
        Tlv::Authority(_) => 0x02,
        Tlv::Noop(_) => 0x04,
        Tlv::UniqueId(_) => 0x05,
        Tlv::Ssl(_) => 0x20,
        Tlv::NetNs(_) => 0x30,
        Tlv::Other(kind, _) => *kind,
        other => panic!("another kind of value: {other:?}"),
    };
    header.tlvs.sort_by_key(kind);
    for tlv in &mut header.tlvs {
        if let Tlv::Ssl(ssl) = tlv {
            ssl.tlvs.sort_by_key(|(kind, _)| *kind);
        }
    }
    header
}

fn in_whole(parsed: &Result<Parsed, ProxyError>) -> Result<Option<(Header, usize)>, ProxyError> {
    match parsed {
        Ok(Parsed::More) => Ok(None),
        Ok(Parsed::Done { header, length }) => Ok(Some((header.clone(), *length))),
        Err(error) => Err(*error),
    }
}

/// The same with a parser that is given `step` bytes at a time: the header, and where it ended.
pub(crate) fn in_parts(data: &[u8], step: usize) -> Result<Option<(Header, usize)>, ProxyError> {
    let mut parser = Parser::new();
    let mut before = 0;
    for part in data.chunks(step) {
        if let Some((header, n)) = parser.read(part)? {
            assert!(n <= part.len());
            return Ok(Some((header, before + n)));
        }
        before += part.len();
        assert_eq!(parser.seen().len(), before, "it keeps what it has seen, as long as that decides nothing");
    }
    Ok(None)
}
