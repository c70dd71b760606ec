//! [`Driver`]: what every engine does with a [`Conn`] between its system calls.

use std::io::{self, Read};
use std::net::Shutdown;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use resound_proto::{Action, CloseReason, Conn, KernelTimestamps, Observer, SharedBytes, SocketStep, Then};
use socket2::SockRef;

use super::drain_barrier::DrainBarrier;
use super::queue::Queue;
use super::recorder::Recorder;
use super::socket::{
    apply_requests, fin_on_close, report_unacknowledged, reset_on_close, resets_on_close, unacknowledged, unread,
};
use super::socket_report::{plain_report, socket_report};

/// Bytes in a socket whose lines are counted when its connection is cut.
const HEAD: usize = 16 * 1024;

/// How a connection ended: as its last action said, or for another reason before that.
pub(crate) type ConnectionEnd = Result<(), CloseReason>;

/// Continues, or is over.
pub(crate) type ConnectionFlow = ControlFlow<ConnectionEnd>;

/// What the drivers of one thread share: one of them works at a time.
pub(crate) struct DriverContext {
    /// The instant of the event.
    pub(crate) now: Instant,
    /// What the connection wants to send. Empty before and after each event.
    pub(crate) out: Vec<u8>,
    pub(crate) recorder: Recorder,
    /// The most memory that a long answer leaves behind in `out`.
    out_kept: usize,
}

impl DriverContext {
    pub(crate) fn new(recorder: Recorder, out_kept: usize) -> Self {
        Self { now: Instant::now(), out: Vec::new(), recorder, out_kept }
    }

    #[inline]
    pub(crate) fn clear_output(&mut self) {
        self.out.clear();
        self.out.shrink_to(self.out_kept);
    }
}

/// One connection: its state machine, the output that waits, and the order of its end.
///
/// After each event an engine sends what the event has produced, with [`Driver::send`] or from the
/// memory where it lies, and calls [`Driver::apply_action`].
// In this order in memory: what each event needs is next to the front of `Conn`.
#[repr(C)]
pub(crate) struct Driver {
    then: Then,
    fin_sent: bool,
    /// The socket takes no more, and what arrived before is still to be read.
    is_reset_by_peer: bool,
    barrier: DrainBarrier,
    /// The number of its listener: what is counted is counted there.
    listener: u16,
    /// The earliest alarm that the engine has set.
    alarm: Option<Instant>,
    /// Bytes that the socket has not taken yet.
    pub(crate) queue: Queue,
    conn: Conn,
}

impl Driver {
    pub(crate) fn new(mut conn: Conn, listener: u16) -> Self {
        conn.allow_shares();
        Self {
            then: Then::Go,
            fin_sent: false,
            is_reset_by_peer: false,
            barrier: DrainBarrier::default(),
            listener,
            alarm: None,
            queue: Queue::default(),
            conn,
        }
    }

    #[inline]
    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }

    #[inline]
    pub(crate) fn listener(&self) -> u16 {
        self.listener
    }

    pub(crate) fn times(&mut self) -> &mut KernelTimestamps {
        self.conn.times()
    }

    /// The connection is established.
    pub(crate) fn open(&mut self, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        cx.recorder.started();
        let action = self.conn.open(cx.now, &mut cx.out, &mut cx.recorder);
        self.note(action);
    }

    /// The socket has given these bytes, or none at the peer's FIN. Returns the part to send back,
    /// before the output.
    #[inline]
    pub(crate) fn received(&mut self, wire: &mut [u8], cx: &mut DriverContext) -> Range<usize> {
        cx.recorder.select(self.listener);
        self.barrier.read(wire.len());
        let action = match wire.is_empty() {
            true => self.conn.received_eof(cx.now, &mut cx.out, &mut cx.recorder),
            false => self.conn.received(cx.now, wire, &mut cx.out, &mut cx.recorder),
        };
        self.note(action)
    }

    /// Returns whether another connection is to send the received bytes.
    #[inline]
    pub(crate) fn take_lent(&mut self) -> bool {
        self.conn.take_lent()
    }

    /// Lets the service lend what it receives, or not.
    #[inline]
    pub(crate) fn allow_lending(&mut self, allowed: bool) {
        self.conn.allow_lending(allowed);
    }

    /// Another connection lends `n` bytes. Returns how many of them to send.
    pub(crate) fn forward(&mut self, n: usize, cx: &DriverContext) -> usize {
        let action = self.conn.forward(cx.now, n);
        self.note(action).len()
    }

    /// The socket has taken `n` bytes.
    #[inline]
    pub(crate) fn sent(&mut self, n: usize, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        let action = self.conn.sent(cx.now, n, &mut cx.out, &mut cx.recorder);
        self.note(action);
    }

    /// A thread outside wants the attention of the service.
    pub(crate) fn woken(&mut self, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        let action = self.conn.woken(cx.now, &mut cx.out, &mut cx.recorder);
        self.note(action);
    }

    /// The deadline has passed.
    pub(crate) fn timed_out(&mut self, socket: &SockRef<'_>, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        report_unacknowledged(&mut self.conn, cx.now, socket);
        let action = self.conn.timed_out(cx.now, &mut cx.out, &mut cx.recorder);
        self.note(action);
    }

    #[inline]
    fn note(&mut self, action: Action) -> Range<usize> {
        self.then = action.then;
        action.echo
    }

    /// Returns whether nothing more is to be sent: the action is a reset.
    #[inline]
    pub(crate) fn is_reset(&self) -> bool {
        self.then == Then::Reset
    }

    /// Handles a reset by the peer: drops the output and sends no FIN. A relay still forwards the
    /// bytes that the peer sent before its reset.
    pub(crate) fn handle_peer_reset(&mut self, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        // No FIN either.
        (self.is_reset_by_peer, self.fin_sent) = (true, true);
        self.queue = Queue::default();
        let action = self.conn.reset_by_peer(cx.now, &mut cx.out, &mut cx.recorder);
        self.note(action);
        cx.clear_output();
    }

    #[inline]
    pub(crate) fn is_reset_by_peer(&self) -> bool {
        self.is_reset_by_peer
    }

    /// Returns whether more input may be delivered, now or after a pause.
    pub(crate) fn may_read(&self) -> bool {
        self.conn.wants_read() || self.conn.is_paused()
    }

    /// Returns whether the action ends the connection.
    #[cfg(target_os = "linux")]
    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.then, Then::Close | Then::Reset)
    }

    /// The shared bytes between the parts of the output.
    #[inline]
    pub(crate) fn take_shares(&mut self) -> SharedBytes {
        self.conn.take_shares()
    }

    /// Sends `echo` and then the output, as far as `write` takes it at once, and queues the rest.
    /// What the service produces when bytes have left follows in the same way; `write` ends that
    /// with [`io::ErrorKind::WouldBlock`].
    pub(crate) fn send(
        &mut self,
        mut echo: &[u8],
        cx: &mut DriverContext,
        mut write: impl FnMut(&[u8], &[u8]) -> io::Result<usize>,
    ) -> Result<(), CloseReason> {
        while !self.is_reset() {
            let (total, shares) = (echo.len() + cx.out.len(), self.conn.take_shares());
            if !shares.is_empty() {
                // They leave from the queue, which is sent before the engine waits.
                self.queue.push(echo);
                self.queue.push_all(&cx.out, shares);
                break;
            }
            if total == 0 {
                break;
            }
            let mut n = 0;
            // Bytes leave in order: after a queue they are only queued.
            while self.queue.is_empty() && n < total {
                let (first, second) = rest(echo, &cx.out, n);
                match write(first, second) {
                    Ok(written) => n += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(CloseReason::of(&error)),
                }
            }
            if n < total {
                let (first, second) = rest(echo, &cx.out, n);
                self.queue.push(first);
                self.queue.push(second);
            }
            echo = &[];
            cx.out.clear();
            if n == 0 {
                break;
            }
            self.sent(n, cx);
        }
        cx.clear_output();
        Ok(())
    }

    /// The socket has taken `n` bytes of the queue.
    pub(crate) fn sent_queued(&mut self, n: usize, cx: &mut DriverContext) {
        self.queue.consume(n);
        self.sent(n, cx);
    }

    /// Does the last action as far as that is possible now: a FIN leaves once, after all bytes.
    /// Returns whether the service waits for a [report](Driver::report_socket).
    #[inline]
    pub(crate) fn apply_action<'s>(
        &mut self,
        send_in_flight: bool,
        socket: impl Fn() -> SockRef<'s>,
        cx: &mut DriverContext,
    ) -> ControlFlow<ConnectionEnd, bool> {
        if cx.recorder.wants_steps() {
            self.show(SocketStep::Event, &socket(), cx)?;
        }
        let mut wants_report = false;
        if let Some(requests) = self.conn.take_socket_requests() {
            apply_requests(&socket(), requests);
            wants_report = requests.report;
        }
        match self.then {
            // A service that closes in the call in which it asks for a report has its report first.
            Then::Close if wants_report => {}
            Then::Close if self.is_reset_by_peer => return ControlFlow::Break(Err(CloseReason::Reset)),
            Then::Close => {
                self.end_in_order(&socket());
                return ControlFlow::Break(Ok(()));
            }
            Then::Reset => {
                reset_on_close(&socket());
                return ControlFlow::Break(Ok(()));
            }
            Then::HalfClose if !self.fin_sent && !send_in_flight && self.queue.is_empty() => {
                self.fin_sent = true;
                if cx.recorder.wants_steps() {
                    self.show(SocketStep::HalfClosing, &socket(), cx)?;
                }
                self.end_in_order(&socket());
                // Fails if the peer is gone. The next read reports that.
                let _ = socket().shutdown(Shutdown::Write);
                if cx.recorder.wants_steps() {
                    self.show(SocketStep::HalfClosed, &socket(), cx)?;
                }
            }
            Then::Go | Then::HalfClose => {}
        }
        ControlFlow::Continue(wants_report)
    }

    /// Reports to the service what the system knows of the socket.
    #[cold]
    pub(crate) fn report_socket(&mut self, socket: &SockRef<'_>, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        let report = socket_report(socket);
        let action = self.conn.socket(cx.now, &report, &mut cx.out, &mut cx.recorder);
        self.note(action);
    }

    /// The server drains. `undelivered` bytes have left the socket already.
    pub(crate) fn begin_drain(&mut self, undelivered: usize, socket: &SockRef<'_>) {
        if !self.barrier.has_begun() {
            self.barrier.begin(undelivered + unread(socket));
            if !self.fin_sent {
                // After a second signal the process may end before this connection. Then a reset
                // has to follow, or the peer would take a cut answer for a whole one.
                reset_on_close(socket);
            }
        }
    }

    /// All has been sent: from here on an end of the process resets nothing.
    #[inline]
    fn end_in_order(&self, socket: &SockRef<'_>) {
        if self.barrier.has_begun() {
            fin_on_close(socket);
        }
    }

    /// Returns whether a drain waits for input. It waits in vain if the socket holds none: the
    /// system counts bytes that cannot be read too.
    #[inline]
    pub(crate) fn waits_for_input(&self) -> bool {
        self.barrier.waits_for_input()
    }

    /// All that had arrived when the drain began has been delivered.
    pub(crate) fn input_is_complete(&mut self) {
        self.barrier.input_is_complete();
    }

    /// Reports the drain to the service, once it is time. `at_eof` checks whether only a FIN is
    /// left to read.
    #[inline]
    pub(crate) fn drain_if_due(&mut self, at_eof: impl FnOnce() -> bool, cx: &mut DriverContext) -> bool {
        let is_due = self.barrier.is_due(self.conn.is_paused(), at_eof);
        if is_due {
            cx.recorder.select(self.listener);
            let action = self.conn.drain(cx.now, &mut cx.out, &mut cx.recorder);
            self.note(action);
        }
        is_due
    }

    /// Returns whether the deadline has passed.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.conn.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Returns whether the engine is to set an alarm for the deadline now, and the one that it
    /// replaces. Deadlines mostly move later, so an alarm that rings too early stays; only an
    /// earlier deadline replaces it.
    #[inline]
    pub(crate) fn next_alarm(&mut self, deadline: Instant, now: Instant) -> Option<Option<Instant>> {
        match self.alarm {
            Some(alarm) if now < alarm && alarm <= deadline => None,
            before => {
                self.alarm = Some(deadline);
                Some(before)
            }
        }
    }

    /// Replaces the alarm, and returns the previous one.
    pub(crate) fn replace_alarm(&mut self, at: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut self.alarm, at)
    }

    /// These bytes have left the socket, and the connection ends before they are delivered.
    #[cfg(target_os = "linux")]
    pub(crate) fn undelivered(&mut self, bytes: &[u8], cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        self.conn.undelivered(bytes, &mut cx.recorder);
    }

    /// The peer has reset the connection: a service that has asked for a report learns what it has
    /// left unread.
    #[cold]
    fn report_last(&mut self, socket: &SockRef<'_>, cx: &mut DriverContext) {
        if self.conn.wants_last_report() {
            self.conn.last_report(Instant::now(), &socket_report(socket), &mut cx.recorder);
        }
    }

    /// Counts the messages that the end of the connection leaves without an answer.
    #[cold]
    fn abandon(&mut self, end: ConnectionEnd, socket: &SockRef<'_>, cx: &mut DriverContext) {
        let mut left = unread(socket);
        let mut head = [0; HEAD];
        // A read must not wait: a receive that is in flight may be quicker.
        if left > 0
            && socket.set_nonblocking(true).is_ok()
            && let Ok(n) = (&**socket).read(&mut head)
        {
            self.conn.undelivered(&head[..n], &mut cx.recorder);
            left = left.saturating_sub(n);
        }
        // After an orderly end the system still delivers what it holds, unless unread input turns
        // the close into a reset.
        let is_destroyed = left > 0 || self.conn.is_unfinished() || end != Err(CloseReason::Cut);
        let lost = if is_destroyed { unacknowledged(socket).unwrap_or(0) } else { 0 };
        self.conn.abandon(lost, left, &mut cx.recorder);
    }

    /// Reports to the service and the observer that the connection has ended, before its socket is
    /// closed. A service that panics even then affects no other.
    pub(crate) fn report_closed(&mut self, end: ConnectionEnd, socket: &SockRef<'_>, cx: &mut DriverContext) {
        cx.recorder.select(self.listener);
        if end == Err(CloseReason::Reset) {
            self.report_last(socket, cx);
        }
        if end.is_err_and(|reason| self.conn.is_unfinished() || reason == CloseReason::Panicked) {
            // The peer must not take a truncated answer for a complete one.
            reset_on_close(socket);
        } else if end.is_err() {
            self.end_in_order(socket);
        }
        if end.is_err() || self.conn.is_unfinished() {
            self.abandon(end, socket, cx);
        }
        // Unread input at this point decides whether the close sends a FIN or a RST.
        if cx.recorder.wants_steps() {
            let step = SocketStep::Closing { failure: end.err(), resets: resets_on_close(socket) };
            // The connection is over in any case.
            let _ = self.show(step, socket, cx);
        }
        let now = Instant::now();
        let _ = catch_unwind(AssertUnwindSafe(|| match end {
            Ok(()) => self.conn.closed(now, &mut cx.recorder),
            Err(reason) => self.conn.lost(now, reason, &mut cx.recorder),
        }));
    }

    /// Shows a step to the observer. One that panics ends the connection.
    #[cold]
    fn show(&self, step: SocketStep, socket: &SockRef<'_>, cx: &mut DriverContext) -> ConnectionFlow {
        let report = || plain_report(socket);
        let (conn, recorder) = (self.conn.info(), &mut cx.recorder);
        match catch_unwind(AssertUnwindSafe(|| recorder.step(conn, step, &report))) {
            Ok(()) => ConnectionFlow::Continue(()),
            Err(_) => ConnectionFlow::Break(Err(CloseReason::Panicked)),
        }
    }
}

/// The rest of `first` and `second` after the first `n` bytes of both together.
fn rest<'a>(first: &'a [u8], second: &'a [u8], n: usize) -> (&'a [u8], &'a [u8]) {
    match n.checked_sub(first.len()) {
        None => (&first[n..], second),
        Some(n) => (&[], &second[n..]),
    }
}
