//! Boxes that change headers: MSS, options, ECN, DSCP, FIN.

use crate::bench::{Bench, DOWN, Segment, data, is_right, ping, tcp, v4, v6};

/// MSS 1460, SACK permitted, timestamps, NOP, window scale 7, and an option of experiments (254).
const OPTIONS: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7, 254, 4, 0xf9, 0x89];

fn syn() -> Segment {
    Segment { flags: "S", ack: None, options: OPTIONS, ..Segment::default() }
}

fn syn_ack() -> Segment {
    Segment { direction: DOWN, flags: "S", options: OPTIONS, ..Segment::default() }
}

/// The kinds of the options that are left, without NOPs.
fn kinds(packet: &[u8]) -> Vec<u8> {
    let header = tcp(packet);
    let (options, mut at, mut kinds) = (header.options.as_slice(), 0, Vec::new());
    while at < options.len() && options[at] != 0 {
        if options[at] == 1 {
            at += 1;
        } else {
            kinds.push(options[at]);
            at += usize::from(options[at + 1]);
        }
    }
    kinds
}

#[test]
fn the_mss_of_a_syn_is_clamped() {
    for is_v6 in [false, true] {
        let mut bench = Bench::new("mss-clamp=1300");
        let left = bench.up(&Segment { is_v6, ..syn() }.bytes());
        assert_eq!(tcp(&left[0]).options.as_slice()[..4], [2, 4, 5, 20]);
        assert!(is_right(&left[0]));
        assert_eq!(bench.note(), "tcp 1, up 1: mss-clamp: the MSS 1460 is 1300");
        assert_eq!(tcp(&bench.down(&Segment { is_v6, ..syn_ack() }.bytes())[0]).options.as_slice()[..4], [2, 4, 5, 20]);
    }
    // One that is smaller stays, and so do data that look like options.
    let mut bench = Bench::new("mss-clamp=1460");
    assert_eq!(bench.up(&syn().bytes()), [syn().bytes()]);
    assert_eq!(bench.note(), "");
    let data = Segment { payload: OPTIONS.to_vec(), ..Segment::default() }.bytes();
    assert_eq!(Bench::new("mss-clamp=100").up(&data), [data]);
}

#[test]
fn options_are_stripped_by_name() {
    for (spec, left, note) in [
        ("strip=sack", &[2, 8, 3, 254][..], "without SACK permitted"),
        ("strip=timestamps", &[2, 4, 3, 254], "without timestamps"),
        ("strip=wscale", &[2, 4, 8, 254], "without window scale"),
        ("strip=all-unknown", &[2, 4, 8, 3], "without option 254"),
        ("strip=sack+wscale", &[2, 8, 254], "without SACK permitted, window scale"),
        ("strip=ecn", &[2, 4, 8, 3, 254], ""),
    ] {
        for is_v6 in [false, true] {
            let mut bench = Bench::new(spec);
            let packet = Segment { is_v6, ..syn() }.bytes();
            let found = bench.up(&packet);
            assert_eq!((kinds(&found[0]), found[0].len()), (left.to_vec(), packet.len()), "{spec}");
            assert!(is_right(&found[0]) && bench.note().ends_with(note), "{spec}: {}", bench.note());
        }
    }
    // Also behind the handshake: SACK blocks, timestamps.
    let options = &[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let ack = Segment { options, ..Segment::default() }.bytes();
    assert!(kinds(&Bench::new("strip=sack").up(&ack)[0]).is_empty());
}

#[test]
fn ecn_is_stripped_from_syns_and_from_ip() {
    for is_v6 in [false, true] {
        let mut bench = Bench::new("strip=ecn");
        let found = bench.up(&Segment { is_v6, flags: "SEC", ack: None, ..Segment::default() }.bytes());
        let header = tcp(&found[0]);
        assert!(!header.ece && !header.cwr && header.syn && is_right(&found[0]));
        // A marked packet: DSCP 10 stays.
        let found = bench.up(&Segment { is_v6, traffic_class: 10 << 2 | 3, flags: "E", ..Segment::default() }.bytes());
        let class = if is_v6 { v6(&found[0]).traffic_class } else { v4(&found[0]).dscp.value() << 2 };
        assert!(class == 10 << 2 && tcp(&found[0]).ece && is_right(&found[0]));
        if !is_v6 {
            assert_eq!(v4(&found[0]).ecn.value(), 0);
        }
    }
}

#[test]
fn a_one_sided_strip_makes_the_ends_disagree() {
    let mut bench = Bench::new("one-sided-strip=wscale+sack");
    assert_eq!(kinds(&bench.up(&syn().bytes())[0]), [2, 4, 8, 3, 254]);
    let found = bench.down(&syn_ack().bytes());
    assert_eq!(kinds(&found[0]), [2, 8, 254]);
    assert!(is_right(&found[0]));
}

#[test]
fn the_dscp_is_bleached_and_ecn_stays() {
    for is_v6 in [false, true] {
        let mut bench = Bench::new("dscp-bleach");
        let found = bench.up(&Segment { is_v6, traffic_class: 46 << 2 | 1, ..Segment::default() }.bytes());
        assert!(is_right(&found[0]));
        match is_v6 {
            true => assert_eq!(v6(&found[0]).traffic_class, 1),
            false => assert_eq!((v4(&found[0]).dscp.value(), v4(&found[0]).ecn.value()), (0, 1)),
        }
        assert!(bench.note().ends_with("dscp-bleach: the DSCP 46 is 0"), "{}", bench.note());
    }
    let plain = ping(DOWN, true, 2);
    assert_eq!(Bench::new("dscp-bleach").down(&plain), [plain]);
}

#[test]
fn a_fin_is_eaten_and_its_data_pass() {
    let mut bench = Bench::new("up: eat-fin");
    let fin = Segment { flags: "FP", payload: vec![1, 2, 3], ..Segment::default() };
    let found = bench.up(&fin.bytes());
    let header = tcp(&found[0]);
    assert!(!header.fin && header.psh && header.ack && is_right(&found[0]));
    assert_eq!(found[0].len(), fin.bytes().len());
    assert_eq!(bench.note(), "tcp 1, up 1: eat-fin: without FIN");
    let back = Segment { direction: DOWN, flags: "F", ..Segment::default() }.bytes();
    assert!(tcp(&bench.down(&back)[0]).fin);
    assert_eq!((bench.up(&data(3, 1)).len(), bench.note()), (1, ""));
}
