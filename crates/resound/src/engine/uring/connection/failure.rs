//! A connection that has failed, such as by a reset of its peer.

use std::os::fd::AsFd;

use socket2::SockRef;

use super::{RingConn, Send, failed};
use crate::engine::driver::ConnectionFlow;
use crate::engine::socket::{failure, was_reset};
use crate::engine::uring::context::WorkerContext;

impl RingConn {
    /// The poll has found a failure, or has ended. Also called when the connection is over.
    pub(in crate::engine::uring) fn polled_failure(
        &mut self,
        failed: bool,
        more: bool,
        context: &mut WorkerContext<'_, '_>,
    ) -> ConnectionFlow {
        self.input.polls_failure = more;
        self.input.has_failed |= failed;
        // A poll that has ended by itself begins again with the next event.
        if self.over || !failed { ConnectionFlow::Continue(()) } else { self.advance(context) }
    }

    /// Polls for a failure, where neither a receive nor a send would meet it.
    #[cold]
    pub(super) fn poll_failure(&mut self, context: &mut WorkerContext<'_, '_>) {
        let is_idle = self.send == Send::Idle && !self.driver.is_reset_by_peer();
        if is_idle && !self.input.polls_failure && !self.input.has_failed {
            self.input.polls_failure = true;
            context.ring.poll_failure(self.key, self.socket.as_fd());
        }
    }

    /// Whether the connection has failed, and neither a receive nor a send is to meet that.
    #[inline]
    pub(super) fn is_to_fail(&self) -> bool {
        self.input.has_failed
            && self.send == Send::Idle
            && !self.driver.is_reset_by_peer()
            && !self.driver.conn().wants_read()
    }

    pub(super) fn fail(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if self.is_read_out(context) {
            // The error stays, for the receive after the last byte.
            self.driver.handle_peer_reset(&mut context.driver);
            return ConnectionFlow::Continue(());
        }
        self.input.has_failed = false;
        failure(&SockRef::from(&self.socket))
            .map_or(ConnectionFlow::Continue(()), |reason| ConnectionFlow::Break(Err(reason)))
    }

    /// A send has failed.
    pub(super) fn send_failed(&mut self, errno: i32, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if !self.is_read_out(context) {
            return failed(errno);
        }
        self.driver.handle_peer_reset(&mut context.driver);
        self.advance(context)
    }

    /// A receive has failed. What came before is a relay's to pass on.
    pub(super) fn receive_failed(&mut self, errno: i32, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        let parts = self.input.take_parts().filter(|_| context.wakes.is_some());
        parts.into_iter().flatten().for_each(|part| self.deliver(part, context));
        if context.wakes.is_none() || !self.driver.conn().holds_input() {
            return failed(errno);
        }
        // The other end has no room for it yet. The receive after it meets the end again.
        if !self.driver.is_reset_by_peer() {
            self.driver.handle_peer_reset(&mut context.driver);
        }
        self.advance(context)
    }

    /// Whether what the peer sent before its reset is still to be read: a relay passes it on.
    fn is_read_out(&self, context: &WorkerContext<'_, '_>) -> bool {
        context.wakes.is_some() && self.driver.may_read()
    }

    /// Whether the send in flight has met a reset: the kernel reports that once, and the receive
    /// then looks as if the peer had sent its FIN.
    pub(super) fn is_reset_in_a_send(&self) -> bool {
        self.send != Send::Idle && was_reset(&SockRef::from(&self.socket))
    }
}
