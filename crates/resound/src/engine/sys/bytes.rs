//! Bytes in transit: [`Received`] in, [`SendBytes`] out.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::pool::Lease;

/// The bytes of one receive.
#[derive(Debug)]
pub(crate) enum Received {
    /// In the buffer that the kernel has filled.
    Lent(Lease),
    /// Copied from the end of one buffer and the beginning of another.
    Joined(Vec<u8>),
}

/// Bytes to be sent. They belong to the ring until the send has completed.
#[derive(Debug)]
pub(crate) enum SendBytes {
    /// Received bytes that are sent back without a copy.
    Lent(Lease),
    /// Owned bytes, those from `from` on.
    Owned { bytes: Vec<u8>, from: usize },
    /// Bytes that are sent from where they are.
    Shared(Bytes),
    /// Several of these, with one operation.
    Several(Box<VectoredSend>),
}

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(lease) => lease.bytes(),
            Self::Joined(bytes) => bytes,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Lent(lease) => lease.bytes_mut(),
            Self::Joined(bytes) => bytes,
        }
    }

    /// A part of it, to be sent back.
    pub(crate) fn into_send(self, part: Range<usize>) -> SendBytes {
        match self {
            Self::Lent(lease) => SendBytes::Lent(lease.narrow(part)),
            Self::Joined(mut bytes) => {
                bytes.truncate(part.end);
                SendBytes::Owned { bytes, from: part.start }
            }
        }
    }

    /// Joins it with the bytes that follow it.
    pub(super) fn join(self, next: &Lease) -> Self {
        let mut bytes = match self {
            Self::Lent(lease) => lease.bytes().to_vec(),
            Self::Joined(bytes) => bytes,
        };
        bytes.extend_from_slice(next.bytes());
        Self::Joined(bytes)
    }
}

impl SendBytes {
    pub(crate) fn several(parts: Vec<Self>) -> Self {
        Self::Several(Box::new(VectoredSend::new(parts)))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Lent(lease) => lease.len(),
            Self::Owned { bytes, from } => bytes.len() - from,
            Self::Shared(bytes) => bytes.len(),
            Self::Several(several) => several.len(),
        }
    }

    /// The rest after the first `n` bytes, which have been sent. The rest of a lease is copied out
    /// of its shared buffer.
    pub(crate) fn advance(self, n: usize) -> Self {
        match self {
            Self::Lent(lease) => Self::Owned { bytes: lease.bytes()[n..].to_vec(), from: 0 },
            Self::Owned { bytes, from } => Self::Owned { bytes, from: from + n },
            Self::Shared(mut bytes) => {
                bytes.advance(n);
                Self::Shared(bytes)
            }
            Self::Several(mut several) => {
                several.advance(n);
                Self::Several(several)
            }
        }
    }

    /// A send of at most `len` bytes. It points to memory that stays where it is when this value is
    /// moved, and as it is until this value is used again.
    pub(super) fn entry(&mut self, socket: Fd, len: usize, flags: i32) -> squeue::Entry {
        let start = match self {
            Self::Lent(lease) => lease.bytes().as_ptr(),
            Self::Owned { bytes, from } => bytes[*from..].as_ptr(),
            Self::Shared(bytes) => bytes.as_ptr(),
            Self::Several(several) => {
                return opcode::SendMsg::new(socket, several.header(len)).flags(flags as u32).build();
            }
        };
        // No send is longer than a read, or than what may wait on a connection. The limit of the
        // kernel is beyond both, and sending a part is enough.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        opcode::Send::new(socket, start, len).flags(flags).build()
    }

    /// Passes its parts to `visit`, in order.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Lent(lease) => visit(lease.bytes()),
            Self::Owned { bytes, from } => visit(&bytes[*from..]),
            Self::Shared(bytes) => visit(bytes),
            Self::Several(several) => several.each(visit),
        }
    }
}

/// Bytes that one operation sends, in order, with the header and the list that the kernel reads.
#[derive(Debug)]
pub(crate) struct VectoredSend {
    parts: VecDeque<SendBytes>,
    len: usize,
    list: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl VectoredSend {
    fn new(parts: Vec<SendBytes>) -> Self {
        // SAFETY: the header consists of integers and raw pointers, for which zero is valid: no
        // address and no bytes.
        let header = unsafe { std::mem::zeroed() };
        Self {
            len: parts.iter().map(SendBytes::len).sum(),
            list: Vec::with_capacity(parts.len()),
            parts: parts.into(),
            header,
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        self.parts.iter().for_each(|part| part.each(visit));
    }

    /// `n` bytes have been sent.
    fn advance(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(part) = self.parts.pop_front() {
            if n < part.len() {
                return self.parts.push_front(part.advance(n));
            }
            n -= part.len();
        }
    }

    /// The header for an operation that sends at most `most` bytes. It is valid for as long as this
    /// value is neither moved nor changed.
    fn header(&mut self, most: usize) -> *const libc::msghdr {
        let Self { parts, list, header, .. } = self;
        let mut left = most;
        list.clear();
        for part in parts {
            part.each(&mut |bytes| {
                let n = bytes.len().min(left);
                left -= n;
                if n > 0 {
                    list.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: n });
                }
            });
        }
        header.msg_iov = list.as_mut_ptr();
        header.msg_iovlen = list.len() as _;
        header
    }
}
