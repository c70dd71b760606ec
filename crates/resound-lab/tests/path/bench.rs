//! A path on a virtual clock, and packets that something else makes and reads.

use std::time::Duration;

use etherparse::{
    IpEcn, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, NetHeaders, NetSlice, PacketBuilder, PacketHeaders,
    SlicedPacket, TcpHeader, TransportHeader, TransportSlice,
};
use resound_lab::{Decision, LabPath, PathOutput, StreamDirection, Summary};

pub(crate) const UP: StreamDirection = StreamDirection::Up;
pub(crate) const DOWN: StreamDirection = StreamDirection::Down;

pub(crate) const NEAR_V4: [u8; 4] = [10, 77, 0, 1];
pub(crate) const FAR_V4: [u8; 4] = [10, 77, 0, 2];
pub(crate) const NEAR_V6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const FAR_V6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A packet that left, when, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) direction: StreamDirection,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    now: Duration,
    pub(crate) sent: Vec<Sent>,
    /// The comment of each decision; empty where nothing was done.
    pub(crate) notes: Vec<String>,
}

impl PathOutput for Seen {
    fn send(&mut self, direction: StreamDirection, packet: &[u8]) {
        self.sent.push(Sent { at: self.now, direction, bytes: packet.to_vec() });
    }

    fn note(&mut self, decision: &Decision<'_>) {
        self.notes.push(decision.comment().unwrap_or_default());
    }
}

pub(crate) struct Bench {
    path: LabPath,
    pub(crate) now: Duration,
    pub(crate) seen: Seen,
}

impl Bench {
    pub(crate) fn new(spec: &str) -> Self {
        Self::seeded(spec, 7)
    }

    pub(crate) fn seeded(spec: &str, seed: u64) -> Self {
        let defects = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        Self { path: LabPath::new(&defects, seed), now: Duration::ZERO, seen: Seen::default() }
    }

    /// Gives a packet to the router, and returns what left at once.
    pub(crate) fn pass(&mut self, direction: StreamDirection, packet: &[u8]) -> Vec<Vec<u8>> {
        let before = self.seen.sent.len();
        self.seen.now = self.now;
        self.path.receive(direction, packet, self.now, &mut self.seen);
        self.seen.sent[before..].iter().map(|sent| sent.bytes.clone()).collect()
    }

    pub(crate) fn up(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.pass(UP, packet)
    }

    pub(crate) fn down(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.pass(DOWN, packet)
    }

    /// The clock goes on, and stops wherever the router wants it to.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            let Some(due) = self.path.next_due().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.seen.now = self.now;
            self.path.run_due(self.now, &mut self.seen);
        }
        self.now = end;
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.path.next_due()
    }

    pub(crate) fn summary(&self) -> Summary {
        self.path.summary()
    }

    /// The last decision's comment.
    pub(crate) fn note(&self) -> &str {
        self.seen.notes.last().map_or("", String::as_str)
    }
}

/// A TCP segment between the near end's port 40,000 and the far end's port 80.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) direction: StreamDirection,
    pub(crate) is_v6: bool,
    pub(crate) near_port: u16,
    pub(crate) far_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    /// Letters of `SFRPEC`.
    pub(crate) flags: &'static str,
    pub(crate) options: &'static [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) traffic_class: u8,
    pub(crate) may_fragment: bool,
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            direction: UP,
            is_v6: false,
            near_port: 40_000,
            far_port: 80,
            seq: 1000,
            ack: Some(5000),
            flags: "",
            options: &[],
            payload: Vec::new(),
            traffic_class: 0,
            may_fragment: false,
        }
    }
}

impl Segment {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let is_up = self.direction == UP;
        let ports = if is_up { (self.near_port, self.far_port) } else { (self.far_port, self.near_port) };
        let mut header = TcpHeader::new(ports.0, ports.1, self.seq, 60_000);
        (header.ack, header.acknowledgment_number) = (self.ack.is_some(), self.ack.unwrap_or_default());
        let has = |flag| self.flags.contains(flag);
        (header.syn, header.fin, header.rst, header.psh) = (has('S'), has('F'), has('R'), has('P'));
        (header.ece, header.cwr) = (has('E'), has('C'));
        header.set_options_raw(self.options).unwrap();
        let mut bytes = Vec::new();
        let ip = ip(is_up, self.is_v6, self.traffic_class, self.may_fragment);
        PacketBuilder::ip(ip).tcp_header(header).write(&mut bytes, &self.payload).unwrap();
        bytes
    }
}

fn ip(is_up: bool, is_v6: bool, traffic_class: u8, may_fragment: bool) -> IpHeaders {
    if is_v6 {
        let (source, destination) = if is_up { (NEAR_V6, FAR_V6) } else { (FAR_V6, NEAR_V6) };
        let header = Ipv6Header { traffic_class, hop_limit: 64, source, destination, ..Default::default() };
        return IpHeaders::Ipv6(header, Default::default());
    }
    let (source, destination) = if is_up { (NEAR_V4, FAR_V4) } else { (FAR_V4, NEAR_V4) };
    let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, source, destination).unwrap();
    header.dscp = (traffic_class >> 2).try_into().unwrap();
    header.ecn = IpEcn::try_new(traffic_class & 3).unwrap();
    (header.dont_fragment, header.identification) = (!may_fragment, if may_fragment { 77 } else { 0 });
    IpHeaders::Ipv4(header, Default::default())
}

/// Data of the near end.
pub(crate) fn data(seq: u32, length: usize) -> Vec<u8> {
    Segment { seq, payload: pattern(length), ..Segment::default() }.bytes()
}

/// Data of the far end.
pub(crate) fn data_down(seq: u32, length: usize) -> Vec<u8> {
    Segment { direction: DOWN, seq, payload: pattern(length), ..Segment::default() }.bytes()
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 256) as u8).collect()
}

pub(crate) fn udp(direction: StreamDirection, near_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (from, to) = if direction == UP { (near_port, 53) } else { (53, near_port) };
    PacketBuilder::ip(ip(direction == UP, false, 0, true)).udp(from, to).write(&mut bytes, payload).unwrap();
    bytes
}

pub(crate) fn ping(direction: StreamDirection, is_v6: bool, id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ip(ip(direction == UP, is_v6, 0, false));
    match (is_v6, direction == UP) {
        (false, true) => builder.icmpv4_echo_request(id, 1).write(&mut bytes, b"0123456789").unwrap(),
        (false, false) => builder.icmpv4_echo_reply(id, 1).write(&mut bytes, b"0123456789").unwrap(),
        (true, true) => builder.icmpv6_echo_request(id, 1).write(&mut bytes, b"0123456789").unwrap(),
        (true, false) => builder.icmpv6_echo_reply(id, 1).write(&mut bytes, b"0123456789").unwrap(),
    }
    bytes
}

/// The handshake and the first data of a connection from this port, as the near end sends them and
/// the far end answers: what left of each.
pub(crate) fn handshake(bench: &mut Bench, near_port: u16) -> [Vec<Vec<u8>>; 3] {
    let base = Segment { near_port, ..Segment::default() };
    let syn = Segment { seq: 999, ack: None, flags: "S", ..base.clone() };
    let answer = Segment { direction: DOWN, seq: 4999, ack: Some(1000), flags: "S", ..base.clone() };
    [bench.up(&syn.bytes()), bench.down(&answer.bytes()), bench.up(&base.bytes())]
}

pub(crate) fn tcp(packet: &[u8]) -> TcpHeader {
    match PacketHeaders::from_ip_slice(packet).unwrap().transport {
        Some(TransportHeader::Tcp(header)) => header,
        other => panic!("{other:?} is not TCP"),
    }
}

pub(crate) fn v4(packet: &[u8]) -> Ipv4Header {
    match PacketHeaders::from_ip_slice(packet).unwrap().net {
        Some(NetHeaders::Ipv4(header, _)) => header,
        other => panic!("{other:?} is not IPv4"),
    }
}

pub(crate) fn v6(packet: &[u8]) -> Ipv6Header {
    match PacketHeaders::from_ip_slice(packet).unwrap().net {
        Some(NetHeaders::Ipv6(header, _)) => header,
        other => panic!("{other:?} is not IPv6"),
    }
}

pub(crate) fn payload(packet: &[u8]) -> Vec<u8> {
    PacketHeaders::from_ip_slice(packet).unwrap().payload.slice().to_vec()
}

/// Are the checksums of a packet right? Those of a fragment's transport header are left out.
pub(crate) fn is_right(packet: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ip(packet).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    let net = sliced.net.unwrap();
    if let NetSlice::Ipv4(ip) = &net {
        let header = ip.header().to_header();
        if header.calc_header_checksum() != header.header_checksum {
            return false;
        }
    }
    match (&net, sliced.transport) {
        (NetSlice::Ipv4(ip), Some(TransportSlice::Tcp(tcp))) => {
            let addresses = (ip.header().source(), ip.header().destination());
            tcp.calc_checksum_ipv4(addresses.0, addresses.1).unwrap() == tcp.checksum()
        }
        (NetSlice::Ipv6(ip), Some(TransportSlice::Tcp(tcp))) => {
            let addresses = (ip.header().source(), ip.header().destination());
            tcp.calc_checksum_ipv6(addresses.0, addresses.1).unwrap() == tcp.checksum()
        }
        (NetSlice::Ipv4(ip), Some(TransportSlice::Udp(udp))) => {
            let header = udp.to_header();
            let own = header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
            udp.checksum() == 0 || own == udp.checksum()
        }
        (NetSlice::Ipv6(ip), Some(TransportSlice::Udp(udp))) => {
            let header = udp.to_header();
            header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap() == udp.checksum()
        }
        (_, Some(TransportSlice::Icmpv4(icmp))) => icmp.icmp_type().calc_checksum(icmp.payload()) == icmp.checksum(),
        (NetSlice::Ipv6(ip), Some(TransportSlice::Icmpv6(icmp))) => {
            icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
        }
        _ => true,
    }
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
