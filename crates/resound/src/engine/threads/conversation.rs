//! One connection on a thread of its own, from its first byte to its last.

use std::io::{self, IoSlice};
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;
use std::time::Instant;

use resound_proto::{CloseReason, Conn};
use socket2::{SockRef, Socket};

use super::blocking::{BlockingTimeout, Readiness, at_eof, is_tick, read, send_now, write};
use super::control::{Signals, ThreadFlags};
use super::receive_buffer::ReceiveBuffer;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::driver::{ConnectionEnd, Driver, DriverContext};
use crate::engine::recorder::Recorder;
use crate::engine::shared::Shared;
use crate::engine::socket::{failure, holds_nothing, unread};

/// Memory that a long answer may leave behind in a thread's output buffer.
const OUT_KEPT: usize = 64 * 1024;
/// The most pieces of one write.
const PIECES: usize = 16;

/// The output buffer and the recorder of one thread.
pub(super) fn context(recorder: Recorder) -> DriverContext {
    DriverContext::new(recorder, OUT_KEPT)
}

/// Drives a connection until it is over. Its socket is still open then.
pub(super) fn converse(
    socket: &Socket,
    conn: Conn,
    permit: &ConnectionPermit,
    context: &mut DriverContext,
    shared: &Shared,
    signals: &Signals,
) {
    let id = conn.info().id;
    let flags = signals.add(id);
    let timed = shared.is_timed(&conn, socket);
    let mut driver = Driver::new(conn, permit.listener());
    let conversation = || {
        BlockingConversation {
            socket,
            buffer: ReceiveBuffer::new().map_err(|error| CloseReason::of(&error))?,
            timeout: BlockingTimeout::new(socket, shared.is_precise())?,
            driver: &mut driver,
            context,
            signals,
            flags: &flags,
            timed,
            socket_checked: false,
            put_off: false,
            is_full: false,
            is_warm: true,
        }
        .run()
    };
    // A panic in a service ends its own connection only.
    let end = catch_unwind(AssertUnwindSafe(conversation)).unwrap_or(Err(CloseReason::Panicked));
    signals.remove(id);
    context.clear_output();
    driver.report_closed(end, &SockRef::from(socket), context);
}

struct BlockingConversation<'a> {
    socket: &'a Socket,
    /// What the connection reads into.
    buffer: ReceiveBuffer,
    timeout: BlockingTimeout<'a>,
    driver: &'a mut Driver,
    context: &'a mut DriverContext,
    signals: &'a Signals,
    flags: &'a ThreadFlags,
    /// The kernel reports when bytes pass.
    timed: bool,
    /// The socket was checked since the last deadline.
    socket_checked: bool,
    /// The deadline has passed, and input had arrived by then: that comes first, once.
    put_off: bool,
    /// The socket has taken only a part of what was written.
    is_full: bool,
    /// The buffers may hold memory.
    is_warm: bool,
}

impl BlockingConversation<'_> {
    /// The loop that [`Conn`]'s documentation describes, over a blocking socket.
    fn run(mut self) -> ConnectionEnd {
        self.context.now = Instant::now();
        self.driver.open(self.context);
        let mut echo = 0..0;
        loop {
            // Send what the last event has produced.
            self.send(echo)?;
            // Then apply the action: half-close, close or reset.
            let wants_report = match self.driver.apply_action(false, || SockRef::from(self.socket), self.context) {
                ControlFlow::Break(end) => return end,
                ControlFlow::Continue(wants_report) => wants_report,
            };
            // Then see what has happened: a signal, a deadline, or something on the socket.
            self.context.now = Instant::now();
            if wants_report {
                self.report()?;
            }
            echo = match self.take_signal()? || self.take_deadline() {
                true => 0..0,
                // What the report has produced comes first.
                false if wants_report && !self.has_input() => {
                    self.socket_checked = true;
                    0..0
                }
                false => self.wait_for_socket()?,
            };
        }
    }

    /// Reports to the service what the system knows of the socket.
    fn report(&mut self) -> Result<(), CloseReason> {
        self.driver.report_socket(&SockRef::from(self.socket), self.context);
        self.send(0..0)
    }

    /// Whether a read would return at once.
    fn has_input(&self) -> bool {
        self.driver.queue.is_empty() && self.driver.conn().wants_read() && !holds_nothing(&SockRef::from(self.socket))
    }

    /// Sends from where the bytes lie as much as leaves at once, and queues the rest.
    fn send(&mut self, echo: Range<usize>) -> Result<(), CloseReason> {
        let mut is_first = true;
        self.driver.send(&self.buffer[echo], self.context, |first, second| {
            // What the departure of these bytes produces waits until the socket was checked.
            if std::mem::replace(&mut is_first, false) {
                send_now(self.socket, first, second)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        })
    }

    /// Reports a drain or a wake-up to the service. Returns whether it did.
    fn take_signal(&mut self) -> Result<bool, CloseReason> {
        let socket = SockRef::from(self.socket);
        if self.signals.drain.begun() {
            if self.signals.drain.is_over(self.context.now) {
                return Err(CloseReason::Cut);
            }
            self.driver.begin_drain(0, &socket);
            if self.driver.waits_for_input() && holds_nothing(&socket) {
                self.driver.input_is_complete();
            }
            if self.driver.drain_if_due(|| at_eof(self.socket), self.context) {
                return Ok(true);
            }
        }
        self.signals.describe(self.flags, self.driver, &socket);
        let is_woken = self.flags.take_wake();
        if is_woken {
            self.driver.woken(self.context);
        }
        Ok(is_woken)
    }

    /// Lets the connection act if its deadline has passed. Returns whether it did.
    ///
    /// The socket comes first: input that arrived before the deadline must not count as late
    /// because this thread was. And it is checked between two deadlines: a service with deadlines
    /// faster than they can be met must still read.
    fn take_deadline(&mut self) -> bool {
        let (now, socket) = (self.context.now, SockRef::from(self.socket));
        if !self.socket_checked || !self.driver.is_due(now) {
            return false;
        }
        let conn = self.driver.conn();
        if (conn.is_silence_due(now) || !self.put_off) && conn.wants_read() && unread(&socket) > 0 {
            // This thread, or the whole process, may have stood still since it read.
            self.put_off = true;
            return false;
        }
        (self.socket_checked, self.put_off) = (false, false);
        self.driver.timed_out(&socket, self.context);
        true
    }

    /// Waits for the socket, and reads or writes once. Returns the part of the buffer to echo.
    fn wait_for_socket(&mut self) -> Result<Range<usize>, CloseReason> {
        // A thread that looks up late would end late as well.
        let deadline = self.driver.conn().deadline().into_iter().chain(self.signals.drain.deadline()).min();
        let time = self.timeout.until(deadline, self.context.now)?;
        #[cfg(target_os = "linux")]
        if self.timed && !self.driver.queue.is_empty() {
            // Otherwise the wait for room would end at once, and the write would wait instead.
            crate::engine::timestamps::departures(self.socket, self.driver.times());
        }
        let ready = self.wait(time);
        if ready == Readiness::Nothing
            && !self.driver.conn().wants_read()
            && let Some(reason) = failure(&SockRef::from(self.socket))
        {
            // No read is to meet it.
            return Err(reason);
        }
        let done = match ready {
            Readiness::Input => self.read(time),
            Readiness::Room => self.write(),
            Readiness::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        };
        self.socket_checked = true;
        match done {
            Ok(echo) => {
                self.is_warm = true;
                Ok(echo)
            }
            Err(error) if is_tick(&error) => {
                self.rest();
                Ok(0..0)
            }
            Err(error) => Err(CloseReason::of(&error)),
        }
    }

    /// What to do next: read, or write if something waits to be sent. Where the socket has taken a
    /// part, both are waited for: two ends that only write would wait for each other for ever.
    fn wait(&self, time: Duration) -> Readiness {
        let reads = self.driver.conn().wants_read();
        let ready = match (self.driver.queue.is_empty(), self.is_full) {
            (true, _) if !reads => {
                thread::sleep(time);
                return Readiness::Nothing;
            }
            (true, _) => Readiness::Input,
            (false, false) => Readiness::Room,
            (false, true) => return self.timeout.ready(time, reads),
        };
        if self.timeout.is_over(time, ready) { Readiness::Nothing } else { ready }
    }

    fn read(&mut self, time: Duration) -> io::Result<Range<usize>> {
        let most = self.driver.conn().read_limit().min(self.buffer.len());
        let n = read(self.socket, &mut self.buffer[..most], self.timed.then(|| self.driver.times()), time)?;
        self.context.now = Instant::now();
        Ok(self.driver.received(&mut self.buffer[..n], self.context))
    }

    fn write(&mut self) -> io::Result<Range<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let pieces = self.driver.queue.slices(&mut slices);
        let n = write(self.socket, &slices[..pieces])?;
        self.context.now = Instant::now();
        self.driver.sent_queued(n, self.context);
        self.is_full = !self.driver.queue.is_empty();
        Ok(0..0)
    }

    /// Nothing has happened: a slow peer costs no more than what waits for it, and an idle one no
    /// buffer.
    fn rest(&mut self) {
        self.is_full = !self.driver.queue.is_empty();
        if std::mem::take(&mut self.is_warm) {
            self.buffer.give_back();
            self.context.out = Vec::new();
        }
    }
}
