//! The accept policy, the same for every engine: which errors matter, and how often they are spoken of.

use std::io;
use std::time::{Duration, Instant};

/// After a shortage, try again this often, or as soon as a connection ends.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// What an error of accept(2) means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// It concerns one connection only, which is gone: take the next.
    Next,
    /// It would come again at once (no descriptors, no memory): wait.
    BackOff,
}

impl AcceptError {
    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as E;
        #[cfg(unix)]
        {
            // accept(2): Linux passes pending errors of the new connection on, and they are to be treated like EAGAIN.
            use rustix::io::Errno;
            if matches!(
                Errno::from_io_error(error),
                Some(Errno::PROTO | Errno::NOPROTOOPT | Errno::NETDOWN | Errno::OPNOTSUPP | Errno::PERM)
            ) {
                return Self::Next;
            }
        }
        match error.kind() {
            E::ConnectionAborted | E::ConnectionReset | E::Interrupted | E::TimedOut => Self::Next,
            E::HostUnreachable | E::NetworkUnreachable | E::NetworkDown => Self::Next,
            _ => Self::BackOff,
        }
    }
}

/// Lets one event a second through, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct OncePerSecond {
    last: Option<Instant>,
    held_back: u64,
}

impl OncePerSecond {
    /// `Some(n)`: speak, and say that `n` more had happened since the last time.
    pub(crate) fn speak(&mut self, now: Instant) -> Option<u64> {
        match self.last {
            Some(last) if now.saturating_duration_since(last) < Duration::from_secs(1) => {
                self.held_back += 1;
                None
            }
            _ => {
                self.last = Some(now);
                Some(std::mem::take(&mut self.held_back))
            }
        }
    }
}

/// What an accept loop says when it cannot accept.
#[derive(Debug, Default)]
pub(crate) struct RateLimitedLog {
    errors: OncePerSecond,
    full: OncePerSecond,
    /// Errors of single connections, without a success between them.
    in_a_row: u32,
}

/// So many connections in a row may be gone when they are accepted; then something else is wrong, and trying on at full speed is no use.
const MOST_IN_A_ROW: u32 = 64;

impl RateLimitedLog {
    pub(crate) fn went_well(&mut self) {
        self.in_a_row = 0;
    }

    /// Accepting failed: must the caller back off before it tries again?
    pub(crate) fn must_wait(&mut self, error: &io::Error, live: usize) -> bool {
        self.in_a_row += 1;
        if AcceptError::of(error) == AcceptError::Next && self.in_a_row < MOST_IN_A_ROW {
            return false;
        }
        self.in_a_row = 0;
        self.error(error, live);
        true
    }

    pub(crate) fn error(&mut self, error: &io::Error, live: usize) {
        if let Some(more) = self.errors.speak(Instant::now()) {
            let more = SuppressedCount(more);
            if crate::error::is_descriptor_shortage(error) {
                tracing::warn!(
                    "no file descriptors left with {live} connections open: new ones wait until one is free; raise `ulimit -n`{more}"
                );
            } else {
                tracing::warn!("cannot accept a connection: {error}{more}");
            }
        }
    }

    pub(crate) fn full(&mut self, most: usize) {
        if let Some(more) = self.full.speak(Instant::now()) {
            let more = SuppressedCount(more);
            tracing::warn!("a connection waits: {most} are served, and no more are allowed at once{more}");
        }
    }
}

/// How often what is said has happened unsaid.
pub(super) struct SuppressedCount(pub(super) u64);

impl std::fmt::Display for SuppressedCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (and once more since the last such line)"),
            n => write!(f, " (and {n} times more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second() {
        let (mut rationed, start) = (OncePerSecond::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let said: Vec<_> = [0, 1, 500, 999, 1000, 1001, 5000].map(|ms| rationed.speak(at(ms))).into();
        assert_eq!(said, [Some(0), None, None, None, Some(3), None, Some(1)]);
    }

    #[test]
    fn errors_without_end_do_not_spin() {
        let mut complaints = RateLimitedLog::default();
        let gone = io::ErrorKind::ConnectionAborted.into();
        let waits: u32 = (0..640).map(|_| u32::from(complaints.must_wait(&gone, 0))).sum();
        assert_eq!(waits, 10);
        for _ in 0..640 {
            assert!(!complaints.must_wait(&gone, 0));
            complaints.went_well();
        }
        assert!(complaints.must_wait(&io::ErrorKind::OutOfMemory.into(), 0));
    }

    #[test]
    fn a_dead_connection_does_not_slow_the_listener_and_a_shortage_does() {
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted] {
            assert_eq!(AcceptError::of(&kind.into()), AcceptError::Next, "{kind}");
        }
        assert_eq!(AcceptError::of(&io::ErrorKind::OutOfMemory.into()), AcceptError::BackOff);
        #[cfg(unix)]
        for (errno, want) in [
            (rustix::io::Errno::MFILE, AcceptError::BackOff),
            (rustix::io::Errno::NFILE, AcceptError::BackOff),
            (rustix::io::Errno::NOBUFS, AcceptError::BackOff),
            (rustix::io::Errno::PROTO, AcceptError::Next),
            (rustix::io::Errno::PERM, AcceptError::Next),
        ] {
            assert_eq!(AcceptError::of(&errno.into()), want, "{errno:?}");
        }
    }
}
