//! [`Lending`]: buffers that one connection of a relay has received into, and its partner sends.

use std::cell::{Cell, RefCell};

use resound_proto::ConnId;

/// Shorter reads are copied: that costs less than a buffer that changes hands.
const WORTH_LENDING: usize = 4 * 1024;
/// The most buffers that are lent at once: while there are that many, further bytes are copied.
const MOST: usize = 16;

/// The buffers of a worker that are lent, and those that wait for the next read.
#[derive(Default)]
pub(super) struct Lending {
    /// Lent, and not taken yet.
    lent: RefCell<Vec<LentBuffer>>,
    spares: RefCell<Vec<Box<[u8]>>>,
    /// Buffers that are lent or taken.
    away: Cell<usize>,
}

/// What one connection has received, for another one to send.
pub(super) struct LentBuffer {
    to: ConnId,
    buffer: Box<[u8]>,
    len: usize,
}

impl LentBuffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Lending {
    /// Whether the `n` bytes of a read are to be lent.
    pub(super) fn takes(&self, n: usize) -> bool {
        n >= WORTH_LENDING && self.away.get() < MOST
    }

    /// Lends the first `len` bytes of the buffer to a connection. Another buffer takes its place.
    pub(super) fn lend(&self, to: ConnId, buffer: &mut Box<[u8]>, len: usize) {
        let spare = self.spares.borrow_mut().pop().unwrap_or_else(|| vec![0; buffer.len()].into());
        let buffer = std::mem::replace(buffer, spare);
        self.away.set(self.away.get() + 1);
        self.lent.borrow_mut().push(LentBuffer { to, buffer, len });
    }

    /// What was lent to a connection.
    pub(super) fn take(&self, to: ConnId) -> Option<LentBuffer> {
        let mut lent = self.lent.borrow_mut();
        let at = lent.iter().position(|part| part.to == to)?;
        Some(lent.swap_remove(at))
    }

    /// A buffer is back.
    pub(super) fn give_back(&self, part: LentBuffer) {
        self.away.set(self.away.get() - 1);
        self.spares.borrow_mut().push(part.buffer);
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        debug_assert!(self.away.get() == 0 || std::thread::panicking(), "{} buffers are lost", self.away.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: usize = 64 * 1024;

    #[test]
    fn buffers_change_hands_and_are_bounded() {
        let (lending, mut wire) = (Lending::default(), vec![1; WIRE].into_boxed_slice());
        assert!(!lending.takes(WORTH_LENDING - 1) && lending.takes(WORTH_LENDING));
        for n in 0..MOST {
            assert!(lending.takes(WIRE));
            lending.lend(ConnId(n as u64), &mut wire, WORTH_LENDING + n);
            wire.fill(n as u8 + 2);
        }
        assert!(!lending.takes(WIRE), "all are away");
        assert!(lending.take(ConnId(99)).is_none());
        let part = lending.take(ConnId(3)).unwrap();
        assert_eq!(part.bytes(), vec![4; WORTH_LENDING + 3]);
        assert!(!lending.takes(WIRE), "it is still in use");
        let memory = part.bytes().as_ptr();
        lending.give_back(part);
        assert!(lending.takes(WIRE) && lending.take(ConnId(3)).is_none());
        lending.lend(ConnId(3), &mut wire, WIRE);
        assert_eq!(wire.as_ptr(), memory, "its memory is used again");
        (0..MOST).for_each(|n| lending.give_back(lending.take(ConnId(n as u64)).unwrap()));
    }
}
