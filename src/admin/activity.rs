//! [`ClientActivity`]: what is known of a client, to choose one that makes room for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When a client last sent or took something, and whether it waits for an answer.
pub(super) struct ClientActivity {
    start: Instant,
    /// Microseconds after the start.
    last: AtomicU64,
    requests: AtomicUsize,
}

/// Held while a request is answered.
pub(super) struct RequestUnderWay(Arc<ClientActivity>);

impl ClientActivity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), requests: AtomicUsize::new(0) }
    }

    pub(super) fn note(&self) {
        self.last.store(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn begin_request(self: &Arc<Self>) -> RequestUnderWay {
        self.requests.fetch_add(1, Relaxed);
        RequestUnderWay(Arc::clone(self))
    }

    /// Whether a request is under way.
    pub(super) fn is_answered(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Relaxed))
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}
