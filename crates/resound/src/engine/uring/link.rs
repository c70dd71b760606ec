//! One connection: the loop that [`Conn`]'s documentation describes, cut where the ring answers.
//!
//! One send is in flight at a time. The next part of the input is delivered once it has completed, so that what came is echoed from where it
//! lies; where the socket takes no more, what is left is copied out, and nothing of a slow connection stays in the shared buffers.

mod input;

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn, ConnId, Then, Verdict};
use socket2::{SockRef, Socket};

use super::batch::next_load;
use super::context::WorkerContext;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::queue::Queue;
use crate::engine::shared::{ConnectionEnd, bury};
use crate::engine::socket::{DrainBarrier, looks_at_eof, reset_on_close, tell_unacknowledged, unread};
use crate::engine::sys::{Key, Received, SendBlocking, SendBytes};
use crate::engine::timestamps;

/// A receive or a send that fails this often in a row for no reason of its own fails for good.
const MOST_FAILURES: u8 = 100;
/// An answer up to this length is sent from the memory that it was written to, and a longer one is cut into pieces.
const SHORT: usize = 16 * 1024;
/// So many parts of the input waiting stop the receive that goes on: the shared buffers that they lie in are everybody's.
const LONG: usize = 8;
/// One read, where a connection reads by itself.
const WIRE: usize = 64 * 1024;

/// Goes on, or is over.
pub(super) type LinkFlow = ControlFlow<ConnectionEnd>;

/// What is in flight of a connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    No,
    /// Until it is stopped.
    Many,
    Once,
    /// To be stopped.
    Stopping,
    /// Waits until there is something to read, and then reads by itself: only so the kernel tells when it came.
    Awaiting,
    /// Refused for want of a buffer: on the worker's list of those who wait for one.
    Starved,
}

/// What is in flight of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Send {
    No,
    /// Complete with the next call.
    Tries,
    /// Once the peer has taken something.
    Waits,
}

// In this order in memory, for the sake of `Conn`'s.
#[repr(C)]
pub(super) struct Link {
    key: Key,
    receive: Receive,
    send: Send,
    then: Then,
    fin_sent: bool,
    /// Small receives in a row, up to [`input::CALM`]. With fewer it is bulk: input that may come faster than it can be dealt with,
    /// and is received a buffer at a time.
    calm: u8,
    /// Over, and waiting for its last completions.
    over: bool,
    failures: u8,
    /// A deadline has been put off once, for the sake of what had arrived.
    put_off: bool,
    /// Bytes that wait behind the send in flight.
    queue: Queue,
    conn: Conn,
    /// Received, and not delivered yet. Owns memory only while there is something.
    #[expect(clippy::box_collection, reason = "nearly always empty")]
    backlog: Option<Box<VecDeque<Received>>>,
    /// The earliest alarm that is set.
    alarm: Option<Instant>,
    farewell: DrainBarrier,
    // Closed before its place is free: whoever waits for the place may need the descriptor.
    socket: Socket,
    _place: ConnectionPermit,
}

impl Link {
    pub(super) fn new(key: Key, socket: Socket, mut conn: Conn, place: ConnectionPermit, timed: bool) -> Self {
        conn.allow_shares();
        if timed {
            // The kernel is asked when bytes pass.
            conn.times();
        }
        Self {
            key,
            receive: Receive::No,
            send: Send::No,
            then: Then::Go,
            fin_sent: false,
            // One will do, to begin with. What has come before that may be any amount, and a receive that goes on takes it all.
            calm: input::CALM - 1,
            over: false,
            failures: 0,
            put_off: false,
            queue: Queue::default(),
            conn,
            backlog: None,
            alarm: None,
            farewell: DrainBarrier::default(),
            socket,
            _place: place,
        }
    }

    pub(super) fn id(&self) -> ConnId {
        self.conn.info().id
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The first call.
    pub(super) fn open(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        let verdict = self.conn.open(desk.now, &mut desk.out, &mut desk.recorder);
        self.carry_out(verdict, None, desk);
        self.go_on(desk)
    }

    /// A receive has completed. Also called when the connection is over.
    pub(super) fn received(
        &mut self,
        result: i32,
        more: bool,
        piece: Option<Received>,
        desk: &mut WorkerContext<'_, '_>,
    ) -> LinkFlow {
        if !more {
            self.receive = Receive::No;
        }
        if self.over {
            return LinkFlow::Continue(());
        }
        match (result, piece) {
            (1.., Some(piece)) => {
                self.failures = 0;
                self.note_size(piece.len());
                if self.may_deliver() {
                    self.deliver(piece, desk);
                } else {
                    self.backlog.get_or_insert_default().push_back(piece);
                }
            }
            (0, _) => {
                self.deliver_backlog(desk);
                self.farewell.read(0);
                let verdict = self.conn.received_eof(desk.now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, None, desk);
            }
            (result, _) => match -result {
                // Buffers come back as soon as what they hold has been dealt with.
                libc::ENOBUFS if !more => {
                    self.receive = Receive::Starved;
                    desk.starved.push(self.key);
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => self.failures += 1,
                error => return self.failed(error),
            },
        }
        if self.failures >= MOST_FAILURES {
            return self.failed(-result);
        }
        self.go_on(desk)?;
        let waits = self.backlog.as_ref().is_some_and(|pieces| pieces.len() >= LONG);
        if self.receive == Receive::Many && (self.is_bulk() || waits || !self.conn.wants_read()) {
            // Found out only when something arrives: one who has nothing to say is left alone.
            self.receive = Receive::Stopping;
            self.calm = 0;
            desk.ring.cancel_receive(self.key);
        }
        LinkFlow::Continue(())
    }

    /// There is something to read. Also called when the connection is over.
    pub(super) fn readable(&mut self, result: i32, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        self.receive = Receive::No;
        if self.over {
            return LinkFlow::Continue(());
        }
        if result < 0 {
            self.failures += 1;
            if self.failures >= MOST_FAILURES {
                return self.failed(-result);
            }
        }
        // What is being sent comes first, and then this is asked for again.
        if result >= 0 && self.may_deliver() && self.conn.wants_read() {
            let mut wire = std::mem::take(&mut desk.wire);
            wire.resize(WIRE.min(self.conn.read_limit()), 0);
            let read = timestamps::receive(&self.socket, &mut wire, false, self.conn.times());
            let step = self.read(read, &mut wire, desk);
            desk.wire = wire;
            step?;
        }
        self.go_on(desk)
    }

    fn read(&mut self, read: io::Result<usize>, wire: &mut [u8], desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        let verdict = match read {
            Ok(0) => {
                self.farewell.read(0);
                self.conn.received_eof(desk.now, &mut desk.out, &mut desk.recorder)
            }
            Ok(n) => {
                self.failures = 0;
                self.farewell.read(n);
                let verdict = self.conn.received(desk.now, &mut wire[..n], &mut desk.out, &mut desk.recorder);
                self.queue.push(&wire[verdict.echo.clone()]);
                verdict
            }
            // The socket had something else to tell.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return LinkFlow::Continue(());
            }
            Err(error) => return LinkFlow::Break(Err(CloseReason::of(&error))),
        };
        self.carry_out(verdict, None, desk);
        LinkFlow::Continue(())
    }

    /// There are buffers again.
    pub(super) fn fed(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        if self.receive == Receive::Starved {
            self.receive = Receive::No;
        }
        if self.over { LinkFlow::Continue(()) } else { self.go_on(desk) }
    }

    /// A send has completed. Also called when the connection is over.
    pub(super) fn sent(&mut self, result: i32, load: SendBytes, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        self.send = Send::No;
        if self.over {
            return LinkFlow::Continue(());
        }
        let n = match usize::try_from(result) {
            Ok(n) => n,
            Err(_) => match -result {
                libc::EAGAIN => 0,
                libc::EINTR | libc::ENOBUFS | libc::ENOMEM | libc::ECANCELED if self.failures < MOST_FAILURES => {
                    self.failures += 1;
                    0
                }
                error => return self.failed(error),
            },
        };
        if n < load.len() {
            // The socket is full. What is left leaves the shared buffer, and the rest of the input can wait in `Conn`.
            self.send = Send::Waits;
            desk.ring.send(self.key, self.socket.as_fd(), load.advance(n), SendBlocking::Wait);
        } else if let SendBytes::Owned { bytes, .. } = load {
            desk.spare(bytes);
        }
        if n > 0 {
            self.failures = 0;
            let verdict = self.conn.sent(desk.now, n, &mut desk.out, &mut desk.recorder);
            self.carry_out(verdict, None, desk);
        }
        self.go_on(desk)
    }

    /// The alarm has rung.
    pub(super) fn alarmed(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        self.alarm = None;
        if self.over {
            return LinkFlow::Continue(());
        }
        if self.conn.deadline().is_some_and(|deadline| deadline <= desk.now) {
            // In this order: what leaves the socket meanwhile is one of the ring's completions.
            let has_more =
                || self.backlog.is_some() || unread(&SockRef::from(&self.socket)) > 0 || !desk.ring.has_told_all();
            if self.conn.is_silence_due(desk.now) && has_more() {
                self.set_alarm(Some(desk.now + Duration::from_millis(1)), desk);
                return LinkFlow::Continue(());
            }
            let listens = matches!(self.receive, Receive::Many | Receive::Once | Receive::Awaiting);
            if !self.put_off && listens && self.conn.wants_read() && unread(&SockRef::from(&self.socket)) > 0 {
                // What has arrived in time is not late because we are: the next call brings it, and then this one is repeated. Once: who
                // always has something to say would put a deadline off for ever.
                self.put_off = true;
                // Not for this very instant, which the worker may still be busy with.
                self.set_alarm(Some(desk.now + Duration::from_nanos(1)), desk);
                return LinkFlow::Continue(());
            }
            self.put_off = false;
            tell_unacknowledged(&mut self.conn, desk.now, &SockRef::from(&self.socket));
            let verdict = self.conn.timed_out(desk.now, &mut desk.out, &mut desk.recorder);
            self.carry_out(verdict, None, desk);
        }
        self.go_on(desk)
    }

    /// Somebody outside wants the service's attention.
    pub(super) fn woken(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        if self.over {
            return LinkFlow::Continue(());
        }
        let verdict = self.conn.woken(desk.now, &mut desk.out, &mut desk.recorder);
        self.carry_out(verdict, None, desk);
        self.go_on(desk)
    }

    /// The server drains.
    pub(super) fn drain(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        if self.over {
            return LinkFlow::Continue(());
        }
        if !self.farewell.has_begun() {
            let here: usize = self.backlog.iter().flat_map(|pieces| pieces.iter()).map(Received::len).sum();
            self.farewell.begin(here + unread(&SockRef::from(&self.socket)));
        }
        self.go_on(desk)
    }

    /// The connection is over; its descriptor may be closed once nothing is in flight.
    pub(super) fn finish(&mut self, end: ConnectionEnd, desk: &mut WorkerContext<'_, '_>) {
        self.over = true;
        self.set_alarm(None, desk);
        self.backlog = None;
        self.queue = Queue::default();
        if self.is_in_flight() {
            desk.ring.cancel_all(self.socket.as_fd());
        }
        bury(&mut self.conn, end, &SockRef::from(&self.socket), &mut desk.recorder);
    }

    /// Is anything in flight? Until it is not, the descriptor stays open, or its next owner would get what was meant for this one.
    pub(super) fn is_in_flight(&self) -> bool {
        self.send != Send::No || !matches!(self.receive, Receive::No | Receive::Starved)
    }

    fn failed(&self, errno: i32) -> LinkFlow {
        LinkFlow::Break(Err(CloseReason::of(&io::Error::from_raw_os_error(errno))))
    }

    /// While a send tries, its echo may be in a shared buffer, and what follows can wait for a moment. While one waits, nothing is gained.
    fn may_deliver(&self) -> bool {
        self.send != Send::Tries && self.backlog.is_none()
    }

    fn deliver(&mut self, mut piece: Received, desk: &mut WorkerContext<'_, '_>) {
        self.farewell.read(piece.len());
        let verdict = self.conn.received(desk.now, piece.bytes_mut(), &mut desk.out, &mut desk.recorder);
        self.carry_out(verdict, Some(piece), desk);
    }

    /// Everything, at once.
    fn deliver_backlog(&mut self, desk: &mut WorkerContext<'_, '_>) {
        for piece in self.backlog.take().into_iter().flat_map(|pieces| *pieces) {
            self.deliver(piece, desk);
        }
    }

    /// Sends what a verdict says, or queues it behind what is being sent.
    fn carry_out(&mut self, verdict: Verdict, piece: Option<Received>, desk: &mut WorkerContext<'_, '_>) {
        self.then = verdict.then;
        if self.then == Then::Reset {
            return desk.out.clear();
        }
        let shares = self.conn.take_shares();
        let idle = self.send == Send::No && self.queue.is_empty();
        match piece {
            Some(piece) if !verdict.echo.is_empty() => {
                if idle && desk.out.is_empty() && shares.is_empty() {
                    return self.try_to_send(piece.load(verdict.echo), desk);
                }
                self.queue.push(&piece.bytes()[verdict.echo]);
            }
            _ => {}
        }
        if desk.out.is_empty() && shares.is_empty() {
            return;
        }
        if idle && self.queue.is_empty() && desk.out.len() <= SHORT && shares.is_empty() {
            let bytes = desk.take_out();
            return self.try_to_send(SendBytes::Owned { bytes, from: 0 }, desk);
        }
        self.queue.push_all(&desk.out, shares);
        desk.tidy();
    }

    fn try_to_send(&mut self, load: SendBytes, desk: &mut WorkerContext<'_, '_>) {
        self.send = Send::Tries;
        desk.ring.send(self.key, self.socket.as_fd(), load, SendBlocking::Try);
    }

    /// Obeys the latest verdict, as far as that is possible now, and sees to it that this connection is heard of again.
    fn go_on(&mut self, desk: &mut WorkerContext<'_, '_>) -> LinkFlow {
        loop {
            match self.then {
                Then::Close => return LinkFlow::Break(Ok(())),
                Then::Reset => {
                    reset_on_close(&SockRef::from(&self.socket));
                    return LinkFlow::Break(Ok(()));
                }
                Then::Go | Then::HalfClose => {}
            }
            if self.send == Send::No
                && let Some(load) = next_load(&mut self.queue)
            {
                self.try_to_send(load, desk);
            }
            if self.then == Then::HalfClose && self.send == Send::No && !self.fin_sent {
                self.fin_sent = true;
                // A peer that is gone makes this fail; the next receive says so.
                let _ = self.socket.shutdown(Shutdown::Write);
            }
            if self.send != Send::Tries
                && let Some(mut pieces) = self.backlog.take()
            {
                // All of it: the answer to the first leaves from where that lies, and the others' are copied behind it.
                while !matches!(self.then, Then::Close | Then::Reset)
                    && let Some(piece) = pieces.pop_front()
                {
                    self.deliver(piece, desk);
                }
                continue;
            }
            self.look_for_the_rest(desk);
            let (socket, paused) = (&self.socket, self.conn.is_paused());
            if self.backlog.is_none() && self.farewell.is_due(paused, || looks_at_eof(&SockRef::from(socket))) {
                let verdict = self.conn.drain(desk.now, &mut desk.out, &mut desk.recorder);
                self.carry_out(verdict, None, desk);
                continue;
            }
            break;
        }
        self.mind_input(desk);
        self.mind_deadline(desk);
        LinkFlow::Continue(())
    }

    /// While a send tries, this is called again before anybody could wait for a deadline.
    fn mind_deadline(&mut self, desk: &mut WorkerContext<'_, '_>) {
        if self.send == Send::Tries {
            return;
        }
        if let Some(deadline) = self.conn.deadline()
            && self.alarm.is_none_or(|alarm| deadline < alarm)
        {
            self.set_alarm(Some(deadline), desk);
        }
    }

    fn set_alarm(&mut self, at: Option<Instant>, desk: &mut WorkerContext<'_, '_>) {
        desk.timers.set(self.key, self.alarm, at);
        self.alarm = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // What else it costs: its places in two tables, about 50 bytes, and the service's own state.
        let size = size_of::<Link>();
        assert!(size <= 440, "{size} bytes; {} of them are Conn's", size_of::<Conn>());
    }
}
