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
