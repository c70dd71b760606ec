//! Packets that the router makes itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{complete_header, complete_transport, put};
use super::packet::{ICMP, ICMPV6, PacketView, TCP, V4_HEADER, V6_HEADER};

/// The router's own address: its ICMP messages come from it, and what a NAT passes on.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
/// The same for IPv6.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0xfe);

const HOPS: u8 = 64;
/// An ICMP message for IPv4 is not longer (RFC 1812, section 4.3.2.3).
const MOST_V4: usize = 576;
/// One for IPv6 fits into the smallest MTU (RFC 4443, section 2.4).
const MOST_V6: usize = 1280;

pub(super) fn router_address(is_v6: bool) -> IpAddr {
    if is_v6 { IpAddr::V6(ROUTER_V6) } else { IpAddr::V4(ROUTER_V4) }
}

/// An IP packet of one family; its checksums are made here.
pub(super) fn packet(from: IpAddr, to: IpAddr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V6_HEADER + transport.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            put(&mut bytes, 2, (V4_HEADER + transport.len()) as u16);
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            bytes.extend([0x60, 0, 0, 0, 0, 0, protocol, HOPS]);
            bytes.extend(octets(from));
            bytes.extend(octets(to));
            put(&mut bytes, 4, transport.len() as u16);
        }
    }
    bytes.extend_from_slice(transport);
    complete_header(&mut bytes);
    if let Some(view) = PacketView::of(&bytes) {
        complete_transport(&mut bytes, &view);
    }
    bytes
}

/// The message to the sender of a packet that is longer than the MTU: `fragmentation needed` (RFC
/// 1191), or `packet too big` (RFC 8201). None is due about a later fragment or an ICMP error.
pub(super) fn too_big(original: &[u8], view: &PacketView, mtu: u16) -> Option<Vec<u8>> {
    let source = view.source(original);
    if view.is_later_fragment || view.quotes(original) || source.is_unspecified() || source.is_multicast() {
        return None;
    }
    let (header, most, protocol) = match view.is_v6 {
        true => (V6_HEADER, MOST_V6, ICMPV6),
        false => (V4_HEADER, MOST_V4, ICMP),
    };
    let quoted = &original[..view.length.min(most - header - 8)];
    let mut message = if view.is_v6 { vec![2, 0, 0, 0, 0, 0, 0, 0] } else { vec![3, 4, 0, 0, 0, 0, 0, 0] };
    put(&mut message, 6, mtu);
    message.extend_from_slice(quoted);
    Some(packet(router_address(view.is_v6), source, protocol, &message))
}

/// A TCP segment.
pub(super) struct MadeSegment<'a> {
    pub(super) from: (IpAddr, u16),
    pub(super) to: (IpAddr, u16),
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// Their length is a multiple of four.
    pub(super) options: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl MadeSegment<'_> {
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut segment = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        segment.extend(self.from.1.to_be_bytes());
        segment.extend(self.to.1.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([(((20 + self.options.len()) / 4) << 4) as u8, self.flags]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend_from_slice(self.options);
        segment.extend_from_slice(self.payload);
        packet(self.from.0, self.to.0, TCP, &segment)
    }
}
