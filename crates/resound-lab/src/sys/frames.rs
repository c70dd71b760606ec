//! Frames to send through a packet socket, many with one call.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{attach, set_option};

/// Frames that one call sends at most.
const BATCH_FRAMES: usize = 32;
const HEADER: usize = 14;

/// Frames that wait to be sent on one interface, in their order.
#[derive(Debug)]
pub(crate) struct FrameQueue {
    socket: OwnedFd,
    /// Of both addresses in the Ethernet header.
    address: [u8; 6],
    waiting: VecDeque<Batch>,
    /// To be filled again.
    spare: Vec<Batch>,
    bytes: usize,
    refused: u64,
}

/// The frames of one call.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl FrameQueue {
    /// Sends on an interface, to the one station behind it, which has the address.
    pub(crate) fn open(socket: OwnedFd, interface: u32, address: [u8; 6]) -> io::Result<Self> {
        set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        attach(socket.as_fd(), interface, 0)?;
        Ok(Self { socket, address, waiting: VecDeque::new(), spare: Vec::new(), bytes: 0, refused: 0 })
    }

    /// Adds a packet of IPv4 or IPv6.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        let protocol: [u8; 2] = match packet.first().map(|first| first >> 4) {
            Some(6) => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        if self.waiting.back().is_none_or(|batch| batch.ends.len() == BATCH_FRAMES) {
            self.waiting.push_back(self.spare.pop().unwrap_or_default());
        }
        let Some(batch) = self.waiting.back_mut() else { return };
        for part in [&self.address[..], &self.address, &protocol, packet] {
            batch.bytes.extend_from_slice(part);
        }
        batch.ends.push(batch.bytes.len());
        self.bytes += HEADER + packet.len();
    }

    /// What waits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sends the next frames, at most as many as one call takes. One that the kernel refuses, as a
    /// packet larger than the link's MTU, is counted and lost.
    pub(crate) fn send_batch(&mut self) {
        let Some(mut batch) = self.waiting.pop_front() else { return };
        self.refused += send_all(&self.socket, &mut batch);
        self.bytes -= batch.bytes.len();
        batch.bytes.clear();
        batch.ends.clear();
        if self.spare.is_empty() {
            self.spare.push(batch);
        }
    }

    /// Frames that the kernel has refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}

/// Sends frames: how many the kernel has refused.
fn send_all(socket: &OwnedFd, batch: &mut Batch) -> u64 {
    let mut rest = &mut batch.bytes[..];
    let mut start = 0;
    let mut parts = [const { libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } }; BATCH_FRAMES];
    // SAFETY: zero is a valid value of each field: no address, no parts, no control message.
    let mut headers: [libc::mmsghdr; BATCH_FRAMES] = unsafe { std::mem::zeroed() };
    for ((end, part), header) in batch.ends.iter().zip(&mut parts).zip(&mut headers) {
        let (frame, behind) = std::mem::take(&mut rest).split_at_mut(end - start);
        (part.iov_base, part.iov_len) = (frame.as_mut_ptr().cast(), frame.len());
        (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (part, 1);
        (rest, start) = (behind, *end);
    }
    let count = batch.ends.len();
    let (mut sent, mut refused) = (0, 0);
    while sent < count {
        let left = &mut headers[sent..count];
        // SAFETY: each header has one part, and each part is a frame of the batch; all outlive the
        // call.
        let result = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
        match usize::try_from(result) {
            Ok(count) if count > 0 => sent += count,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => (sent, refused) = (sent + 1, refused + 1),
        }
    }
    refused
}
