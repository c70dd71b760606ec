//! The threads engine: the reference, kept simple enough to teach from. One thread accepts, and each connection has a thread of
//! its own that blocks in `read` or `write`; all that is said and decided in between is [`Conn`]'s.
//!
//! A thread that blocks cannot be told anything, so it looks up after each [`TICK`] to see whether it was woken or the server drains.

mod dial;
mod wire;

use std::collections::HashMap;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, Conn, ConnId, Then, Verdict};
use socket2::{SockRef, Socket};

use super::accept::{AcceptError, BACK_OFF};
use super::accept_queue::{AcceptQueue, AcceptedConnection};
use super::listener::Listener;
use super::queue::Queue;
use super::recorder::Recorder;
use super::shared::{ConnectionEnd, ConnectionOrigin, DrainSignal, EngineControl, RunGuard, Shared, bury};
use super::socket::{DrainBarrier, at_eof, endpoint, holds_nothing, reset_on_close, tell_unacknowledged, unread};
use crate::error::Error;
use crate::metrics::Writers;

use self::wire::ReceiveBuffer;

/// How long a thread may block before it looks up.
const TICK: Duration = Duration::from_millis(100);
/// Small stacks: there may be thousands of them.
const STACK: usize = 256 * 1024;
/// Pieces that one write takes at most.
const PIECES: usize = 16;
/// What a long answer may leave behind in a thread's output buffer.
const OUT_KEPT: usize = 64 * 1024;

/// What the handle and the threads share.
struct Signals {
    drain: DrainSignal,
    /// Each connection's wake flag.
    wakes: Mutex<HashMap<ConnId, Arc<AtomicBool>>>,
}

/// Prepares the engine. The returned function starts the threads that accept, or that dial.
pub(crate) fn prepare(
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    running: Arc<RunGuard>,
) -> (Arc<dyn EngineControl>, impl FnOnce() -> Result<(), Error>) {
    let signals = Arc::new(Signals { drain: DrainSignal::new(), wakes: Mutex::default() });
    let control = Arc::clone(&signals);
    let start = move || {
        let accepting = listeners.into_iter().try_for_each(|listener| {
            let (shared, signals, running) = (Arc::clone(&shared), Arc::clone(&signals), Arc::clone(&running));
            listener.socket().set_nonblocking(true)?;
            spawn("resound-accept", None, move || accept(listener, &shared, &signals, &running))
        });
        let dialling = || match shared.purpose {
            ConnectionOrigin::Accept { .. } => Ok(()),
            ConnectionOrigin::Dial(_) => dial::start(&shared, &signals, &running),
        };
        accepting.and_then(|()| dialling()).map_err(|error| {
            // The threads that run already must not go on without a handle.
            signals.drain.begin(Instant::now());
            Error::Worker(error)
        })
    };
    (control, start)
}

fn spawn(name: &str, stack: Option<usize>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    let thread = if let Some(size) = stack { thread.stack_size(size) } else { thread };
    thread.spawn(run).map(drop)
}

fn accept(listener: Listener, shared: &Arc<Shared>, signals: &Arc<Signals>, running: &Arc<RunGuard>) {
    let mut queue = AcceptQueue::new(listener, Arc::clone(&shared.room));
    loop {
        match queue.listener().socket().accept() {
            Ok((socket, peer)) => queue.push(socket, endpoint(&peer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !signals.drain.begun() => {
                queue.listener().wait(TICK);
            }
            // A drain serves the connections in the backlog first.
            Err(error) if signals.drain.begun() && AcceptError::of(&error) == AcceptError::BackOff => return,
            Err(error) => {
                if queue.must_wait(&error) {
                    shared.room.wait(BACK_OFF);
                }
            }
        }
        // Refused peers must not prolong a drain.
        if queue.is_empty() && signals.drain.is_over(Instant::now()) {
            return;
        }
        while !queue.is_empty() {
            let Some(accepted) = queue.pop() else {
                if signals.drain.is_over(Instant::now()) {
                    return;
                }
                shared.room.wait(BACK_OFF);
                continue;
            };
            let (shared_too, signals, running) = (Arc::clone(shared), Arc::clone(signals), Arc::clone(running));
            let serve = move || {
                let _running = running;
                serve(accepted, &shared_too, &signals);
            };
            if let Err(error) = spawn("resound-conn", Some(STACK), serve) {
                queue.log_error(&error);
                shared.room.wait(BACK_OFF);
            }
        }
    }
}

fn serve(accepted: AcceptedConnection, shared: &Arc<Shared>, signals: &Signals) {
    // It waited for a permit until the drain was over: it is reset, as the backlog is.
    if signals.drain.is_over(Instant::now()) {
        return;
    }
    let Some((socket, conn, permit)) = accepted.open(shared) else { return };
    let _ = socket.set_nonblocking(false); // some systems pass on the mode of the listener
    attend(&socket, conn, &mut shared.recorder(0, Writers::Many), shared, signals);
    // First the socket: the next owner of the permit may need its descriptor.
    drop(socket);
    drop(permit);
}

/// Sees a connection through to its end.
fn attend(socket: &Socket, mut conn: Conn, recorder: &mut Recorder, shared: &Shared, signals: &Signals) {
    let id = conn.info().id;
    let wake = Arc::new(AtomicBool::new(false));
    signals.wakes().insert(id, Arc::clone(&wake));
    // A panic in a service ends its own connection only.
    let timed = shared.is_timed(&conn, socket);
    let precise = shared.is_precise();
    let end = catch_unwind(AssertUnwindSafe(|| converse(socket, &mut conn, recorder, signals, &wake, precise, timed)))
        .unwrap_or(Err(CloseReason::Panicked));
    signals.wakes().remove(&id);
    bury(&mut conn, end, &SockRef::from(socket), recorder);
}

/// The loop that [`Conn`]'s documentation describes, over a blocking socket.
fn converse(
    socket: &Socket,
    conn: &mut Conn,
    recorder: &mut Recorder,
    signals: &Signals,
    wake: &AtomicBool,
    precise: bool,
    timed: bool,
) -> ConnectionEnd {
    let mut wire = ReceiveBuffer::new().map_err(|error| CloseReason::of(&error))?;
    let mut out = Vec::new();
    let mut queue = Queue::default(); // what has not left yet
    conn.allow_shares();
    let mut farewell = DrainBarrier::default();
    let mut fin_sent = false;
    let mut looked = false; // at the socket, since the last deadline
    let mut is_full = false; // it has taken a part of what was written
    let mut is_warm = true; // the buffers may hold memory
    let mut patience = BlockingTimeout::new(socket, precise)?;
    let mut verdict = conn.open(Instant::now(), &mut out, recorder);
    loop {
        // Send what the verdict says, in this order.
        // Send what the verdict says, in this order: from where it lies, as far as it leaves at once.
        let (echo, shares) = (&wire[verdict.echo.clone()], conn.take_shares());
        let n = if queue.is_empty() && shares.is_empty() { send_now(socket, echo, &out) } else { 0 };
        queue.push(&echo[n.min(echo.len())..]);
        out.drain(..n.saturating_sub(echo.len()));
        queue.push_all(&out, shares);
        out.clear();
        if n > 0 {
            verdict = conn.sent(Instant::now(), n, &mut out, recorder);
            queue.push_all(&out, conn.take_shares());
            out.clear();
        }
        out.shrink_to(OUT_KEPT);

        // Then obey.
        match verdict.then {
            Then::Go => {}
            Then::Close => return Ok(()),
            Then::Reset => {
                reset_on_close(&SockRef::from(socket));
                return Ok(());
            }
            Then::HalfClose if queue.is_empty() && !fin_sent => {
                fin_sent = true;
                let _ = socket.shutdown(Shutdown::Write);
            }
            Then::HalfClose => {}
        }

        // Then see what happened: a signal, a deadline, or something on the socket.
        let now = Instant::now();
        if signals.drain.begun() {
            if signals.drain.is_over(now) {
                return Err(CloseReason::Cut);
            }
            if !farewell.has_begun() {
                farewell.begin(unread(&SockRef::from(socket)));
            }
            if farewell.waits_for_input() && holds_nothing(&SockRef::from(socket)) {
                farewell.emptied();
            }
            if farewell.is_due(conn.is_paused(), || without_blocking(socket, at_eof)) {
                verdict = conn.drain(now, &mut out, recorder);
                continue;
            }
        }
        if wake.swap(false, SeqCst) {
            verdict = conn.woken(now, &mut out, recorder);
            continue;
        }
        // The socket first: what has arrived in time is not late because we are. And once for each look at it: a service whose deadlines
        // come faster than they can be met must not keep its own connection waiting.
        let is_due = conn.deadline().is_some_and(|deadline| deadline <= now);
        let has_more = is_due && conn.is_silence_due(now) && unread(&SockRef::from(socket)) > 0;
        if looked && is_due && !has_more {
            looked = false;
            tell_unacknowledged(conn, now, &SockRef::from(socket));
            verdict = conn.timed_out(now, &mut out, recorder);
            continue;
        }
        let tick = patience.until(conn.deadline(), now)?;
        #[cfg(target_os = "linux")]
        if timed && !queue.is_empty() {
            // Or the wait for room would end at once, and the write wait instead.
            super::timestamps::departures(socket, conn.times());
        }
        // Where a part has been taken, input is waited for as well: two ends that only write would
        // wait for each other for ever.
        let ready = match (queue.is_empty(), is_full) {
            (true, _) => Readiness::Input,
            (false, false) => Readiness::Room,
            (false, true) => patience.ready(tick, conn.wants_read()),
        };
        let writes = ready == Readiness::Room;
        let done = if ready == Readiness::Nothing || !is_full && patience.is_over(tick, writes) {
            Err(io::ErrorKind::WouldBlock.into())
        } else if writes {
            write(socket, &queue)
        } else if conn.wants_read() {
            let most = conn.read_limit().min(wire.len());
            read(socket, &mut wire[..most], conn, timed, tick)
        } else {
            thread::sleep(tick); // paused
            Err(io::ErrorKind::WouldBlock.into())
        };
        let now = Instant::now();
        is_warm |= done.is_ok();
        looked = true;
        verdict = match done {
            Ok(n) if writes => {
                queue.consume(n);
                is_full = !queue.is_empty();
                conn.sent(now, n, &mut out, recorder)
            }
            Ok(0) => {
                farewell.read(0);
                conn.received_eof(now, &mut out, recorder)
            }
            Ok(n) => {
                farewell.read(n);
                conn.received(now, &mut wire[..n], &mut out, recorder)
            }
            Err(error) if is_tick(&error) => {
                is_full = !queue.is_empty();
                if std::mem::take(&mut is_warm) {
                    // A slow peer is to cost no more than what waits for it, and an idle one no buffer.
                    wire.give_back();
                    out = Vec::new();
                }
                // The time may be over because all of us was stopped, and something has come meanwhile.
                let reads = !writes && conn.wants_read();
                looked = !reads || unread(&SockRef::from(socket)) == 0;
                Verdict { echo: 0..0, then: verdict.then }
            }
            Err(error) => return Err(CloseReason::of(&error)),
        };
    }
}

/// What the socket is ready for, or is to be asked for next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Input,
    Room,
    Nothing,
}

/// Sends what leaves at once, from where it lies: most often all of it. A failure is told by the next call.
fn send_now(socket: &Socket, first: &[u8], second: &[u8]) -> usize {
    #[cfg(target_os = "linux")]
    if first.len() + second.len() > 0 {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = match second {
            [] => socket.send_with_flags(first, flags),
            _ => socket.send_vectored_with_flags(&[IoSlice::new(first), IoSlice::new(second)], flags),
        };
        return sent.unwrap_or(0);
    }
    let _ = (socket, first, second);
    0
}

/// Writes as much as the socket takes now (on systems other than Unix, in the time that a call may
/// take).
fn write(socket: &Socket, queue: &Queue) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); PIECES];
    let n = queue.slices(&mut slices);
    #[cfg(unix)]
    let flags = libc::MSG_DONTWAIT;
    #[cfg(not(unix))]
    let flags = 0;
    #[cfg(target_os = "linux")]
    let flags = flags | libc::MSG_NOSIGNAL;
    socket.send_vectored_with_flags(&slices[..n], flags)
}

/// Reads. With the times of what passes, which are also told where there is nothing to read: then the wait has been done.
fn read(mut socket: &Socket, wire: &mut [u8], conn: &mut Conn, timed: bool, tick: Duration) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if timed {
        return super::timestamps::receive(socket, wire, tick >= TICK, conn.times());
    }
    let _ = (conn, timed, tick);
    socket.read(wire)
}

/// One look at a socket that otherwise blocks.
fn without_blocking<T>(socket: &Socket, look: impl FnOnce(&SockRef<'_>) -> T) -> T {
    let _ = socket.set_nonblocking(true);
    let seen = look(&SockRef::from(socket));
    let _ = socket.set_nonblocking(false);
    seen
}

/// A blocking call came back with nothing because its time was over, or a signal interrupted it.
fn is_tick(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    // The peer's own silence is reported as TimedOut too, but with an error number of its own.
    matches!(error.kind(), WouldBlock | Interrupted) || (cfg!(windows) && error.kind() == TimedOut)
}

/// How long the socket's calls block: until the next look-up or deadline, set only when it changes.
struct BlockingTimeout<'a> {
    socket: &'a Socket,
    set: Duration,
    /// A call's time limit is counted in the system's ticks, of a millisecond or more; who needs better waits before the call.
    precise: bool,
}

impl<'a> BlockingTimeout<'a> {
    fn new(socket: &'a Socket, precise: bool) -> Result<Self, CloseReason> {
        let precise = precise && cfg!(unix);
        let mut patience = Self { socket, set: Duration::ZERO, precise };
        patience.set(TICK)?;
        Ok(patience)
    }

    fn until(&mut self, deadline: Option<Instant>, now: Instant) -> Result<Duration, CloseReason> {
        let left = deadline.map_or(TICK, |at| at.saturating_duration_since(now));
        if self.precise {
            return Ok(left.min(TICK));
        }
        self.set(left.clamp(Duration::from_millis(1), TICK))
    }

    /// Waits for room to write, and if it `reads` for input.
    fn ready(&self, time: Duration, reads: bool) -> Readiness {
        #[cfg(unix)]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let wanted = if reads { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT };
            let (mut looked, time) = ([PollFd::new(self.socket, wanted)], Timespec::try_from(time).ok());
            match poll(&mut looked, time.as_ref()) {
                // What comes makes room at the other end.
                Ok(1..) if reads && looked[0].revents().contains(PollFlags::IN) => Readiness::Input,
                Ok(1..) => Readiness::Room,
                _ => Readiness::Nothing,
            }
        }
        #[cfg(not(unix))]
        {
            let _ = (time, reads);
            Readiness::Room
        }
    }

    /// Waits for the socket where the call itself would not keep the time. Is that over, and nothing has come?
    fn is_over(&self, time: Duration, writes: bool) -> bool {
        if !self.precise || time >= TICK {
            return false;
        }
        #[cfg(unix)]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let flags = if writes { PollFlags::OUT } else { PollFlags::IN };
            let time = Timespec::try_from(time).ok();
            // An interruption is as good as a timeout: the caller looks again.
            poll(&mut [PollFd::new(self.socket, flags)], time.as_ref()).unwrap_or(0) == 0
        }
        #[cfg(not(unix))]
        {
            let _ = writes;
            false
        }
    }

    fn set(&mut self, time: Duration) -> Result<Duration, CloseReason> {
        if self.set != time {
            let set = self.socket.set_read_timeout(Some(time)).and(self.socket.set_write_timeout(Some(time)));
            set.map_err(|error| CloseReason::of(&error))?;
            self.set = time;
        }
        Ok(time)
    }
}

impl Signals {
    fn wakes(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<AtomicBool>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineControl for Signals {
    fn drain(&self, deadline: Instant) {
        self.drain.begin(deadline);
    }

    fn wake(&self, conn: ConnId) {
        if let Some(wake) = self.wakes().get(&conn) {
            wake.store(true, SeqCst);
        }
    }

    fn wake_all(&self) {
        self.wakes().values().for_each(|wake| wake.store(true, SeqCst));
    }
}
