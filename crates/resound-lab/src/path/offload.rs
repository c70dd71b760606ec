//! Undoes segmentation offload and the offload of checksums.

use super::checksum::{complete_header, complete_transport, put};
use super::packet::{FIN, PacketView, TCP, UDP, V6_HEADER, u16_at};

const PSH: u8 = 8;
const CWR: u8 = 0x80;

/// Segments of TCP for IPv4 and IPv6, and of UDP, as `linux/virtio_net.h` has them.
const SEGMENTED: [u8; 3] = [1, 4, 5];
/// Its bit for ECN stands beside them.
const ECN: u8 = 0x80;

/// The header of a packet's offloads, as `struct virtio_net_hdr` of Linux has it: packet sockets
/// with `PACKET_VNET_HDR` and tun devices with `IFF_VNET_HDR` put it in front of each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadHeader {
    /// Is the checksum of the transport header yet to be made?
    pub needs_checksum: bool,
    /// The payload of each segment; 0 where the packet is one.
    pub segment_size: u16,
}

impl OffloadHeader {
    /// Its length in bytes.
    pub const LENGTH: usize = 10;

    /// From its bytes, in the machine's order.
    pub fn parse(bytes: [u8; Self::LENGTH]) -> Self {
        let is_segmented = SEGMENTED.contains(&(bytes[1] & !ECN));
        let size = u16::from_ne_bytes([bytes[4], bytes[5]]);
        Self { needs_checksum: bytes[0] & 1 != 0, segment_size: if is_segmented { size } else { 0 } }
    }
}

/// Gives each packet of one that the offloads left whole: segments as the sender's MSS has them,
/// with checksums. `packet` starts with its IP header; what is behind its end is left out.
pub fn segments(header: OffloadHeader, packet: &mut [u8], mut each: impl FnMut(&[u8])) {
    let Some(view) = PacketView::of(packet) else {
        each(packet);
        return;
    };
    let packet = &mut packet[..view.length];
    let size = usize::from(header.segment_size);
    let is_segmented = view.tcp.is_some() || view.protocol == UDP && view.ports.is_some();
    if size == 0 || !is_segmented || view.is_fragment || view.length - view.payload <= size {
        if header.needs_checksum {
            complete_transport(packet, &view);
        }
        each(packet);
        return;
    }
    let payload = &packet[view.payload..];
    let count = payload.len().div_ceil(size);
    let mut segment = Vec::with_capacity(view.payload + size);
    for (index, chunk) in payload.chunks(size).enumerate() {
        segment.clear();
        segment.extend_from_slice(&packet[..view.payload]);
        segment.extend_from_slice(chunk);
        number(&mut segment, &view, index, index * size, index + 1 == count);
        each(&segment);
    }
}

/// Makes the headers those of one segment, which was copied from those of all.
fn number(segment: &mut [u8], view: &PacketView, index: usize, offset: usize, is_last: bool) {
    if view.is_v6 {
        put(segment, 4, (segment.len() - V6_HEADER) as u16);
    } else {
        put(segment, 2, segment.len() as u16);
        let identification = u16_at(segment, 4).unwrap_or_default().wrapping_add(index as u16);
        put(segment, 4, identification);
        complete_header(segment);
    }
    let start = view.transport;
    if view.protocol == TCP {
        let seq = view.tcp.map_or(0, |tcp| tcp.seq).wrapping_add(offset as u32);
        segment[start + 4..start + 8].copy_from_slice(&seq.to_be_bytes());
        let flags = &mut segment[start + 13];
        *flags &= if is_last { 0xff } else { !(FIN | PSH) };
        *flags &= if index == 0 { 0xff } else { !CWR };
    } else {
        put(segment, start + 4, (segment.len() - start) as u16);
    }
    if let Some(own) = PacketView::of(segment) {
        complete_transport(segment, &own);
    }
}
