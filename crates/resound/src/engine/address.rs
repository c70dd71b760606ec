//! [`Address`]: an address as a person types it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// An address to listen on or to dial: a host name or IP address with a port, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host, as a name or a numeric address (IPv6 without brackets, with a scope such as `%eth0`
    /// where it needs one), and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port; 0 lets the system choose one to listen on.
        port: u16,
    },
    /// The path of a unix stream socket.
    Unix(PathBuf),
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Is this address used?
    #[must_use]
    pub fn admits(self, address: &std::net::SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Longest path that fits `sockaddr_un` on every system, with its final NUL (Linux: 108, BSD and
/// macOS: 104).
const LONGEST_UNIX_PATH: usize = 103;

impl Address {
    /// A host and a port, each checked.
    ///
    /// # Errors
    /// [`Error::Address`] where the host cannot be one or the port is no number from 0 to 65535.
    pub fn tcp(host: &str, port: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address { input: format!("{host} {port}"), reason };
        let port =
            port.parse().map_err(|_| wrong(format!("'{port}' is not a port; a port is a number from 0 to 65535")))?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong("the host is missing".into()));
        }
        // A zone behind an IPv6 address may have any character of an interface's name.
        let is_foreign = |c: char| match c {
            '-' | '.' | '_' | ':' | '%' => false,
            c => c.is_whitespace() || c.is_control() || (c.is_ascii_punctuation() && !host.contains(':')),
        };
        if host.contains(is_foreign) || host.contains(['[', ']', '/']) {
            return Err(wrong(format!("'{}' is not a host", host.escape_debug())));
        }
        if let Some((_, explicit)) = host.rsplit_once(':').filter(|(rest, _)| !rest.contains(':')) {
            return Err(match explicit.parse::<u16>() {
                Ok(_) => wrong(format!("'{host}' has a port already")),
                Err(_) => wrong(format!("'{host}' is not a host")),
            });
        }
        if host.contains(':') && host.split('%').next().is_none_or(|ip| ip.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(wrong(format!("'{host}' is not an IPv6 address")));
        }
        if host.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong(format!("'{host}' is not a host")));
        }
        // The resolver would take 256.1.1.1 or 1.2.3 for a name, and fail late with a misleading
        // error.
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') && host.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(wrong(format!("'{host}' is not an IPv4 address")));
        }
        Ok(Self::Tcp { host: host.into(), port })
    }

    /// Checks that a link-local address names an interface of this machine. A host name is not
    /// resolved for this check.
    ///
    /// # Errors
    /// [`Error::Interface`], which lists the interfaces.
    pub fn check_interface(&self) -> Result<(), Error> {
        match self {
            Self::Tcp { host, .. } => super::interface::check(host),
            Self::Unix(_) => Ok(()),
        }
    }

    /// One argument that may carry its port (`HOST:PORT`, `[v6]:PORT`, `unix:/path`), or not: then
    /// `port` is used.
    ///
    /// # Errors
    /// [`Error::Address`] where it is neither.
    pub fn parse(text: &str, port: u16) -> Result<Self, Error> {
        Self::parse_parts(text, port).map_err(|error| match error {
            // The whole text as typed, not one part of it.
            Error::Address { reason, .. } => Error::Address { input: text.into(), reason },
            error => error,
        })
    }

    fn parse_parts(text: &str, port: u16) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        if let Some((host, explicit)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if !host.contains(':') {
                return Err(Error::Address { input: text.into(), reason: "brackets hold an IPv6 address".into() });
            }
            return match explicit.strip_prefix(':') {
                Some(port) => Self::tcp(host, port),
                None if explicit.is_empty() => Self::tcp(host, &port.to_string()),
                None => Err(Error::Address { input: text.into(), reason: "':PORT' must follow the bracket".into() }),
            };
        }
        match text.split_once(':') {
            // More than one colon: an IPv6 address without a port.
            Some((host, explicit)) if !explicit.contains(':') => Self::tcp(host, explicit),
            _ => Self::tcp(text, &port.to_string()),
        }
    }

    fn unix(path: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Err(Error::Address { input: format!("unix:{path}"), reason: reason.into() });
        if !cfg!(unix) {
            return wrong("this system has no unix sockets here");
        }
        match path.len() {
            0 => wrong("the path is missing"),
            _ if path.contains('\0') => wrong("a path has no NUL"),
            n if n > LONGEST_UNIX_PATH => wrong("a unix socket's path has at most 103 bytes"),
            _ => Ok(Self::Unix(path.into())),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// As [`Address::parse`], but the port is required.
    fn from_str(text: &str) -> Result<Self, Error> {
        let has_port = match text.rsplit_once(']') {
            Some((_, tail)) => !tail.is_empty(),
            None => text.starts_with("unix:") || text.matches(':').count() == 1,
        };
        let is_url = text.contains("://") && !text.starts_with("unix:");
        if !has_port || is_url {
            let reason = match text {
                _ if is_url => "it is a URL, and an address is HOST:PORT",
                _ if text.matches(':').count() > 1 && !text.starts_with('[') => {
                    "an IPv6 address needs brackets, and a port: [::1]:8888"
                }
                _ => "the port is missing",
            };
            return Err(Error::Address { input: text.into(), reason: reason.into() });
        }
        Self::parse(text, 0)
    }
}

impl From<SocketAddr> for Address {
    /// An IPv6 address keeps its scope, as a number: `fe80::1%3`.
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => address.ip().to_string(),
        };
        Self::Tcp { host, port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_address_is_an_address() {
        for text in ["127.0.0.1:80", "[::1]:80", "[fe80::1%3]:80"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(address).to_string(), text);
        }
    }

    #[test]
    fn a_text_without_a_port_says_what_is_missing() {
        for (text, want) in [
            ("localhost", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("::1:5", "an IPv6 address needs brackets, and a port: [::1]:8888"),
            ("http://localhost", "it is a URL, and an address is HOST:PORT"),
            ("http://x:80", "it is a URL, and an address is HOST:PORT"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.ends_with(want), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_are_parsed_and_printed() {
        let cases = [
            ("localhost:80", "localhost:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:65535", "[::1]:65535"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("example.org", "example.org:7"),
            #[cfg(unix)]
            ("unix:/tmp/a:b", "unix:/tmp/a:b"),
        ];
        for (input, want) in cases {
            assert_eq!(Address::parse(input, 7).unwrap().to_string(), want);
        }
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        let long = format!("unix:/{}", "x".repeat(200));
        for input in [
            "",
            ":80",
            "a:b",
            "a:65536",
            "a:-1",
            "a: 80",
            "[::1",
            "[::1]80",
            "[x]:80",
            "1:2:3",
            "a b:80",
            "256.1.1.1:80",
            "1.2.3:80",
            "unix:",
            &long,
            "a/b:80",
            "\u{1b}[31m:80",
            "db=1:80",
            "user@db:80",
            "a,b:80",
        ] {
            assert!(matches!(Address::parse(input, 7), Err(Error::Address { .. })), "{input:?}");
        }
        for input in ["localhost", "::1", "[::1]", "80"] {
            assert!(input.parse::<Address>().is_err(), "{input:?} has no port");
        }
    }
}
