//! Rules that wait for a time.

use std::time::{Duration, Instant};

use super::stamps::later;

#[derive(Clone, Copy, Debug)]
pub(super) enum TimerKind {
    /// For this time.
    Until(Instant),
    /// For a connection, or a direction of it, without a byte for this long.
    Idle(Duration),
    /// For the same with a connection of which one direction has its FIN.
    HalfClosed(Duration),
}

/// Each with the connection's rule at an index.
#[derive(Debug, Default)]
pub(super) struct FaultTimers(pub(super) Vec<(usize, TimerKind)>);

impl TimerKind {
    /// When it is over, if nothing arrives. `fin` is the time of the first FIN.
    pub(super) fn due(self, last_input: Instant, fin: Option<Instant>) -> Option<Instant> {
        match self {
            TimerKind::Until(time) => Some(time),
            TimerKind::Idle(time) => Some(later(last_input, time)),
            TimerKind::HalfClosed(time) => fin.map(|fin| later(fin.max(last_input), time)),
        }
    }
}
