//! `--send-proxy`: the PROXY header at the start of the connection.

use std::net::SocketAddr;
use std::str::FromStr;

use resound::Endpoint;
use resound::proxy::{Addresses, EncodeError, Header, Ssl, Tlv, Version};

/// The contents of the header. Addresses that are left out are those of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendProxy {
    version: Version,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    /// No addresses: local or unknown.
    without: Option<Addresses>,
    tlvs: Vec<Tlv>,
    checksum: bool,
}

impl SendProxy {
    /// 1 or 2.
    pub(crate) fn version(&self) -> u8 {
        if self.version == Version::V1 { 1 } else { 2 }
    }

    /// The header of a connection between `local` and `peer`.
    pub(crate) fn header(&self, local: &Endpoint, peer: &Endpoint) -> Result<Vec<u8>, EncodeError> {
        let or = |given: Option<SocketAddr>, own: &Endpoint| given.map_or_else(|| own.clone(), Endpoint::Tcp);
        let given = || Addresses::of(&or(self.source, local), &or(self.destination, peer));
        self.with(self.without.clone().unwrap_or_else(given))
    }

    /// The header with these addresses.
    pub(crate) fn with(&self, addresses: Addresses) -> Result<Vec<u8>, EncodeError> {
        let (version, tlvs, checksum) = (self.version, self.tlvs.clone(), self.checksum);
        Header { version, addresses, tlvs, checksum }.encode()
    }
}

impl FromStr for SendProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (version, rest) = text.split_once(',').map_or((text, None), |(version, rest)| (version, Some(rest)));
        let version = match version {
            "v1" => Version::V1,
            "v2" => Version::V2,
            _ => return Err(format!("'{version}' is no version of the PROXY protocol: begin with v1 or v2")),
        };
        let (mut source, mut destination, mut without) = (None, None, None);
        let (mut tlvs, mut ssl, mut checksum) = (Vec::new(), None::<Ssl>, false);
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
            let needed = || value.ok_or_else(|| format!("'{key}' needs a value: {key}=..."));
            let bytes = || needed().map(|value| value.as_bytes().to_vec());
            match key {
                "src" => source = Some(address(needed()?)?),
                "dst" => destination = Some(address(needed()?)?),
                "alpn" => tlvs.push(Tlv::Alpn(bytes()?)),
                "authority" => tlvs.push(Tlv::Authority(bytes()?)),
                "id" => tlvs.push(Tlv::UniqueId(bytes()?)),
                "netns" => tlvs.push(Tlv::NetNs(bytes()?)),
                "noop" => tlvs.push(Tlv::Noop(number(needed()?)?)),
                "tlv" => tlvs.push(any(needed()?)?),
                "tls" => ssl.get_or_insert_default().tlvs.push((Ssl::VERSION, bytes()?)),
                "cipher" => ssl.get_or_insert_default().tlvs.push((Ssl::CIPHER, bytes()?)),
                "cn" => {
                    let ssl = ssl.get_or_insert_default();
                    ssl.client |= Ssl::CERT_CONN | Ssl::CERT_SESS;
                    ssl.tlvs.push((Ssl::COMMON_NAME, bytes()?));
                }
                "local" | "unknown" | "crc32c" if value.is_some() => return Err(format!("'{key}' has no value")),
                "local" => without = Some(Addresses::Local),
                "unknown" => without = Some(Addresses::Unknown),
                "crc32c" => checksum = true,
                _ => {
                    return Err(format!(
                        "'{key}' is none of src, dst, local, unknown, alpn, authority, id, netns, tls, cipher, cn, \
                         noop, tlv and crc32c"
                    ));
                }
            }
        }
        tlvs.extend(ssl.map(|ssl| Tlv::Ssl(Ssl { client: ssl.client | Ssl::TLS, ..ssl })));
        match without {
            Some(_) if source.is_some() || destination.is_some() => {
                return Err("'local' and 'unknown' mean that there are no addresses: leave out src and dst".into());
            }
            Some(Addresses::Local) if checksum || !tlvs.is_empty() => {
                return Err("a 'local' header carries nothing else".into());
            }
            _ => {}
        }
        let this = Self { version, source, destination, without, tlvs, checksum };
        // Encoding fails for the same values with any addresses, so errors show now.
        this.header(&Endpoint::Unknown, &Endpoint::Unknown).map_err(|error| error.to_string())?;
        Ok(this)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not an address; write it like 192.0.2.7:54321 or [2001:db8::7]:54321"))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number of bytes"))
}

/// `0xe0:68656c6c6f`: a type and a value, both in hexadecimal.
fn any(text: &str) -> Result<Tlv, String> {
    let wrong = || format!("'{text}' is not a TLV; write type and value in hexadecimal, like 0xe0:68656c6c6f");
    let (kind, value) = text.split_once(':').ok_or_else(wrong)?;
    let hex = |digits: &str| u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    let kind = kind.strip_prefix("0x").and_then(hex).ok_or_else(wrong)?;
    if !value.is_ascii() || value.len() % 2 != 0 {
        return Err(wrong());
    }
    let value = (0..value.len() / 2).map(|at| hex(&value[2 * at..2 * at + 2])).collect::<Option<_>>();
    Ok(Tlv::Other(kind, value.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> String {
        let end = |text: &str| Endpoint::Tcp(text.parse().unwrap());
        let header = text.parse::<SendProxy>().unwrap().header(&end("127.0.0.1:1000"), &end("127.0.0.1:8888"));
        header.unwrap().escape_ascii().to_string()
    }

    #[test]
    fn each_value_encodes_as_typed() {
        let signature = r"\r\n\r\n\x00\r\nQUIT\n";
        let own = r"\x7f\x00\x00\x01\x7f\x00\x00\x01\x03\xe8\x22\xb8".replace(r"\x22", "\\\"");
        let cases: [(&str, String); 9] = [
            ("v1", r"PROXY TCP4 127.0.0.1 127.0.0.1 1000 8888\r\n".into()),
            ("v1,src=192.0.2.7:5", r"PROXY TCP4 192.0.2.7 127.0.0.1 5 8888\r\n".into()),
            ("v1,src=[2001:db8::7]:5", r"PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 5 8888\r\n".into()),
            ("v1,src=192.0.2.7:5,dst=192.0.2.8:6", r"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n".into()),
            ("v1,unknown", r"PROXY UNKNOWN\r\n".into()),
            ("v2", format!(r"{signature}!\x11\x00\x0c{own}")),
            ("v2,local", format!(r"{signature} \x00\x00\x00")),
            ("v2,unknown,id=a", format!(r"{signature}!\x00\x00\x04\x05\x00\x01a")),
            (
                "v2,unknown,tls=TLSv1.3,cn=x,tlv=0xe0:ff00",
                format!(
                    "{signature}{}{}",
                    r"!\x00\x00\x1b \x00\x13\x07\x00\x00\x00\x00!\x00\x07TLSv1.3", r"\x22\x00\x01x\xe0\x00\x02\xff\x00"
                )
                .replace(r"\x22", "\\\""),
            ),
        ];
        for (typed, want) in cases {
            assert_eq!(sent(typed), want, "{typed}");
        }
    }

    #[test]
    fn a_contradiction_is_an_error() {
        for (typed, reason) in [
            ("v3", "begin with v1 or v2"),
            ("", "begin with v1 or v2"),
            ("v1,src", "'src' needs a value"),
            ("v1,src=192.0.2.7", "write it like"),
            ("v1,sec=1.2.3.4:5", "'sec' is none of"),
            ("v2,", "'' is none of"),
            ("v1,alpn=h2", "no place for more than addresses"),
            ("v1,crc32c", "no place for more than addresses"),
            ("v1,local", "no LOCAL"),
            ("v2,local,id=x", "carries nothing else"),
            ("v2,local,src=1.2.3.4:5", "leave out src and dst"),
            ("v2,crc32c=1", "has no value"),
            ("v2,tlv=e0:00", "like 0xe0:"),
            ("v2,tlv=0xe0:0", "like 0xe0:"),
            ("v2,tlv=0xe0:+1", "like 0xe0:"),
            ("v2,noop=x", "not a number"),
            ("v2,noop=5000", "more than 4112 bytes"),
        ] {
            let error = typed.parse::<SendProxy>().unwrap_err();
            assert!(error.contains(reason), "{typed}: {error}");
        }
    }
}
