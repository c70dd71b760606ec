//! Network interfaces: a link-local address is incomplete without the interface that leads to it
//! (RFC 4007, 6).

use std::net::{IpAddr, Ipv6Addr};

use crate::error::{Error, InterfaceProblem};

/// The number of an interface of this machine, by its name or its number: the part of an address
/// after `%`.
///
/// # Errors
/// [`Error::Interface`], which lists the interfaces.
pub fn interface_index(name: &str) -> Result<u32, Error> {
    let all = interface_names();
    let found = match name.parse::<u32>() {
        Ok(number) => (number > 0).then_some(number).filter(|_| !cfg!(unix) || index_is_known(number)),
        Err(_) => index_of(name),
    };
    found.ok_or_else(|| Error::Interface {
        address: format!("%{name}"),
        problem: InterfaceProblem::Unknown,
        interfaces: all,
    })
}

/// Checks that a numeric link-local address names an interface of this machine.
pub(crate) fn check(host: &str) -> Result<(), Error> {
    let Some((ip, zone)) = host.split_once('%') else {
        return host.parse().map_or(Ok(()), |ip| check_ip(ip, 0));
    };
    match interface_index(zone) {
        Err(Error::Interface { problem, interfaces, .. }) if ip.parse::<Ipv6Addr>().is_ok() => {
            Err(Error::Interface { address: host.into(), problem, interfaces })
        }
        _ => Ok(()),
    }
}

/// Checks that a link-local address has an interface.
pub(crate) fn check_ip(ip: IpAddr, interface: u32) -> Result<(), Error> {
    let IpAddr::V6(v6) = ip else { return Ok(()) };
    if interface != 0 || !v6.is_unicast_link_local() {
        return Ok(());
    }
    // First the interface with this very address, then interfaces with another link-local address.
    let mut all = interface_names();
    let own = link_local();
    all.sort_by_key(|name| {
        let has =
            |is_it: &dyn Fn(Ipv6Addr) -> bool| own.iter().any(|(other, address)| other == name && is_it(*address));
        (!has(&|address| address == v6), !has(&|_| true), name.starts_with("lo"))
    });
    Err(Error::Interface { address: ip.to_string(), problem: InterfaceProblem::Missing, interfaces: all })
}

/// The names of this machine's interfaces; empty where the system does not list them.
#[must_use]
pub fn interface_names() -> Vec<String> {
    #[cfg(unix)]
    {
        let found = nix::net::if_::if_nameindex();
        found.map(|all| all.iter().map(|each| each.name().to_string_lossy().into_owned()).collect()).unwrap_or_default()
    }
    #[cfg(not(unix))]
    Vec::new()
}

#[cfg(unix)]
fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok().filter(|&index| index > 0)
}

#[cfg(unix)]
fn index_is_known(number: u32) -> bool {
    nix::net::if_::if_nameindex().is_ok_and(|all| all.iter().any(|each| each.index() == number))
}

/// The link-local addresses of this machine, by interface.
#[cfg(unix)]
fn link_local() -> Vec<(String, Ipv6Addr)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let found = all.filter_map(|each| Some((each.interface_name, each.address?.as_sockaddr_in6()?.ip())));
    found.filter(|(_, ip)| ip.is_unicast_link_local()).collect()
}

#[cfg(not(unix))]
fn index_of(_name: &str) -> Option<u32> {
    None
}

#[cfg(not(unix))]
fn index_is_known(_number: u32) -> bool {
    true
}

#[cfg(not(unix))]
fn link_local() -> Vec<(String, Ipv6Addr)> {
    Vec::new()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_needs_its_interface() {
        let all = interface_names();
        let (name, index) = (&all[0], index_of(&all[0]).unwrap());
        assert_eq!((interface_index(name).unwrap(), interface_index(&index.to_string()).unwrap()), (index, index));
        for host in
            ["127.0.0.1", "::1", "fd00::1", "example.org", &format!("fe80::1%{name}"), &format!("fe80::1%{index}")]
        {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in ["fe80::1", "febf::1", "fe80::1%no such", "fe80::1%", "fe80::1%0", "fe80::1%4294967295"] {
            let Err(Error::Interface { address, problem, interfaces }) = check(host) else { panic!("{host}") };
            assert_eq!(address, host);
            let want = if host.contains('%') { InterfaceProblem::Unknown } else { InterfaceProblem::Missing };
            assert_eq!((problem, interfaces.len()), (want, all.len()));
        }
    }
}
