//! [`RingInput`]: how a connection receives, and what it has received and not delivered yet.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use crate::engine::local::ReadStreak;
use crate::engine::sys::{BufferKind, Key, Received, Ring};

/// A receive of this size, for which every buffer has room, begins a bulk transfer: from then on
/// the connection receives one buffer at a time, and only when it can deliver it.
const LARGE: usize = 8 * 1024;
/// [`SMALL_RECEIVES`] receives in a row below this size end a bulk transfer; the last of them only
/// has to be below [`LARGE`].
const SMALL: usize = 2 * 1024;
const SMALL_RECEIVES: u8 = 4;
/// This many undelivered parts stop a multishot receive: all connections share the buffers that
/// they lie in.
const MOST_PARTS: usize = 8;

/// The receive in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    Idle,
    /// Until it is cancelled.
    Multishot,
    SingleShot,
    Cancelling,
    /// Waits until the socket is readable, and then reads by itself: the kernel reports timestamps
    /// in no other way.
    Polling,
    /// On the worker's list of those that wait for a buffer: refused, or behind others that wait.
    Starved,
}

pub(super) struct RingInput {
    pub(super) receive: Receive,
    /// Small receives in a row, up to [`SMALL_RECEIVES`], and one more of a connection that has
    /// shown that it sends little. With fewer than [`SMALL_RECEIVES`] the connection is in bulk
    /// mode.
    small_receives: u8,
    pub(super) streak: ReadStreak,
    /// A poll for a failure of the connection is in flight. It begins with the first pause, and
    /// stays: to cancel it at each receive would cost more than what it adds to that.
    pub(super) polls_failure: bool,
    /// The connection has failed.
    pub(super) has_failed: bool,
    /// Received and not delivered. Owns memory only while it holds something.
    #[expect(clippy::box_collection, reason = "there are many, and nearly all of them are empty")]
    parts: Option<Box<VecDeque<Received>>>,
}

impl RingInput {
    /// With `few_buffers` a multishot receive brings little. Otherwise a new connection begins with
    /// single-shot receives: it may have sent any amount.
    pub(super) fn new(few_buffers: bool) -> Self {
        let small_receives = if few_buffers { SMALL_RECEIVES } else { SMALL_RECEIVES - 1 };
        Self {
            receive: Receive::Idle,
            small_receives,
            streak: ReadStreak::default(),
            polls_failure: false,
            has_failed: false,
            parts: None,
        }
    }

    /// A receive has brought this many bytes.
    #[inline]
    pub(super) fn note_size(&mut self, len: usize) {
        self.streak.read(len);
        self.small_receives = match len {
            ..SMALL => (self.small_receives + 1).min(SMALL_RECEIVES + 1),
            SMALL..LARGE if self.small_receives >= SMALL_RECEIVES - 1 => SMALL_RECEIVES + 1,
            _ => 0,
        };
    }

    #[inline]
    pub(super) fn is_bulk(&self) -> bool {
        self.small_receives < SMALL_RECEIVES
    }

    /// The receive in flight has found no buffer. Returns the kind of receive that needs one more.
    /// A connection that has not shown yet that it sends little gets no further multishot buffer:
    /// any amount may have arrived, and a multishot receive takes all that there is room for.
    pub(super) fn starved(&mut self, receive: Receive) -> Option<BufferKind> {
        self.receive = Receive::Starved;
        match receive {
            Receive::SingleShot => Some(BufferKind::SingleShot),
            _ if self.small_receives > SMALL_RECEIVES => Some(BufferKind::Multishot),
            _ => {
                self.small_receives = self.small_receives.min(SMALL_RECEIVES - 1);
                None
            }
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.polls_failure || !matches!(self.receive, Receive::Idle | Receive::Starved)
    }

    /// Returns whether a receive will bring what the socket holds: it is in flight, or follows once
    /// there is a buffer.
    pub(super) fn may_bring(&self) -> bool {
        matches!(self.receive, Receive::Multishot | Receive::SingleShot | Receive::Polling | Receive::Starved)
    }

    #[inline]
    pub(super) fn is_delivered(&self) -> bool {
        self.parts.is_none()
    }

    /// Bytes that wait to be delivered.
    pub(super) fn undelivered(&self) -> usize {
        self.parts.iter().flat_map(|parts| parts.iter()).map(Received::len).sum()
    }

    pub(super) fn push(&mut self, part: Received) {
        self.parts.get_or_insert_default().push_back(part);
    }

    #[inline]
    pub(super) fn take_parts(&mut self) -> Option<VecDeque<Received>> {
        self.parts.take().map(|parts| *parts)
    }

    /// Starts a receive for up to `most` bytes: multishot, unless the peer is slow or sends in
    /// bulk. A multishot receive has no limit.
    pub(super) fn receive(
        &mut self,
        key: Key,
        socket: BorrowedFd<'_>,
        most: usize,
        is_slow: bool,
        ring: &mut Ring<'_>,
    ) {
        if self.is_bulk() || is_slow {
            self.receive = Receive::SingleShot;
            ring.single_shot_recv(key, socket, most);
        } else {
            self.receive = Receive::Multishot;
            ring.multishot_recv(key, socket);
        }
    }

    /// Cancels a multishot receive if it brings more than the connection can deal with. Only after
    /// a receive, so an idle connection costs nothing.
    #[inline]
    pub(super) fn limit(&mut self, key: Key, wants_read: bool, ring: &mut Ring<'_>) {
        let is_full = self.parts.as_ref().is_some_and(|parts| parts.len() >= MOST_PARTS);
        if self.receive == Receive::Multishot && (self.is_bulk() || is_full || !wants_read) {
            self.receive = Receive::Cancelling;
            self.small_receives = 0;
            ring.cancel_receive(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_receives_begin_a_bulk_transfer_and_small_ones_end_it() {
        let mut input = RingInput::new(true);
        let sizes = [(1, false), (LARGE - 1, false), (LARGE, true), (1, true), (1, true), (SMALL, true)];
        for (size, bulk) in sizes {
            input.note_size(size);
            assert_eq!(input.is_bulk(), bulk, "behind {size} bytes");
        }
        (1..SMALL_RECEIVES).for_each(|_| input.note_size(1));
        assert!(input.is_bulk());
        input.note_size(SMALL);
        assert!(!input.is_bulk(), "the last one need not be small");
    }

    #[test]
    fn only_a_connection_that_is_known_to_send_little_adds_a_multishot_buffer() {
        let (mut new, mut small_receives) = (RingInput::new(true), RingInput::new(true));
        small_receives.note_size(1);
        assert_eq!(new.starved(Receive::Multishot), None);
        assert!(new.is_bulk() && new.receive == Receive::Starved);
        assert_eq!(new.starved(Receive::SingleShot), Some(BufferKind::SingleShot));
        assert_eq!(small_receives.starved(Receive::Multishot), Some(BufferKind::Multishot));
        assert!(!small_receives.is_bulk());
        new.note_size(SMALL);
        assert!(!new.is_bulk(), "one receive that is not large is enough");
        assert!(RingInput::new(false).is_bulk(), "a multishot receive could bring much");
    }
}
