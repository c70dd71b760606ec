//! Errors of calls, and ICMP messages, as text.

use std::io;

use resound::client::IcmpError;

/// The name of an error as manual pages have it, and its text otherwise.
pub(super) fn name(error: &io::Error) -> String {
    use io::ErrorKind as E;
    let name = match error.kind() {
        E::ConnectionRefused => "ECONNREFUSED",
        E::ConnectionReset => "ECONNRESET",
        E::ConnectionAborted => "ECONNABORTED",
        E::BrokenPipe => "EPIPE",
        E::NotConnected => "ENOTCONN",
        E::TimedOut => "ETIMEDOUT",
        E::HostUnreachable => "EHOSTUNREACH",
        E::NetworkUnreachable => "ENETUNREACH",
        E::NetworkDown => "ENETDOWN",
        E::AddrNotAvailable => "EADDRNOTAVAIL",
        E::AddrInUse => "EADDRINUSE",
        E::PermissionDenied => "EACCES or EPERM",
        E::WouldBlock => "EAGAIN",
        E::NotFound => "ENOENT",
        _ => return resound::system::plain(error),
    };
    name.into()
}

/// An ICMP message, by its type and code (RFC 792, RFC 4443).
pub(super) fn icmp(message: &IcmpError) -> String {
    let what = match (message.is_v6, message.kind, message.code) {
        (false, 3, 0) | (true, 1, 0) => "network unreachable",
        (false, 3, 1) | (true, 1, 3) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 3) | (true, 1, 4) => "port unreachable",
        (false, 3, 4) | (true, 2, 0) => "the packet is too large",
        (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
        (false, 11, _) | (true, 3, _) => "time exceeded on the way",
        _ => "another message",
    };
    let version = if message.is_v6 { "ICMPv6" } else { "ICMP" };
    let from = match (message.is_own, message.from) {
        (true, _) => " from this machine itself".into(),
        (false, Some(from)) => format!(" from {from}"),
        (false, None) => String::new(),
    };
    format!("{version} message{from}: {what} (type {}, code {})", message.kind, message.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_the_manual_pages() {
        let of = |kind: io::ErrorKind| name(&kind.into());
        assert_eq!(of(io::ErrorKind::ConnectionRefused), "ECONNREFUSED");
        assert_eq!(of(io::ErrorKind::BrokenPipe), "EPIPE");
        assert_eq!(name(&io::Error::other("no descriptor")), "no descriptor");
    }
}
