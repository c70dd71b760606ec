//! The accept policy, the same for every engine: which errors matter, and how often the log reports
//! them.

use std::io;
use std::time::{Duration, Instant};

/// After a shortage, the next attempt comes after this time, or as soon as a connection ends.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(100);

/// What an error of accept(2) means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// The error concerns one connection only, which is gone: take the next.
    Next,
    /// The error would return at once (no descriptors, no memory): wait.
    BackOff,
}

impl AcceptError {
    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as E;
        #[cfg(unix)]
        {
            // accept(2): Linux reports pending errors of the new connection here; handle them like
            // EAGAIN.
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

/// Lets one log line a second through, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct OncePerSecond {
    last: Option<Instant>,
    suppressed: u64,
}

impl OncePerSecond {
    /// `Some`: log the line, and append this text, which counts the lines that were suppressed
    /// since the last one.
    pub(crate) fn line(&mut self, now: Instant) -> Option<String> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1)) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(match std::mem::take(&mut self.suppressed) {
            0 => String::new(),
            1 => " (and once more since the last such line)".into(),
            n => format!(" (and {n} times more since the last such line)"),
        })
    }
}

/// The log of an accept loop that cannot accept.
#[derive(Debug, Default)]
pub(crate) struct RateLimitedLog {
    errors: OncePerSecond,
    full: OncePerSecond,
    /// Errors of single connections, without a success between them.
    in_a_row: u32,
}

/// This many connections in a row may be gone when they are accepted. Beyond that the cause is
/// another one, and another attempt at once is of no use.
const MOST_IN_A_ROW: u32 = 64;

impl RateLimitedLog {
    pub(crate) fn record_success(&mut self) {
        self.in_a_row = 0;
    }

    /// Accepting failed: must the caller back off before the next attempt?
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
        let Some(more) = self.errors.line(Instant::now()) else { return };
        if crate::error::is_descriptor_shortage(error) {
            tracing::warn!(
                "no file descriptors left with {live} connections open: new ones wait until one is free; \
                 raise `ulimit -n`{more}"
            );
        } else {
            tracing::warn!("cannot accept a connection: {error}{more}");
        }
    }

    pub(crate) fn full(&mut self, most: usize) {
        if let Some(more) = self.full.line(Instant::now()) {
            tracing::warn!(
                "a connection waits: {most} are served, and the limit of connections, or of descriptors \
                 (`ulimit -n`), allows no more at once{more}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second() {
        let (mut log, start) = (OncePerSecond::default(), Instant::now());
        let lines = [0, 1, 500, 999, 1000, 1001, 5000].map(|ms| log.line(start + Duration::from_millis(ms)));
        let more = |text: &str| Some(format!("{text} since the last such line)"));
        let want = [Some(String::new()), None, None, None, more(" (and 3 times more"), None, more(" (and once more")];
        assert_eq!(lines, want);
    }

    #[test]
    fn errors_without_end_do_not_spin() {
        let mut log = RateLimitedLog::default();
        let gone = io::ErrorKind::ConnectionAborted.into();
        let waits: u32 = (0..640).map(|_| u32::from(log.must_wait(&gone, 0))).sum();
        assert_eq!(waits, 10);
        for _ in 0..640 {
            assert!(!log.must_wait(&gone, 0));
            log.record_success();
        }
        assert!(log.must_wait(&io::ErrorKind::OutOfMemory.into(), 0));
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
