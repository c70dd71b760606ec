//! [`EventCounter`]: what wakes a worker that waits for its ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::engine::workers::WorkerAlert;

/// An event counter (eventfd(2)) that the ring polls.
pub(crate) struct EventCounter(OwnedFd);

impl EventCounter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Resets the counter. To be called before the inbox is read.
    pub(super) fn reset(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl WorkerAlert for EventCounter {
    fn alert(&self) {
        // Fails only if the counter is full, and a full counter wakes the worker too.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
