//! What a connection sends: from where it lies, or from its queue.

use std::ops::Range;
use std::os::fd::AsFd;

use super::{RingConn, Send};
use crate::engine::driver::ConnectionFlow;
use crate::engine::sys::{Received, SendBlocking, SendBytes};
use crate::engine::uring::context::{LentPart, WorkerContext};

/// An answer up to this length is sent from the memory it was written to; what the socket does not
/// take is copied.
const SHORT: usize = 16 * 1024;
/// A longer one up to this length waits in that memory. The bytes of a still longer one are copied
/// into pieces, each of which is freed once it is sent.
const OWNED: usize = 128 * 1024;

impl RingConn {
    /// Input waits while a send tries, whose bytes may lie in a shared buffer. Those of a send that
    /// waits for the peer never do.
    pub(super) fn may_deliver(&self) -> bool {
        self.send != Send::Try && self.input.is_delivered()
    }

    pub(super) fn deliver(&mut self, mut part: Received, context: &mut WorkerContext<'_, '_>) {
        let echo = self.driver.received(part.bytes_mut(), &mut context.driver);
        if !echo.is_empty() {
            return self.send_all(Some((part, echo)), context);
        }
        if let Some(wakes) = &context.wakes
            && self.driver.take_lent()
            && let Some(to) = wakes.take_lent_to()
        {
            context.lent.push_back(LentPart { to, part });
        }
        self.send_output(context);
    }

    /// Sends a part of what another connection has received.
    pub(in crate::engine::uring) fn forward(
        &mut self,
        lent: LentPart,
        context: &mut WorkerContext<'_, '_>,
    ) -> ConnectionFlow {
        if self.over {
            return ConnectionFlow::Continue(());
        }
        let n = self.driver.forward(lent.part.len(), &context.driver);
        if n > 0 {
            self.send_all(Some((lent.part, 0..n)), context);
        }
        context.wakes.iter().for_each(|wakes| wakes.note_forwarded());
        let flow = self.woken(context);
        // A service that has ended is not woken.
        let _ = context.wakes.as_ref().map(|wakes| wakes.take_forwarded());
        flow
    }

    pub(super) fn send_output(&mut self, context: &mut WorkerContext<'_, '_>) {
        self.send_all(None, context);
    }

    /// Sends the echo and the output of an event from where they lie, or queues them after the
    /// send in flight.
    pub(super) fn send_all(&mut self, echo: Option<(Received, Range<usize>)>, context: &mut WorkerContext<'_, '_>) {
        if self.driver.is_reset_by_peer() {
            drop(self.driver.take_shares());
            return context.driver.clear_output();
        }
        if self.driver.is_reset() {
            return context.driver.out.clear();
        }
        let shares = self.driver.take_shares();
        if let Some((part, echo)) = echo {
            if self.is_idle() && context.driver.out.is_empty() && shares.is_empty() {
                return self.try_to_send(part.into_send(echo), context);
            }
            self.driver.queue.push(&part.bytes()[echo]);
        }
        if context.driver.out.is_empty() && shares.is_empty() {
            return;
        }
        if self.is_idle() && context.driver.out.len() <= SHORT && shares.is_empty() {
            let bytes = context.take_out();
            return self.try_to_send(SendBytes::Owned { bytes, from: 0 }, context);
        }
        if shares.is_empty() && (SHORT + 1..=OWNED).contains(&context.driver.out.len()) {
            return self.driver.queue.push_owned(context.take_out());
        }
        self.driver.queue.push_all(&context.driver.out, shares);
        context.driver.clear_output();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.send == Send::Idle && self.driver.queue.is_empty()
    }

    pub(super) fn try_to_send(&mut self, bytes: SendBytes, context: &mut WorkerContext<'_, '_>) {
        self.send = Send::Try;
        context.ring.send(self.key, self.socket.as_fd(), bytes, SendBlocking::Try);
    }
}
