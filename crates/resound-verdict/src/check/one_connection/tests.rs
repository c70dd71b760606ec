//! Whether a SYN is this end's own; and made-up connections for the tests of other checks.

use std::time::Duration;

use super::*;
use resound_probe::{SocketFacts, SynFacts, TcpFacts};

/// What both systems have agreed on.
pub(in crate::check) fn agreed() -> TcpFacts {
    TcpFacts {
        sack: true,
        timestamps: true,
        window_scale: Some((7, 7)),
        advertised_mss: 1448,
        send_mss: 1448,
        ..TcpFacts::default()
    }
}

/// The SYN of a system with all options.
pub(in crate::check) fn syn() -> SynFacts {
    SynFacts {
        ttl: 64,
        mss: Some(1460),
        window_scale: Some(7),
        sack: true,
        timestamps: true,
        timestamp_clock: Some(1_000_000),
        ..SynFacts::default()
    }
}

pub(in crate::check) fn near(local: &str, remote: &str) -> NearFacts {
    let endpoint = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap());
    NearFacts {
        local: endpoint(local),
        remote: endpoint(remote),
        socket: SocketFacts { tcp: Some(agreed()), ..SocketFacts::default() },
        timestamp_clock: Some(1_000_030),
        age: Duration::from_millis(40),
        tls: None,
        certificate: None,
    }
}

pub(in crate::check) fn far(peer: &str, local: &str) -> FarHello {
    FarHello {
        peer: peer.into(),
        local: local.into(),
        socket: SocketFacts { tcp: Some(agreed()), syn: Some(syn()), ..SocketFacts::default() },
        ..FarHello::default()
    }
}

const NEAR: &str = "10.0.0.1:4000";
const FAR: &str = "10.0.0.2:7";

fn with_clock(clock: Option<u32>, mut far: FarHello) -> FarHello {
    far.socket.syn.as_mut().unwrap().timestamp_clock = clock;
    far
}

#[test]
fn a_syn_with_this_ends_clock_is_its_own() {
    let near_end = near(NEAR, FAR);
    assert_eq!(OneConnection::of(&near_end, &far(NEAR, FAR)), OneConnection::Proven);
    assert_eq!(OneConnection::of(&near_end, &far("192.0.2.1:9", FAR)), OneConnection::Proven, "behind a NAT");
    let at_the_edge = |clock: u32| OneConnection::of(&near_end, &with_clock(Some(clock), far(NEAR, FAR)));
    assert_eq!(at_the_edge(1_000_030 - 40), OneConnection::Proven);
    assert_eq!(at_the_edge(1_000_030 + SLACK_MS), OneConnection::Proven);
    assert!(matches!(at_the_edge(1_000_030 - 40 - 2 * SLACK_MS), OneConnection::Other(_)));
    assert!(matches!(at_the_edge(7), OneConnection::Other(_)));
    let wrapped = NearFacts { timestamp_clock: Some(2), ..near_end };
    assert_eq!(OneConnection::of(&wrapped, &with_clock(Some(u32::MAX - 10), far(NEAR, FAR))), OneConnection::Proven);
}

#[test]
fn without_a_proof_nothing_is_claimed() {
    let near_end = near(NEAR, FAR);
    assert_eq!(OneConnection::of(&near_end, &with_clock(None, far(NEAR, FAR))), OneConnection::SameAddresses);
    assert_eq!(OneConnection::of(&near_end, &with_clock(None, far("192.0.2.1:9", FAR))), OneConnection::Unclear);
    let no_syn = FarHello { socket: SocketFacts::default(), ..far(NEAR, FAR) };
    assert_eq!(OneConnection::of(&near_end, &no_syn), OneConnection::SameAddresses);
    // A proxy of this machine may have the same clock.
    let one_machine = near("127.0.0.1:4000", "127.0.0.1:7");
    assert_eq!(OneConnection::of(&one_machine, &far("127.0.0.1:4001", "127.0.0.1:8")), OneConnection::Unclear);
    assert_eq!(OneConnection::of(&one_machine, &far("127.0.0.1:4000", "127.0.0.1:7")), OneConnection::Proven);
    let odd = NearFacts { timestamp_clock: Some(8_000_031), ..near_end.clone() };
    assert_eq!(OneConnection::of(&odd, &far(NEAR, FAR)), OneConnection::SameAddresses, "perhaps microseconds");
    let proxied = FarHello { proxied: Some(resound_probe::ProxiedClient::default()), ..far(NEAR, FAR) };
    assert!(matches!(OneConnection::of(&near_end, &proxied), OneConnection::Other(_)));
}
