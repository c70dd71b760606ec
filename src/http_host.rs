//! [`HostRule`]: which Host headers an HTTP server of this program takes.

use std::net::{IpAddr, SocketAddr};

/// Decides whether a request is meant for a server. A page of another site can let its own name
/// lead to this address, and its browser then sends that name.
pub(crate) struct HostRule {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// Other machines may connect.
    pub(crate) is_open: bool,
    /// Further names of the server.
    pub(crate) names: Vec<String>,
}

impl HostRule {
    /// Is a request with this Host header meant for the server?
    pub(crate) fn is_meant(&self, host: &str) -> bool {
        let is_port = |port: &str| port.parse() == Ok(self.address.port());
        match host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
            _ if self.has_name(host) => true,
            // The port that is typed may be another one, which leads to a container.
            _ if self.is_open => is_localhost(host) || ip_of(host).is_some(),
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                is_port(port) && (is_localhost(name) || ip_of(name) == Some(self.address.ip()))
            }
            _ => is_port("80") && (is_localhost(host) || ip_of(host) == Some(self.address.ip())),
        }
    }

    /// Is it one of the names, with any port?
    fn has_name(&self, host: &str) -> bool {
        let name = name_of(host);
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

fn name_of(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_localhost(host: &str) -> bool {
    name_of(host).eq_ignore_ascii_case("localhost")
}

/// The address that a host is, with or without brackets and port.
fn ip_of(host: &str) -> Option<IpAddr> {
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    plain.parse().ok().or_else(|| host.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_address_or_localhost() {
        let rule = |address: &str, is_open| HostRule { address: address.parse().unwrap(), is_open, names: Vec::new() };
        let (v4, v6, open) = (rule("127.0.0.1:90", false), rule("[::1]:80", false), rule("0.0.0.0:90", true));
        let named = HostRule { names: vec!["metrics.example".into()], ..rule("0.0.0.0:90", true) };
        for (host, want) in [
            ("127.0.0.1:90", [true, false, true, true]),
            ("LocalHost:90", [true, false, true, true]),
            ("localhost:91", [false, false, true, true]),
            ("127.0.0.1", [false, false, true, true]),
            ("[::1]:80", [false, true, true, true]),
            ("[::1]", [false, true, true, true]),
            ("localhost", [false, true, true, true]),
            ("192.0.2.1:7", [false, false, true, true]),
            ("rebound.example:90", [false; 4]),
            ("127.0.0.1.example:90", [false; 4]),
            ("localhost.example:90", [false; 4]),
            ("localhost@example:90", [false; 4]),
            ("Metrics.example:9464", [false, false, false, true]),
            ("metrics.example.evil.example", [false; 4]),
            ("", [false; 4]),
        ] {
            assert_eq!([&v4, &v6, &open, &named].map(|rule| rule.is_meant(host)), want, "{host}");
        }
    }
}
