//! [`ClientActivity`]: what is known of a client, to choose one that makes room for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When a client last sent or took something, and whether it waits for an answer.
pub(super) struct ClientActivity {
    start: Instant,
    /// Microseconds after the start.
    last: AtomicU64,
    requests: AtomicUsize,
    /// The answer under way has as much time as the client wants.
    may_stall: AtomicBool,
}

/// Held while a request is answered.
pub(super) struct RequestUnderWay(Arc<ClientActivity>);

impl ClientActivity {
    pub(super) fn new() -> Self {
        let (last, requests, may_stall) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Self { start: Instant::now(), last, requests, may_stall }
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

    /// Whether a client may take nothing of its answer for as long as it wants.
    pub(super) fn may_stall(&self) -> bool {
        self.may_stall.load(Relaxed)
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Relaxed))
    }
}

impl RequestUnderWay {
    /// Gives the client as much time as it wants for this answer.
    pub(super) fn allow_stalls(&self) {
        self.0.may_stall.store(true, Relaxed);
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.0.may_stall.store(false, Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}
