//! [`Blocked`] and [`ConnectionFailure`]: the states of a load connection.

/// Could the connection send what was due? Decides whether the target or the generator itself
/// delayed a message.
#[derive(Clone, Copy)]
pub(super) enum Blocked {
    /// Yes.
    No,
    /// After the last turn it could not: all of the depth was in flight, or the socket had no room.
    Since(u64),
    /// It could not from `since` to `until`, and not all of what fell due has been sent yet.
    CatchingUp { since: u64, until: u64 },
}

impl Blocked {
    /// A turn starts.
    pub(super) fn resume(&mut self, now: u64) {
        if let Self::Since(since) = *self {
            *self = Self::CatchingUp { since, until: now };
        }
    }

    /// A turn ends. `is_behind`: something is due.
    pub(super) fn update(&mut self, now: u64, is_blocked: bool, is_behind: bool) {
        *self = match *self {
            Self::Since(since) | Self::CatchingUp { since, .. } if is_blocked => Self::Since(since),
            Self::No if is_blocked => Self::Since(now),
            catching_up if is_behind => catching_up,
            _ => Self::No,
        };
    }

    /// Was a message blocked for the greater part of its lag?
    pub(super) fn has_delayed(self, planned: u64, lag: u64) -> bool {
        match self {
            Self::CatchingUp { since, until } => planned <= until && since.saturating_sub(planned) <= lag / 2,
            Self::No | Self::Since(_) => false,
        }
    }

    /// From when on.
    pub(super) fn since(self) -> Option<u64> {
        match self {
            Self::No => None,
            Self::Since(since) | Self::CatchingUp { since, .. } => Some(since),
        }
    }

    /// From when to when, up to the end of the run.
    pub(super) fn range(self, end: u64) -> Option<(u64, u64)> {
        match self {
            Self::No => None,
            Self::Since(since) => Some((since, end)),
            Self::CatchingUp { since, until } => Some((since, until.min(end))),
        }
    }
}

/// What has gone wrong with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionFailure {
    No,
    /// Under TLS the peer ended its direction too early. The close tells whether it was cut off.
    EarlyEof,
    /// It has been reported.
    Reported,
    /// An answer took too long. It has been reported.
    TimedOut,
}

impl ConnectionFailure {
    pub(super) fn is_reported(self) -> bool {
        matches!(self, Self::Reported | Self::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_blocked_if_that_took_half_of_its_lag() {
        let mut blocked = Blocked::No;
        blocked.update(100, true, false);
        assert_eq!(blocked.since(), Some(100));
        blocked.resume(200);
        // Planned at 90 and sent at 200: blocked for 100 of 110.
        assert!(blocked.has_delayed(90, 110));
        // Planned at 0: it was late by 100 before.
        assert!(blocked.has_delayed(0, 200) && !blocked.has_delayed(0, 199));
        // Planned after the connection could send again.
        assert!(!blocked.has_delayed(201, 50));
    }

    #[test]
    fn a_connection_is_blocked_until_it_has_caught_up() {
        let mut blocked = Blocked::No;
        blocked.update(100, true, true);
        blocked.resume(200);
        blocked.update(200, false, true);
        assert_eq!(blocked.range(1000), Some((100, 200)));
        blocked.resume(300);
        blocked.update(300, true, true);
        assert_eq!(blocked.range(1000), Some((100, 1000)));
        blocked.resume(400);
        blocked.update(400, false, false);
        assert_eq!((blocked.range(1000), blocked.since()), (None, None));
        // A generator that is late is not blocked.
        blocked.update(500, false, true);
        assert_eq!(blocked.range(1000), None);
    }
}
