//! Bytes on their way: [`Piece`] in, [`Load`] out.

use std::ops::Range;

use super::pool::Lease;

/// What one receive has brought.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Where the kernel has put it.
    Lent(Lease),
    /// It came in the end of one buffer and the beginning of another.
    Joined(Vec<u8>),
}

/// Bytes under way to the kernel: the ring's, until the send has completed.
#[derive(Debug)]
pub(crate) enum Load {
    /// Received bytes that go back uncopied.
    Lent(Lease),
    /// Bytes of our own, those from `from` on.
    Owned { bytes: Vec<u8>, from: usize },
}

impl Piece {
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
    pub(crate) fn load(self, part: Range<usize>) -> Load {
        match self {
            Self::Lent(lease) => Load::Lent(lease.narrow(part)),
            Self::Joined(mut bytes) => {
                bytes.truncate(part.end);
                Load::Owned { bytes, from: part.start }
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

impl Load {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(lease) => lease.bytes(),
            Self::Owned { bytes, from } => &bytes[*from..],
        }
    }
}
