use super::super::one_connection::tests::{far, near};
use super::*;
use resound_probe::ProxiedClient;

const NEAR: &str = "10.0.0.1:4000";
const FAR: &str = "10.0.0.2:7";

fn report(hello: &FarHello) -> CheckReport {
    let near = near(NEAR, FAR);
    judged(&[(&near, hello), (&near, hello), (&near, hello)], std::slice::from_ref(hello), false)
}

#[test]
fn the_same_address_at_both_ends_passes() {
    let report = report(&far(NEAR, FAR));
    assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Pass, 3, 3));
    assert!(report.evidence.is_empty(), "{report:?}");
    let mapped = judged(&[(&near(NEAR, FAR), &far("[::ffff:10.0.0.1]:4000", "[::ffff:10.0.0.2]:7"))], &[], false);
    assert_eq!(mapped.verdict, CheckVerdict::Pass, "IPv4 inside IPv6 is the same");
}

#[test]
fn another_address_or_port_is_a_nat_or_a_proxy() {
    for (peer, port) in [("192.0.2.1:4000", "the port is the same"), ("192.0.2.1:9", "the port is another")] {
        let report = report(&far(peer, "10.9.9.9:70"));
        assert_eq!((report.verdict, report.ok), (CheckVerdict::Warn, 0));
        assert!(report.summary.contains(peer) && report.summary.ends_with(port), "{}", report.summary);
        assert!(report.evidence[0].contains("10.0.0.2:7 was dialled, and the far end was reached as 10.9.9.9:70"));
    }
    assert_eq!(report(&far("[2001:db8::1]:4000", FAR)).verdict, CheckVerdict::Warn);
    assert!(report(&far("unix:", "unix:/run/far")).summary.contains("no address of TCP"));
}

#[test]
fn a_proxy_header_names_this_end_or_another() {
    let proxied = |client: &str| FarHello {
        proxied: Some(ProxiedClient { client: client.into(), proxy: "10.0.0.9:5".into() }),
        ..far("10.0.0.9:5", FAR)
    };
    let right = report(&proxied(NEAR));
    assert_eq!(right.verdict, CheckVerdict::Pass);
    assert!(right.summary.contains("names this end; the proxy connects from 10.0.0.9:5"), "{}", right.summary);
    let wrong = report(&proxied("10.0.0.9:5"));
    assert_eq!(wrong.verdict, CheckVerdict::Warn);
    assert!(wrong.summary.contains("names 10.0.0.9:5 as the client, and this end is 10.0.0.1:4000"));
    // A header that this end has sent itself says nothing of the path.
    let own = FarHello { peer: NEAR.into(), ..proxied("192.0.2.7:1") };
    assert_eq!(judged(&[(&near(NEAR, FAR), &own)], &[], true).verdict, CheckVerdict::Pass);
}

#[test]
fn several_addresses_of_egress_are_told() {
    let (one, other) = (far("192.0.2.1:1", FAR), far("192.0.2.2:1", FAR));
    let report = judged(&[(&near(NEAR, FAR), &one)], &[one.clone(), other, one.clone()], false);
    let told = "connections of this run came from 2 addresses: 192.0.2.1, 192.0.2.2";
    assert!(report.evidence.iter().any(|line| line == told), "{report:?}");
}
