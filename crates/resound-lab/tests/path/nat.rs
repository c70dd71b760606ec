//! A NAT: addresses and ports, and what it forgets.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, IpHeaders, IpNumber, Ipv4Header, PacketBuilder};
use resound_lab::{ROUTER_V4, ROUTER_V6};

use crate::bench::{
    Bench, DOWN, FAR_V4, NEAR_V4, NEAR_V6, Segment, UP, data, data_down, is_right, millis, payload, ping, tcp, udp, v4,
    v6,
};

/// An answer of the far end to what it saw.
fn answer(seen: &[u8], segment: &Segment) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = Ipv4Header::new(0, 64, IpNumber::TCP, FAR_V4, v4(seen).source).unwrap();
    let mut own = tcp(&Segment { direction: DOWN, ..segment.clone() }.bytes());
    (own.source_port, own.destination_port) = (tcp(seen).destination_port, tcp(seen).source_port);
    let ip = IpHeaders::Ipv4(header, Default::default());
    PacketBuilder::ip(ip).tcp_header(own).write(&mut bytes, &segment.payload).unwrap();
    bytes
}

fn syn(near_port: u16) -> Segment {
    Segment { near_port, seq: 999, ack: None, flags: "S", ..Segment::default() }
}

/// Opens a connection; what the far end saw of its SYN.
fn open(bench: &mut Bench, near_port: u16) -> Vec<u8> {
    let seen = bench.up(&syn(near_port).bytes()).remove(0);
    let back = bench.down(&answer(&seen, &Segment { seq: 4999, ack: Some(1000), flags: "S", ..Segment::default() }));
    assert_eq!((tcp(&back[0]).destination_port, v4(&back[0]).destination), (near_port, NEAR_V4));
    assert!(is_right(&seen) && is_right(&back[0]));
    assert_eq!(bench.up(&Segment { near_port, ..Segment::default() }.bytes()).len(), 1);
    seen
}

#[test]
fn the_far_end_sees_the_routers_address() {
    let mut bench = Bench::new("nat");
    let seen = open(&mut bench, 40_000);
    assert_eq!((v4(&seen).source, tcp(&seen).source_port), (ROUTER_V4.octets(), 40_000));
    // The other flow has the same port, and another address would be another connection.
    let mut bench = Bench::new("nat ports=changed");
    let ports: Vec<u16> = (1..=20).map(|port| tcp(&open(&mut bench, port)).source_port).collect();
    let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
    assert!(distinct.len() == 20 && ports.iter().zip(1..).all(|(port, own)| *port != own && *port >= 1024));
    assert!(bench.seen.notes[0].contains("nat: port 1 is "), "{}", bench.seen.notes[0]);
}

#[test]
fn echoes_datagrams_and_ipv6_are_translated() {
    for spec in ["nat", "nat ports=changed"] {
        for is_v6 in [false, true] {
            let mut bench = Bench::new(spec);
            let seen = bench.up(&ping(UP, is_v6, 77)).remove(0);
            assert!(is_right(&seen));
            let mut back = ping(DOWN, is_v6, u16::from_be_bytes([seen[seen.len() - 14], seen[seen.len() - 13]]));
            match is_v6 {
                true => {
                    assert_eq!(v6(&seen).source, ROUTER_V6.octets());
                    back[24..40].copy_from_slice(&ROUTER_V6.octets());
                }
                false => back[16..20].copy_from_slice(&ROUTER_V4.octets()),
            }
            let back = bench.down(&back).remove(0);
            let id = u16::from_be_bytes([back[back.len() - 14], back[back.len() - 13]]);
            assert_eq!(id, 77);
            match is_v6 {
                true => assert_eq!(v6(&back).destination, NEAR_V6),
                false => assert_eq!(v4(&back).destination, NEAR_V4),
            }
        }
        let mut bench = Bench::new(spec);
        let seen = bench.up(&udp(UP, 4000, b"question")).remove(0);
        assert!(is_right(&seen) && v4(&seen).source == ROUTER_V4.octets());
    }
}

#[test]
fn nothing_comes_in_unasked() {
    let mut bench = Bench::new("nat");
    assert!(bench.down(&data_down(1, 1)).is_empty());
    assert_eq!(bench.note(), "no flow, down 0: nat: dropped");
    let seen = open(&mut bench, 40_000);
    assert!(bench.down(&data_down(1, 1)).is_empty());
    let other = Segment { near_port: 5, ..Segment::default() };
    assert_eq!(bench.down(&answer(&seen, &other)).len(), 1);
    let mut stranger = answer(&seen, &other);
    stranger[22..24].copy_from_slice(&9_u16.to_be_bytes());
    assert!(bench.down(&stranger).is_empty());
}

#[test]
fn a_silent_nat_forgets_an_idle_connection() {
    let mut bench = Bench::new("nat idle-silent=5s");
    let seen = open(&mut bench, 40_000);
    for _ in 0..3 {
        bench.wait(millis(4999));
        assert_eq!(bench.up(&data(1000, 1)).len(), 1);
    }
    bench.wait(millis(5000));
    let before = bench.seen.sent.len();
    assert!(bench.up(&data(1001, 1)).is_empty());
    assert!(bench.down(&answer(&seen, &Segment::default())).is_empty());
    assert_eq!(bench.seen.sent.len(), before);
    // The same ports make a new connection.
    open(&mut bench, 40_000);
    // The clock has nothing to do for connections that are gone.
    bench.wait(millis(60_000));
    assert_eq!(bench.next_due(), None);
}

#[test]
fn a_nat_that_resets_tells_both_ends() {
    for spec in ["nat idle-reset=5s", "nat ports=changed idle-reset=5s"] {
        let mut bench = Bench::new(spec);
        let seen = open(&mut bench, 40_000);
        bench.up(&data(1000, 10));
        bench.down(&answer(&seen, &Segment { seq: 5000, payload: vec![1; 7], ..Segment::default() }));
        let before = bench.seen.sent.len();
        bench.wait(millis(10_000));
        let sent = &bench.seen.sent[before..];
        assert_eq!(
            sent.iter().map(|sent| (sent.direction, sent.at)).collect::<Vec<_>>(),
            [(UP, millis(5000)), (DOWN, millis(5000))]
        );
        let (far, near) = (tcp(&sent[0].bytes), tcp(&sent[1].bytes));
        assert!(far.rst && near.rst && is_right(&sent[0].bytes) && is_right(&sent[1].bytes));
        assert_eq!((v4(&sent[0].bytes).source, far.source_port), (ROUTER_V4.octets(), tcp(&seen).source_port));
        assert_eq!((far.sequence_number, near.sequence_number), (1010, 5007));
        assert_eq!((v4(&sent[1].bytes).source, near.destination_port), (FAR_V4, 40_000));
        assert!(bench.up(&data(1010, 1)).is_empty());
    }
}

#[test]
fn a_connection_that_is_over_is_not_reset() {
    let mut bench = Bench::new("nat idle-reset=5s");
    open(&mut bench, 40_000);
    assert_eq!(bench.up(&Segment { flags: "R", ..Segment::default() }.bytes()).len(), 1);
    let before = bench.seen.sent.len();
    bench.wait(millis(20_000));
    assert_eq!((bench.seen.sent.len(), bench.next_due()), (before, None));
}

#[test]
fn a_half_closed_connection_is_forgotten_sooner() {
    let mut bench = Bench::new("nat idle-silent=100s half-closed-idle=2s");
    let seen = open(&mut bench, 40_000);
    bench.wait(millis(50_000));
    let fin = Segment { flags: "F", ..Segment::default() };
    assert_eq!(bench.up(&fin.bytes()).len(), 1);
    bench.wait(millis(1999));
    assert_eq!(bench.down(&answer(&seen, &Segment::default())).len(), 1);
    bench.wait(millis(2000));
    assert!(bench.down(&answer(&seen, &Segment::default())).is_empty());
}

/// An ICMP error is passed on with what it quotes as its receiver knows it.
#[test]
fn icmp_errors_find_their_connection() {
    for spec in ["nat", "nat ports=changed"] {
        let mut bench = Bench::new(spec);
        let question = udp(UP, 4000, b"question");
        let seen = bench.up(&question).remove(0);
        let mut error = Vec::new();
        let ip = Ipv4Header::new(0, 64, IpNumber::ICMP, FAR_V4, ROUTER_V4.octets()).unwrap();
        let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        PacketBuilder::ip(IpHeaders::Ipv4(ip, Default::default())).icmpv4(kind).write(&mut error, &seen).unwrap();
        let left = bench.down(&error).remove(0);
        assert!(is_right(&left) && v4(&left).destination == NEAR_V4);
        // Just the packet that the near end has sent.
        assert_eq!(payload(&left), question);
        error[28 + 20..28 + 22].copy_from_slice(&1_u16.to_be_bytes());
        assert!(bench.down(&error).is_empty());
    }
}

/// The router's own messages go to whom they concern.
#[test]
fn an_mtu_behind_a_nat_quotes_what_each_end_has_sent() {
    let mut bench = Bench::new("mtu=500; nat ports=changed");
    let seen = open(&mut bench, 40_000);
    let packet = data(1000, 1000);
    let near = bench.up(&packet).remove(0);
    assert!(is_right(&near) && v4(&near).destination == NEAR_V4 && packet.starts_with(&payload(&near)));
    let packet = answer(&seen, &Segment { payload: vec![1; 1000], ..Segment::default() });
    let mut packet_df = packet.clone();
    packet_df[6] |= 0x40;
    packet_df[10..12].fill(0);
    let far = bench.down(&packet_df).remove(0);
    assert_eq!((v4(&far).source, v4(&far).destination), (ROUTER_V4.octets(), FAR_V4));
    assert_eq!(bench.seen.sent.last().unwrap().direction, UP);
    assert!(is_right(&far) && packet_df.starts_with(&payload(&far)));
}

#[test]
fn a_full_table_takes_no_more() {
    let mut bench = Bench::new("nat idle-silent=10s");
    let passed = (0..20_000).filter(|port| !bench.up(&syn(*port).bytes()).is_empty()).count();
    assert_eq!(passed, 16_384);
    bench.wait(millis(10_000));
    assert_eq!(bench.up(&syn(50_000).bytes()).len(), 1);
}
