//! Calls on a socket that block for a limited time.
//!
//! A call on Unix can say that it must not wait. Elsewhere the socket says so for all calls, and a
//! wait for it comes first.

use std::io::{self, IoSlice, Read};
use std::time::{Duration, Instant};

use resound_proto::{CloseReason, KernelTimestamps};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, Socket};

/// The longest time that a thread blocks.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What the socket is ready for, or which call is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Input,
    Room,
    Nothing,
}

/// Sends what leaves at once, from where it lies: most often all of it.
pub(super) fn send_now(socket: &Socket, first: &[u8], second: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        if first.is_empty() || second.is_empty() {
            return socket.send_with_flags(if first.is_empty() { second } else { first }, flags);
        }
        socket.send_vectored_with_flags(&[IoSlice::new(first), IoSlice::new(second)], flags)
    }
    #[cfg(not(unix))]
    return socket.send_vectored(&[IoSlice::new(first), IoSlice::new(second)]);
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        let _ = (socket, first, second);
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Writes as much as the socket takes now.
pub(super) fn write(socket: &Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(unix)]
    let flags = libc::MSG_DONTWAIT;
    #[cfg(not(unix))]
    let flags = 0;
    #[cfg(target_os = "linux")]
    let flags = flags | libc::MSG_NOSIGNAL;
    socket.send_vectored_with_flags(pieces, flags)
}

/// Reads; with the kernel's timestamps, if the connection has `times`. These come even if there is
/// nothing to read, so a wait shorter than [`TICK`] has been done before.
pub(super) fn read(
    mut socket: &Socket,
    into: &mut [u8],
    times: Option<&mut KernelTimestamps>,
    time: Duration,
) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    if let Some(times) = times {
        return crate::engine::timestamps::receive(socket, into, time >= TICK, times);
    }
    let _ = (times, time);
    socket.read(into)
}

/// Returns whether the peer's FIN has arrived, with nothing unread before it.
pub(super) fn at_eof(socket: &Socket) -> bool {
    crate::engine::socket::at_eof(&SockRef::from(socket))
}

/// Returns whether a call ended only because its time was over or a signal interrupted it.
pub(super) fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How long the socket's calls block: until the next tick or deadline. Set only when it changes.
pub(super) struct BlockingTimeout<'a> {
    socket: &'a Socket,
    set: Duration,
    /// The system counts the time limit of a call in ticks of a millisecond or more. A precise
    /// connection waits before the call.
    precise: bool,
}

/// Whether no call waits, so that each wait comes before it. On Windows a socket whose call has
/// met its time limit is in no known state (`SO_RCVTIMEO`).
const CALLS_DO_NOT_WAIT: bool = !cfg!(unix);

impl<'a> BlockingTimeout<'a> {
    pub(super) fn new(socket: &'a Socket, precise: bool) -> Result<Self, CloseReason> {
        let mut timeout = Self { socket, set: Duration::ZERO, precise };
        if CALLS_DO_NOT_WAIT {
            socket.set_nonblocking(true).map_err(|error| CloseReason::of(&error))?;
        } else {
            timeout.set(TICK)?;
        }
        Ok(timeout)
    }

    /// Lets the next call block until `deadline`, or for a tick. Returns the time.
    pub(super) fn until(&mut self, deadline: Option<Instant>, now: Instant) -> Result<Duration, CloseReason> {
        let left = deadline.map_or(TICK, |at| at.saturating_duration_since(now));
        if self.precise || CALLS_DO_NOT_WAIT {
            return Ok(left.min(TICK));
        }
        self.set(left.clamp(Duration::from_millis(1), TICK))
    }

    /// Waits for room to write, and if it `reads` for input too. Input comes first: reading it
    /// makes room at the peer.
    pub(super) fn ready(&self, time: Duration, reads: bool) -> Readiness {
        let ready = self.poll(time, if reads { PollFlags::IN | PollFlags::OUT } else { PollFlags::OUT });
        match ready {
            None => Readiness::Nothing,
            Some(ready) if reads && ready.intersects(PollFlags::IN) => Readiness::Input,
            Some(_) => Readiness::Room,
        }
    }

    /// Waits for the socket if the call itself would not keep the time. Returns whether the time is
    /// over.
    pub(super) fn is_over(&self, time: Duration, waits_for: Readiness) -> bool {
        if !CALLS_DO_NOT_WAIT && (!self.precise || time >= TICK) {
            return false;
        }
        let flags = if waits_for == Readiness::Room { PollFlags::OUT } else { PollFlags::IN };
        self.poll(time, flags).is_none()
    }

    /// What of this the socket is ready for; `None` if the time is over or a signal interrupts.
    fn poll(&self, time: Duration, flags: PollFlags) -> Option<PollFlags> {
        let (mut socket, time) = ([PollFd::new(self.socket, flags)], Timespec::try_from(time).ok());
        let ready = poll(&mut socket, time.as_ref()).unwrap_or(0);
        (ready > 0).then(|| socket[0].revents())
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
