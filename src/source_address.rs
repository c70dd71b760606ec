//! [`SourceAddress`]: the address of this machine that a connection comes from.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::str::FromStr;

use anyhow::{Result, bail};

use crate::advice;

/// An address of this machine to connect from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceAddress {
    pub(crate) ip: IpAddr,
    /// The index of its interface, if one is named; else 0.
    pub(crate) interface: u32,
}

impl FromStr for SourceAddress {
    type Err = String;

    /// `192.0.2.7`, `2001:db8::7`, `fe80::7%eth0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
        let ip: IpAddr = ip.parse().map_err(|_| format!("'{text}' is not an IP address"))?;
        let interface = match zone {
            Some(_) if ip.is_ipv4() => return Err(format!("'{text}': an IPv4 address has no interface")),
            Some(zone) => resound::system::interface_index(zone)
                .map_err(|error| format!("{error}. {}", advice::of_error(&error)))?,
            None => 0,
        };
        Ok(Self { ip: ip.to_canonical(), interface })
    }
}

/// Fails early if this machine lacks an address that `flag` names. Other problems show when
/// connections fail.
pub(crate) fn check_own(flag: &str, source: IpAddr) -> Result<()> {
    match UdpSocket::bind((source, 0)) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => bail!(
            "{flag} {source} is not an address of this machine: connect from one that is, or leave the choice to the \
             system"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_connect_from() {
        let source = |ip: &str, interface| Ok(SourceAddress { ip: ip.parse().unwrap(), interface });
        assert_eq!("192.0.2.7".parse(), source("192.0.2.7", 0));
        assert_eq!("::ffff:192.0.2.7".parse(), source("192.0.2.7", 0));
        assert_eq!("fe80::7".parse(), source("fe80::7", 0));
        for name in resound::system::interface_names() {
            let index = resound::system::interface_index(&name).unwrap();
            assert_eq!(format!("fe80::7%{name}").parse(), source("fe80::7", index));
        }
        for text in ["", "host", "192.0.2.7%lo", "fe80::7%no such"] {
            assert!(text.parse::<SourceAddress>().is_err(), "{text}");
        }
    }
}
