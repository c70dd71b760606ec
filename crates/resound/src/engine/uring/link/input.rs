//! How a connection receives: until it is stopped, or a buffer at a time, and how much.

use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

use super::{Link, Receive, Send};
use crate::engine::socket::holds_nothing;
use crate::engine::uring::context::WorkerContext;

/// A receive of this size, which every buffer has room for, begins a bulk transfer: from then on one buffer at a time is
/// received, and only when it can be dealt with.
const LARGE: usize = 8 * 1024;
/// So many receives in a row that are smaller than this end it.
const SMALL: usize = 2 * 1024;
pub(super) const CALM: u8 = 4;

impl Link {
    /// So much has been received at once.
    pub(super) fn note_size(&mut self, len: usize) {
        self.calm = match len {
            ..SMALL => (self.calm + 1).min(CALM),
            SMALL..LARGE if !self.is_bulk() => CALM,
            _ => 0,
        };
    }

    pub(super) fn is_bulk(&self) -> bool {
        self.calm < CALM
    }

    /// Receives while the connection wants to read.
    pub(super) fn mind_input(&mut self, desk: &mut WorkerContext<'_, '_>) {
        if self.receive != Receive::No || self.backlog.is_some() || !self.conn.wants_read() {
            return;
        }
        if self.conn.has_times() {
            // Behind the answer, if there is one: until that has left, nothing is read.
            if self.send != Send::Tries {
                self.receive = Receive::Awaiting;
                desk.ring.await_input(self.key, self.socket.as_fd());
            }
        } else if self.is_bulk() || self.send == Send::Waits {
            // A receive that goes on knows no limit, and there is little room where the peer takes nothing.
            self.receive = Receive::Once;
            desk.ring.receive_once(self.key, self.socket.as_fd(), self.conn.read_limit());
        } else {
            self.receive = Receive::Many;
            desk.ring.receive_many(self.key, self.socket.as_fd());
        }
    }

    /// A drain may wait for bytes that never come, since those that cannot be read are counted too.
    pub(super) fn look_for_the_rest(&mut self, desk: &mut WorkerContext<'_, '_>) {
        if !self.farewell.waits_for_input() || !holds_nothing(&SockRef::from(&self.socket)) {
            return;
        }
        if self.backlog.is_none() && desk.ring.has_told_all() {
            self.farewell.emptied();
        } else {
            // What has left the socket may not be here yet.
            self.set_alarm(Some(desk.now + Duration::from_nanos(1)), desk);
        }
    }
}
