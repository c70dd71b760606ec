use std::collections::VecDeque;

use super::bytes::SendBytes;

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
