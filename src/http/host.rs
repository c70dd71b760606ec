//! [`HostRule`]: which Host headers an HTTP server of this program takes.

use std::net::{IpAddr, SocketAddr};

use hyper::body::Incoming;
use hyper::{Request, StatusCode, header};

use super::answer::HttpAnswer;

/// Decides whether a request is meant for a server. A page of another site can let its own name
/// lead to this address (DNS rebinding), and its browser then sends that name. An address, or
/// localhost, is no such name, whatever the port: a forwarded port is another one.
pub(crate) struct HostRule {
    /// Further names of the server.
    pub(crate) names: Vec<String>,
    /// The flag that adds a name, if there is one.
    pub(crate) flag: Option<&'static str>,
}

impl HostRule {
    /// Refuses a request that is not meant for the server.
    pub(crate) fn check(&self, request: &Request<Incoming>) -> Result<(), HttpAnswer> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(HttpAnswer::error(StatusCode::BAD_REQUEST, "a request has one Host header"));
        };
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let is_meant = |host: &str| self.is_meant(host);
        if host.to_str().is_ok_and(is_meant) && authority.is_none_or(is_meant) {
            return Ok(());
        }
        let or = self.flag.map(|flag| format!(", or start with {flag} NAME")).unwrap_or_default();
        let reason = format!("the Host header names another host: connect to the address itself or to localhost{or}");
        Err(HttpAnswer::error(StatusCode::FORBIDDEN, &reason))
    }

    /// Is a request with this Host header meant for the server?
    fn is_meant(&self, host: &str) -> bool {
        self.has_name(host) || is_localhost(host) || ip_of(host).is_some()
    }

    /// Is it one of the names, with any port?
    fn has_name(&self, host: &str) -> bool {
        let name = name_of(host);
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
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
        let plain = HostRule { names: Vec::new(), flag: None };
        let named = HostRule { names: vec!["metrics.example".into()], flag: None };
        for (host, want) in [
            ("127.0.0.1:90", [true; 2]),
            ("LocalHost:90", [true; 2]),
            ("127.0.0.1", [true; 2]),
            ("[::1]:80", [true; 2]),
            ("[::1]", [true; 2]),
            ("localhost", [true; 2]),
            ("192.0.2.1:7", [true; 2]),
            ("rebound.example:90", [false; 2]),
            ("127.0.0.1.example:90", [false; 2]),
            ("localhost.example:90", [false; 2]),
            ("localhost@example:90", [false; 2]),
            ("localhost:90@example", [false; 2]),
            ("localhost:+90", [false; 2]),
            ("localhost:", [true; 2]),
            ("Metrics.example:9464", [false, true]),
            ("metrics.example.evil.example", [false; 2]),
            ("", [false; 2]),
        ] {
            assert_eq!([&plain, &named].map(|rule| rule.is_meant(host)), want, "{host}");
        }
    }
}
