//! One connection: the loop that [`Conn`]'s documentation describes, cut where the ring completes.
//!
//! One send is in flight at a time. The next part of the input is delivered once it has completed,
//! so that an echo is sent from where it was received. If the socket takes no more, the rest is
//! copied out, and nothing of a slow connection stays in the shared buffers.

mod failure;
mod send;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn, ConnId};
use socket2::{SockRef, Socket};

use super::batch::next_send;
use super::context::WorkerContext;
use super::input::{Receive, RingInput};
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::driver::{ConnectionEnd, ConnectionFlow, Driver};
use crate::engine::queue::Queue;
use crate::engine::rows::ConnectionRow;
use crate::engine::socket::{at_eof, holds_nothing, unread};
use crate::engine::sys::{Key, Received, SendBlocking, SendBytes};
use crate::engine::timestamps;

/// A receive or a send that fails this often in a row, with errors that pass, fails for good.
const MOST_FAILURES: u8 = 100;
/// Receives of small messages that share a buffer.
pub(super) const RECEIVES_PER_BUFFER: usize = 4;
/// One read of a connection that reads by itself.
const WIRE: usize = 64 * 1024;

/// The send in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    Idle,
    /// Completes with the next call.
    Try,
    /// Completes once the peer has taken something.
    Wait,
}

/// A deadline that has passed, where input has arrived in time: the input comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadlineDeferral {
    No,
    /// Until the receive has brought something. The kernel completes a few receives in each call,
    /// so this may take many of them.
    Waiting,
    /// The receive has brought something: a peer that always sends puts no deadline off for ever.
    Over,
}

// In this order in memory: what each event needs is next to the front of the driver.
#[repr(C)]
pub(super) struct RingConn {
    key: Key,
    send: Send,
    /// Over, and waiting for its last completions.
    over: bool,
    failures: u8,
    deferral: DeadlineDeferral,
    // Closed before the permit is returned: its next owner may need the descriptor.
    socket: Socket,
    input: RingInput,
    driver: Driver,
    _permit: ConnectionPermit,
}

impl RingConn {
    pub(super) fn new(
        key: Key,
        socket: Socket,
        conn: Conn,
        permit: ConnectionPermit,
        timed: bool,
        input: RingInput,
    ) -> Self {
        let mut driver = Driver::new(conn, permit.listener());
        if timed {
            // From now on the connection has timestamps.
            driver.times();
        }
        Self {
            key,
            send: Send::Idle,
            over: false,
            failures: 0,
            deferral: DeadlineDeferral::No,
            socket,
            input,
            driver,
            _permit: permit,
        }
    }

    pub(super) fn id(&self) -> ConnId {
        self.driver.conn().info().id
    }

    /// The share of a buffer that its next receive takes, in [`RECEIVES_PER_BUFFER`]ths.
    pub(super) fn buffer_share(&self) -> usize {
        if self.input.is_bulk() || self.send == Send::Wait { RECEIVES_PER_BUFFER } else { 1 }
    }

    /// The connection as it is now.
    pub(super) fn row(&self, worker: usize) -> ConnectionRow {
        self.driver.row(worker, &SockRef::from(&self.socket))
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The connection is established.
    pub(super) fn open(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if context.wakes.is_some() {
            self.driver.allow_lending(true);
        }
        self.driver.open(&mut context.driver);
        self.send_output(context);
        self.advance(context)
    }

    /// A receive has completed. Also called when the connection is over.
    pub(super) fn received(
        &mut self,
        result: i32,
        more: bool,
        part: Option<Received>,
        context: &mut WorkerContext<'_, '_>,
    ) -> ConnectionFlow {
        let receive = self.input.receive;
        if !more {
            self.input.receive = Receive::Idle;
        }
        if self.over {
            return ConnectionFlow::Continue(());
        }
        match (result, part) {
            (1.., Some(part)) => {
                self.input_arrived();
                self.input.note_size(part.len());
                if self.may_deliver() {
                    self.deliver(part, context);
                } else {
                    self.input.push(part);
                }
            }
            // The reset was reported to the send, whose completion may follow this one.
            (0, _) if self.driver.is_reset_by_peer() || self.is_reset_in_a_send() => {
                return self.receive_failed(libc::ECONNRESET, context);
            }
            (0, _) => {
                for part in self.input.take_parts().into_iter().flatten() {
                    self.deliver(part, context);
                }
                self.driver.received(&mut [], &mut context.driver);
                self.send_output(context);
            }
            (result, _) => match -result {
                // Buffers come back as soon as their contents are delivered.
                libc::ENOBUFS if !more => {
                    if let Some(kind) = self.input.starved(receive) {
                        context.ring.add_buffer(kind);
                    }
                    context.starved.push_back(self.key);
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => self.failures += 1,
                error => return self.receive_failed(error, context),
            },
        }
        if self.failures >= MOST_FAILURES {
            return failed(-result);
        }
        self.advance(context)?;
        self.input.limit(self.key, self.driver.conn().wants_read(), context.ring);
        ConnectionFlow::Continue(())
    }

    /// The socket is readable. Also called when the connection is over.
    pub(super) fn readable(&mut self, result: i32, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        self.input.receive = Receive::Idle;
        if self.over {
            return ConnectionFlow::Continue(());
        }
        if result < 0 {
            self.failures += 1;
            if self.failures >= MOST_FAILURES {
                return failed(-result);
            }
        }
        // A send in flight comes first. Then the ring polls again.
        if result >= 0 && self.may_deliver() && self.driver.conn().wants_read() {
            let mut wire = std::mem::take(&mut context.wire);
            wire.resize(WIRE.min(self.driver.conn().read_limit()), 0);
            let read = timestamps::receive(&self.socket, &mut wire, false, self.driver.times());
            let flow = self.read(read, &mut wire, context);
            context.wire = wire;
            flow?;
        }
        self.advance(context)
    }

    fn read(
        &mut self,
        read: io::Result<usize>,
        wire: &mut [u8],
        context: &mut WorkerContext<'_, '_>,
    ) -> ConnectionFlow {
        match read {
            Ok(n) => {
                self.input_arrived();
                let echo = self.driver.received(&mut wire[..n], &mut context.driver);
                self.driver.queue.push(&wire[echo]);
                self.send_output(context);
                ConnectionFlow::Continue(())
            }
            // The socket had something else to report.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                ConnectionFlow::Continue(())
            }
            Err(error) => ConnectionFlow::Break(Err(CloseReason::of(&error))),
        }
    }

    fn input_arrived(&mut self) {
        self.failures = 0;
        if self.deferral == DeadlineDeferral::Waiting {
            self.deferral = DeadlineDeferral::Over;
        }
    }

    /// There are buffers again.
    pub(super) fn buffers_available(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if self.input.receive == Receive::Starved {
            self.input.receive = Receive::Idle;
        }
        if self.over { ConnectionFlow::Continue(()) } else { self.advance(context) }
    }

    /// A send has completed. Also called when the connection is over.
    pub(super) fn sent(
        &mut self,
        result: i32,
        bytes: SendBytes,
        context: &mut WorkerContext<'_, '_>,
    ) -> ConnectionFlow {
        self.send = Send::Idle;
        if self.over {
            return ConnectionFlow::Continue(());
        }
        let n = match usize::try_from(result) {
            Ok(n) => n,
            Err(_) => match -result {
                libc::EAGAIN => 0,
                libc::EINTR | libc::ENOBUFS | libc::ENOMEM | libc::ECANCELED if self.failures < MOST_FAILURES => {
                    self.failures += 1;
                    0
                }
                error => return self.send_failed(error, context),
            },
        };
        if n < bytes.len() {
            // The socket is full. The rest leaves the shared buffer, and further input waits in
            // `Conn`.
            self.send = Send::Wait;
            context.ring.send(self.key, self.socket.as_fd(), bytes.advance(n), SendBlocking::Wait);
        } else if let SendBytes::Owned { bytes, .. } = bytes {
            context.reuse(bytes);
        }
        if n > 0 {
            self.failures = 0;
            self.input.streak.sent();
            self.driver.sent(n, &mut context.driver);
            self.send_output(context);
        }
        self.advance(context)
    }

    /// The alarm has rung.
    pub(super) fn alarmed(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        self.driver.replace_alarm(None);
        if self.over {
            return ConnectionFlow::Continue(());
        }
        let now = context.driver.now;
        if self.driver.is_due(now) {
            // In this order: what leaves the socket meanwhile is among the ring's completions.
            let (conn, socket) = (self.driver.conn(), SockRef::from(&self.socket));
            let has_more = || !self.input.is_delivered() || unread(&socket) > 0 || !context.ring.is_caught_up();
            if conn.is_silence_due(now) && has_more() {
                self.set_alarm(Some(now + Duration::from_millis(1)), context);
                return ConnectionFlow::Continue(());
            }
            if self.deferral != DeadlineDeferral::Over
                && self.input.may_bring()
                && conn.wants_read()
                && unread(&socket) > 0
            {
                // Input that arrived before the deadline must not count as late because this worker
                // was.
                self.deferral = DeadlineDeferral::Waiting;
                // Not at this very instant, with which the worker may still be busy.
                self.set_alarm(Some(now + Duration::from_nanos(1)), context);
                return ConnectionFlow::Continue(());
            }
            self.driver.timed_out(&socket, &mut context.driver);
            self.send_output(context);
        }
        self.deferral = DeadlineDeferral::No;
        self.advance(context)
    }

    /// A thread outside wants the attention of the service.
    pub(super) fn woken(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if self.over {
            return ConnectionFlow::Continue(());
        }
        self.driver.woken(&mut context.driver);
        self.send_output(context);
        self.advance(context)
    }

    /// The server drains.
    pub(super) fn drain(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        if self.over {
            return ConnectionFlow::Continue(());
        }
        self.driver.begin_drain(self.input.undelivered(), &SockRef::from(&self.socket));
        self.advance(context)
    }

    /// The connection is over. Its descriptor may be closed once nothing is in flight.
    pub(super) fn finish(&mut self, end: ConnectionEnd, context: &mut WorkerContext<'_, '_>) {
        self.over = true;
        self.set_alarm(None, context);
        for part in self.input.take_parts().into_iter().flatten() {
            self.driver.undelivered(part.bytes(), &mut context.driver);
        }
        self.driver.queue = Queue::default();
        if self.is_in_flight() {
            context.ring.cancel_all(self.socket.as_fd());
        }
        self.driver.report_closed(end, &SockRef::from(&self.socket), &mut context.driver);
    }

    /// Until nothing is in flight the descriptor stays open. Otherwise its next owner would get
    /// what was meant for this connection.
    pub(super) fn is_in_flight(&self) -> bool {
        self.send != Send::Idle || self.input.is_in_flight()
    }

    /// Does the last action as far as that is possible now, and sees to it that a completion or
    /// an alarm continues this connection.
    fn advance(&mut self, context: &mut WorkerContext<'_, '_>) -> ConnectionFlow {
        loop {
            let (is_sending, socket) = (self.send != Send::Idle, || SockRef::from(&self.socket));
            let wants_report = self.driver.apply_action(is_sending, socket, &mut context.driver)?;
            if self.send == Send::Idle
                && let Some(bytes) = next_send(&mut self.driver.queue)
            {
                self.try_to_send(bytes, context);
            }
            if self.send != Send::Try
                && let Some(mut parts) = self.input.take_parts()
            {
                // All of them: the answer to the first is sent from where that lies, and the
                // others' are copied after it.
                while !self.driver.is_ending()
                    && let Some(part) = parts.pop_front()
                {
                    self.deliver(part, context);
                }
                continue;
            }
            if self.is_to_fail() {
                self.fail(context)?;
                continue;
            }
            if wants_report {
                // After the input, which would wait while the output of the report is being sent.
                self.driver.report_socket(&SockRef::from(&self.socket), &mut context.driver);
                self.send_output(context);
                continue;
            }
            self.look_for_input(context);
            let socket = &self.socket;
            if self.input.is_delivered()
                && self.driver.drain_if_due(|| at_eof(&SockRef::from(socket)), &mut context.driver)
            {
                self.send_output(context);
                continue;
            }
            break;
        }
        self.receive(context);
        // A send that tries completes before the worker waits for a deadline, and calls this again.
        if self.send != Send::Try
            && let Some(deadline) = self.driver.conn().deadline()
            && let Some(before) = self.driver.next_alarm(deadline, context.driver.now)
        {
            context.timers.set(self.key, before, Some(deadline));
        }
        ConnectionFlow::Continue(())
    }

    /// Receives while the connection wants to read.
    fn receive(&mut self, context: &mut WorkerContext<'_, '_>) {
        let conn = self.driver.conn();
        if self.input.receive != Receive::Idle || !self.input.is_delivered() {
            return;
        }
        if !conn.wants_read() {
            return self.poll_failure(context);
        }
        if !conn.has_times() {
            let is_slow = self.send == Send::Wait;
            if !context.starved.is_empty() && (self.input.is_bulk() || is_slow) && !conn.awaits_rest() {
                // Otherwise a connection that has just returned a buffer would take it again.
                self.input.receive = Receive::Starved;
                context.starved.push_back(self.key);
                return;
            }
            // With other connections at work, their sends and receives are under way at once.
            let is_alone = context.wakes.is_some() && context.ring.is_caught_up();
            let most = conn.read_limit().min(if is_alone { self.input.streak.limit() } else { usize::MAX });
            return self.input.receive(self.key, self.socket.as_fd(), most, is_slow, context.ring);
        }
        // After the answer, if there is one: nothing is read until it has left.
        if self.send != Send::Try {
            self.input.receive = Receive::Polling;
            context.ring.poll_input(self.key, self.socket.as_fd());
        }
    }

    /// A drain may wait for bytes that never come: the system counts those too that cannot be read.
    fn look_for_input(&mut self, context: &mut WorkerContext<'_, '_>) {
        if !self.driver.waits_for_input() || !holds_nothing(&SockRef::from(&self.socket)) {
            return;
        }
        if self.input.is_delivered() && context.ring.is_caught_up() {
            self.driver.input_is_complete();
        } else {
            // What has left the socket may not be here yet.
            self.set_alarm(Some(context.driver.now + Duration::from_nanos(1)), context);
        }
    }

    fn set_alarm(&mut self, at: Option<Instant>, context: &mut WorkerContext<'_, '_>) {
        let before = self.driver.replace_alarm(at);
        context.timers.set(self.key, before, at);
    }
}

fn failed(errno: i32) -> ConnectionFlow {
    ConnectionFlow::Break(Err(CloseReason::of(&io::Error::from_raw_os_error(errno))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // Also its entries in two tables, about 50 bytes, and the state of its service.
        let size = size_of::<RingConn>();
        assert!(size <= 408, "{size} bytes; {} of them are Conn's", size_of::<Conn>());
    }
}
