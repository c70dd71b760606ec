//! `address`: both ends see the same addresses. A NAT may change with time and port (RFC 5780, 3),
//! so this is what holds now.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::CheckId;
use super::greet::{Greeting, Greetings};
use super::one_connection::{of_endpoint, socket_address};
use crate::near::NearFacts;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use resound_probe::FarHello;

/// What one connection shows of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SeenAddresses {
    /// The far end sees this end's own.
    Same,
    /// It sees another one.
    Translated { has_same_port: bool },
    /// A PROXY header names this end.
    Named,
    /// It names another one.
    Misnamed(String),
    /// The proxy has sent this instead of an address of the internet.
    Elsewhere,
}

/// `is_own_header`: this end itself has sent the PROXY header, so it says nothing of the path.
fn addresses(near: SocketAddr, far: &FarHello, is_own_header: bool) -> SeenAddresses {
    if let Some(proxied) = far.proxied.as_ref().filter(|_| !is_own_header) {
        return match socket_address(&proxied.client) {
            Some(client) if client == near => SeenAddresses::Named,
            _ => SeenAddresses::Misnamed(proxied.client.clone()),
        };
    }
    match socket_address(&far.peer) {
        Some(peer) if peer == near => SeenAddresses::Same,
        Some(peer) => SeenAddresses::Translated { has_same_port: peer.port() == near.port() },
        None => SeenAddresses::Elsewhere,
    }
}

fn family_note(near: IpAddr, far: IpAddr) -> Option<&'static str> {
    match (near.is_ipv4(), far.is_ipv4()) {
        (false, true) => Some("IPv6 at this end is IPv4 at the far end: a NAT64 or a proxy"),
        (true, false) => Some("IPv4 at this end is IPv6 at the far end: a proxy"),
        _ => None,
    }
}

/// `egress`: all addresses from which connections of this run came to the far end.
fn judged(samples: &[(&NearFacts, &FarHello)], greeted: &[FarHello], is_own_header: bool) -> CheckReport {
    let id = CheckId::Address;
    let seen: Vec<_> = samples
        .iter()
        .filter_map(|(near, far)| Some((of_endpoint(&near.local)?, *near, *far)))
        .map(|(local, near, far)| (local, near, far, addresses(local, far, is_own_header)))
        .collect();
    let is_bad = |one: &SeenAddresses| !matches!(one, SeenAddresses::Same | SeenAddresses::Named);
    let Some((local, near, far, first)) =
        seen.iter().find(|(.., one)| is_bad(one)).or(seen.first()).filter(|_| !samples.is_empty())
    else {
        return CheckReport::new(id, CheckVerdict::Skip, "this end has no TCP address");
    };
    let peer = &far.peer;
    let (verdict, summary) = match first {
        SeenAddresses::Same => (CheckVerdict::Pass, "the far end sees this end's own address, now".into()),
        SeenAddresses::Named => {
            (CheckVerdict::Pass, format!("a PROXY header names this end; the proxy connects from {peer}"))
        }
        SeenAddresses::Misnamed(client) => (
            CheckVerdict::Warn,
            format!("the PROXY header of {peer} names {client} as the client, and this end is {local}"),
        ),
        SeenAddresses::Translated { has_same_port } => {
            let port = if *has_same_port { "the port is the same" } else { "the port is another" };
            let what = format!("the far end sees {peer} now, and this end is {local}: a NAT or a proxy between");
            (CheckVerdict::Warn, format!("{what}; {port}"))
        }
        SeenAddresses::Elsewhere => {
            (CheckVerdict::Warn, format!("the far end sees {peer}, which is no address of TCP: a proxy between"))
        }
    };
    let good = seen.iter().filter(|(.., one)| !is_bad(one)).count();
    let mut report = CheckReport::new(id, verdict, summary)
        .tried(good, seen.len())
        .measure("local_address", local.to_string())
        .measure("seen_address", peer.as_str())
        .measure("far_local_address", far.local.as_str());
    if verdict == CheckVerdict::Warn {
        report = report.towards(PathDirection::Out);
    }
    if let SeenAddresses::Misnamed(_) = first {
        report = report.suspects("a NAT before the proxy, or a proxy that names itself");
    }
    if let Some(same) = match first {
        SeenAddresses::Translated { .. } => {
            Some(seen.iter().all(|(.., one)| *one == SeenAddresses::Translated { has_same_port: true }))
        }
        _ => None,
    } {
        report = report.measure("has_same_port", same);
    }
    if let Some(note) = socket_address(peer).and_then(|peer| family_note(local.ip(), peer.ip())) {
        report = report.saw(note);
    }
    if of_endpoint(&near.remote) != socket_address(&far.local) {
        report = report.saw(format!("{} was dialled, and the far end was reached as {}", near.remote, far.local));
    }
    let egress: BTreeSet<_> =
        greeted.iter().filter_map(|hello| socket_address(&hello.peer)).map(|peer| peer.ip()).collect();
    if egress.len() > 1 {
        let list = egress.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        report = report.saw(format!("connections of this run came from {} addresses: {list}", egress.len()));
    }
    report.measure("egress_addresses", egress.len())
}

/// The connections that a far end has greeted, from both ends.
pub(crate) fn samples(greetings: &Greetings) -> Vec<(&NearFacts, &FarHello)> {
    let tries = greetings.tries.iter();
    tries
        .filter_map(|tried| match (&tried.near, &tried.result) {
            (Some(near), Ok(Greeting::Probe(hello))) => Some((near, &**hello)),
            _ => None,
        })
        .collect()
}

/// A connection on which something has answered, as this end sees it.
pub(crate) fn near(greetings: &Greetings) -> Option<&NearFacts> {
    greetings.tries.iter().filter(|tried| tried.result.is_ok()).find_map(|tried| tried.near.as_ref())
}

/// `greeted`: all greetings of the run so far.
pub(crate) fn address(greetings: &Greetings, greeted: &[FarHello], is_own_header: bool) -> CheckReport {
    let samples = samples(greetings);
    if !samples.is_empty() {
        return judged(&samples, greeted, is_own_header);
    }
    let why = "only resound server reports the address that the far end sees";
    let report = CheckReport::new(CheckId::Address, CheckVerdict::Skip, why);
    match near(greetings) {
        Some(near) => {
            report.measure("local_address", near.local.to_string()).measure("dialled_address", near.remote.to_string())
        }
        None => report,
    }
}

#[cfg(test)]
mod tests;
