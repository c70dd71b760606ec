//! [`OneConnection`]: whether the SYN that arrived is the one that this end has sent.

use std::net::SocketAddr;

use resound::Endpoint;

use crate::near::NearFacts;
use resound_probe::FarHello;

/// By how many milliseconds a clock that was read in one order may seem to be read in the other.
const SLACK_MS: u32 = 250;

/// Whether one TCP connection leads from end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OneConnection {
    /// The SYN that arrived has the clock of this end's own timestamps.
    Proven,
    /// The far end's connection is another one, and why.
    Other(&'static str),
    /// Neither is shown, and the addresses are the same at both ends.
    SameAddresses,
    /// Neither is shown, and the addresses are different.
    Unclear,
}

/// An address of either end.
pub(crate) fn socket_address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

pub(crate) fn of_endpoint(endpoint: &Endpoint) -> Option<SocketAddr> {
    socket_address(&endpoint.to_string())
}

impl OneConnection {
    pub(crate) fn of(near: &NearFacts, far: &FarHello) -> Self {
        if far.proxied.is_some() {
            return Self::Other("a proxy has sent a PROXY header");
        }
        let local = of_endpoint(&near.local);
        let same = local.is_some() && local == socket_address(&far.peer);
        let inconclusive = if same { Self::SameAddresses } else { Self::Unclear };
        let syn = far.socket.syn.as_ref().and_then(|syn| syn.timestamp_clock);
        let (Some(clock), Some(syn)) = (near.timestamp_clock, syn) else { return inconclusive };
        let age = u32::try_from(near.age.as_millis()).unwrap_or(u32::MAX / 2);
        let is_ours = clock.wrapping_add(SLACK_MS).wrapping_sub(syn) <= age.saturating_add(2 * SLACK_MS);
        // All sockets of one machine that have the same two addresses have one clock (RFC 7323,
        // 7.1): a proxy there looks like this end.
        let is_one_machine = local.map(|local| local.ip()) == of_endpoint(&near.remote).map(|remote| remote.ip());
        match (is_ours, same || !is_one_machine) {
            (true, true) => Self::Proven,
            (true, false) => inconclusive,
            // An odd clock may be one of microseconds.
            (false, _) if clock % 2 == 1 => inconclusive,
            (false, _) => Self::Other("the SYN that arrived has the timestamps of another system"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
