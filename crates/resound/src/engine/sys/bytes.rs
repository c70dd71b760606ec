//! Bytes on their way: [`Received`] in, [`SendBytes`] out.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::pool::Lease;

/// What one receive has brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// Where the kernel has put it.
    Lent(Lease),
    /// It came in the end of one buffer and the beginning of another.
    Joined(Vec<u8>),
}

/// Bytes under way to the kernel: the ring's, until the send has completed.
#[derive(Debug)]
pub(crate) enum SendBytes {
    /// Received bytes that go back uncopied.
    Lent(Lease),
    /// Bytes of our own, those from `from` on.
    Owned { bytes: Vec<u8>, from: usize },
    /// Bytes that are sent from where they stand.
    Shared(Bytes),
    /// Several of these, with one call.
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

    /// A part of it, to be sent.
    pub(crate) fn load(self, part: Range<usize>) -> SendBytes {
        match self {
            Self::Lent(lease) => SendBytes::Lent(lease.narrow(part)),
            Self::Joined(mut bytes) => {
                bytes.truncate(part.end);
                SendBytes::Owned { bytes, from: part.start }
            }
        }
    }

    /// It, and what follows it.
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
    pub(crate) fn several(loads: Vec<Self>) -> Self {
        Self::Several(Box::new(VectoredSend::new(loads)))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Lent(lease) => lease.len(),
            Self::Owned { bytes, from } => bytes.len() - from,
            Self::Shared(bytes) => bytes.len(),
            Self::Several(several) => several.len(),
        }
    }

    /// What is left behind the first `n` bytes, which have left. It is in no shared buffer any
    /// more.
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

    /// A send of `len` bytes at most. It points to what stays where it is when the load is moved,
    /// and as it is until the load is asked again.
    pub(super) fn entry(&mut self, socket: Fd, len: usize, flags: i32) -> squeue::Entry {
        let start = match self {
            Self::Lent(lease) => lease.bytes().as_ptr(),
            Self::Owned { bytes, from } => bytes[*from..].as_ptr(),
            Self::Shared(bytes) => bytes.as_ptr(),
            Self::Several(several) => {
                return opcode::SendMsg::new(socket, several.header(len)).flags(flags as u32).build();
            }
        };
        // No send is longer than a read, or than a connection may have waiting; the kernel's limit
        // is beyond both, and a part will do.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        opcode::Send::new(socket, start, len).flags(flags).build()
    }

    /// Its bytes, each of its parts by itself.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Lent(lease) => tell(lease.bytes()),
            Self::Owned { bytes, from } => tell(&bytes[*from..]),
            Self::Shared(bytes) => tell(bytes),
            Self::Several(several) => several.each(tell),
        }
    }
}

/// Loads that leave with one call, in order. The kernel finds them by a header and a list, which
/// are here too.
#[derive(Debug)]
pub(crate) struct VectoredSend {
    loads: VecDeque<SendBytes>,
    len: usize,
    list: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl VectoredSend {
    pub(super) fn new(loads: Vec<SendBytes>) -> Self {
        // SAFETY: it is made of integers and pointers, all of which may be zero: nobody, and
        // nothing.
        let header = unsafe { std::mem::zeroed() };
        Self {
            len: loads.iter().map(SendBytes::len).sum(),
            list: Vec::with_capacity(loads.len()),
            loads: loads.into(),
            header,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn each(&self, tell: &mut dyn FnMut(&[u8])) {
        self.loads.iter().for_each(|load| load.each(tell));
    }

    /// So many bytes have left.
    pub(super) fn advance(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(load) = self.loads.pop_front() {
            if n < load.len() {
                return self.loads.push_front(load.advance(n));
            }
            n -= load.len();
        }
    }

    /// For a call that sends `most` bytes at most. It means something for as long as this value is
    /// neither moved nor changed.
    pub(super) fn header(&mut self, most: usize) -> *const libc::msghdr {
        let Self { loads, list, header, .. } = self;
        let mut left = most;
        list.clear();
        for load in loads {
            load.each(&mut |bytes| {
                let n = bytes.len().min(left);
                left -= n;
                if n > 0 {
                    list.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: n });
                }
            });
        }
        header.msg_iov = list.as_mut_ptr();
        header.msg_iovlen = list.len();
        header
    }
}
