//! [`Heartbeat`]: whether a worker's event loop responds, and how long that takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The answers of one worker to the question whether its loop turns.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    is_awaited: AtomicBool,
    beats: AtomicU64,
    lag_nanos: AtomicU64,
}

/// How a worker has answered the question whether its loop turns
/// ([`Inspector::ask`](super::Inspector::ask)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerHeartbeat {
    /// The number of its answers.
    pub beats: u64,
    /// How long after the question its last answer came: a worker answers between its connections'
    /// events.
    pub lag: Duration,
    /// The last question has no answer yet.
    pub is_awaited: bool,
}

impl Heartbeat {
    /// Returns whether to ask the worker: not while the last question has no answer.
    pub(crate) fn begin(&self) -> bool {
        !self.is_awaited.swap(true, Relaxed)
    }

    /// The worker answers a question of this instant.
    pub(crate) fn beat(&self, asked: Instant) {
        self.lag_nanos.store(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.beats.fetch_add(1, Relaxed);
        self.is_awaited.store(false, Relaxed);
    }

    pub(crate) fn read(&self) -> WorkerHeartbeat {
        WorkerHeartbeat {
            beats: self.beats.load(Relaxed),
            lag: Duration::from_nanos(self.lag_nanos.load(Relaxed)),
            is_awaited: self.is_awaited.load(Relaxed),
        }
    }
}
