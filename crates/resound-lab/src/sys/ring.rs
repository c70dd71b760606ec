//! Received frames in memory shared with the kernel (packet(7), `PACKET_RX_RING`): no call for each
//! packet, and room that no limit on socket buffers makes smaller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{attach, checked, set_option, set_option_to};

/// Frames that wait for the router in one direction at most.
pub(crate) const RING_FRAMES: usize = 2048;
/// The memory of a ring at most: with large frames it has fewer.
const RING_BYTES: usize = 64 << 20;
/// The headers in front of a packet: the ring's, the offloads' and Ethernet's.
const HEADERS: usize = 256;
/// The least size of a frame's place.
const LEAST: usize = 8 << 10;
const ETHERNET: usize = 14;
const OFFLOADS: usize = 10;
const ETH_P_ALL: u16 = 3;

/// The frames of one interface, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct PacketRing {
    socket: OwnedFd,
    memory: NonNull<u8>,
    frame: usize,
    frames: usize,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and no thread has a hold of it but its owner.
unsafe impl Send for PacketRing {}

/// A frame's place for packets up to this size.
pub(crate) fn frame_size(packet: usize) -> usize {
    (packet + HEADERS).next_power_of_two().max(LEAST)
}

/// The frames of a ring, of this size each.
fn frames_of(frame: usize) -> usize {
    (RING_BYTES / frame).clamp(1, RING_FRAMES)
}

/// A received packet, from its IP header.
pub(crate) struct RingPacket<'a> {
    /// `struct virtio_net_hdr`.
    pub(crate) offloads: [u8; OFFLOADS],
    pub(crate) protocol: u16,
    pub(crate) bytes: &'a mut [u8],
}

impl PacketRing {
    /// Receives the frames that leave through an interface, each with the header of its offloads.
    /// They come in the order of their sending: behind the interface, where each processor has a
    /// queue of its own, they would overtake each other.
    pub(crate) fn open(socket: OwnedFd, interface: u32, frame: usize) -> io::Result<Self> {
        let option = |option, value| set_option(socket.as_fd(), libc::SOL_PACKET, option, value);
        option(libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2 as i32)?;
        option(libc::PACKET_VNET_HDR, 1)?;
        attach_filter(socket.as_fd())?;
        let frames = frames_of(frame);
        let request = libc::tpacket_req {
            tp_block_size: frame as u32,
            tp_block_nr: frames as u32,
            tp_frame_size: frame as u32,
            tp_frame_nr: frames as u32,
        };
        set_option_to(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (length, access) = (frame * frames, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let ring = Self { socket, memory, frame, frames, next: 0 };
        attach(ring.socket.as_fd(), interface, ETH_P_ALL)?;
        Ok(ring)
    }

    /// Gives the next frame, if one has arrived; `Some(None)` for one that is too short or was cut.
    pub(crate) fn take<R>(&mut self, each: impl FnOnce(RingPacket<'_>) -> R) -> Option<Option<R>> {
        // SAFETY: `next` is below the number of frames, so the frame is within the mapping.
        let frame = unsafe { self.memory.add(self.next * self.frame) };
        // SAFETY: a frame begins with its status, aligned as the frame is; the kernel writes it
        // too, so that it is only touched as an atomic.
        let status = unsafe { AtomicU32::from_ptr(frame.cast().as_ptr()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status gives the frame to this process until it is given back below; the
        // kernel has written a whole header, all of whose bytes are valid values.
        let header = unsafe { frame.cast::<libc::tpacket2_hdr>().read() };
        let (start, length) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let is_whole = header.tp_len == header.tp_snaplen
            && length >= ETHERNET
            && start >= OFFLOADS
            && start + length <= self.frame;
        let result = is_whole.then(|| {
            // SAFETY: checked above to be within the frame, which belongs to this process for now.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(frame.add(start - OFFLOADS).as_ptr(), OFFLOADS + length) };
            let (head, bytes) = bytes.split_at_mut(OFFLOADS + ETHERNET);
            let protocol = u16::from_be_bytes([head[OFFLOADS + 12], head[OFFLOADS + 13]]);
            let offloads = head.first_chunk().copied().unwrap_or_default();
            each(RingPacket { offloads, protocol, bytes })
        });
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.frames;
        Some(result)
    }

    /// The frames that found no room, since the last call.
    pub(crate) fn take_drops(&self) -> io::Result<u32> {
        let mut counts = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of_val(&counts) as libc::socklen_t;
        let to = std::ptr::from_mut(&mut counts).cast();
        // SAFETY: pointer and length are those of one live value of plain numbers.
        checked(unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, to, &mut length)
        })?;
        Ok(counts.tp_drops)
    }
}

/// Lets frames pass that leave the interface, and none that arrive.
fn attach_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    let line = |code: u32, jt, jf, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let kind = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    let mut program = [
        line(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, kind),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(libc::PACKET_OUTGOING)),
        line(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        line(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // The call copies the program.
    set_option_to(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

impl AsFd for PacketRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PacketRing {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made, which nothing uses any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.frame * self.frames) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_of_large_frames_needs_no_more_memory() {
        assert_eq!((frame_size(7_900), frames_of(frame_size(7_900))), (8 << 10, RING_FRAMES));
        for packet in [1_500, 9_000, 65_535] {
            let frame = frame_size(packet);
            assert!(frame > packet && frame * frames_of(frame) <= RING_BYTES, "{packet}");
        }
    }
}
