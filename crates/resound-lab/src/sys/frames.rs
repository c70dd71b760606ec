//! Frames to send through a packet socket, many with one call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{attach, set_option};

/// Frames that one call sends at most.
const BATCH_FRAMES: usize = 64;

/// Frames that wait to be sent on one interface.
#[derive(Debug)]
pub(crate) struct FrameBatch {
    socket: OwnedFd,
    /// Of both addresses in the Ethernet header.
    address: [u8; 6],
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    refused: u64,
}

impl FrameBatch {
    /// Sends on an interface, to the one station behind it, which has the address.
    pub(crate) fn open(socket: OwnedFd, interface: u32, address: [u8; 6]) -> io::Result<Self> {
        set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        attach(socket.as_fd(), interface, 0)?;
        Ok(Self { socket, address, bytes: Vec::new(), ends: Vec::new(), refused: 0 })
    }

    /// Adds a packet of IPv4 or IPv6.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        let protocol: [u8; 2] = match packet.first().map(|first| first >> 4) {
            Some(6) => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        self.bytes.extend_from_slice(&self.address);
        self.bytes.extend_from_slice(&self.address);
        self.bytes.extend_from_slice(&protocol);
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
        if self.ends.len() == BATCH_FRAMES {
            self.flush();
        }
    }

    /// Sends all frames. One that the kernel refuses, as a full queue or a packet larger than the
    /// link's MTU, is counted and lost.
    pub(crate) fn flush(&mut self) {
        let mut start = 0;
        let mut parts: Vec<_> = Vec::with_capacity(self.ends.len());
        for &end in &self.ends {
            let frame = &mut self.bytes[start..end];
            parts.push(libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() });
            start = end;
        }
        let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(parts.len());
        for part in &mut parts {
            // SAFETY: zero is a valid value of each field: no address, no control message.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (part, 1);
            headers.push(header);
        }
        let mut sent = 0;
        while let Some(rest) = headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
            // SAFETY: each header has one part, and each part is a frame in `bytes`; all outlive the
            // call.
            let result = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            match usize::try_from(result) {
                Ok(count) if count > 0 => sent += count,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => (sent, self.refused) = (sent + 1, self.refused + 1),
            }
        }
        self.bytes.clear();
        self.ends.clear();
    }

    /// Frames that the kernel has refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}
