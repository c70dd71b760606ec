//! How the handle reaches the threads.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use resound_proto::ConnId;

use crate::engine::shared::{DrainSignal, EngineControl};

/// Small stacks: there may be thousands of them.
pub(super) const STACK: usize = 256 * 1024;

pub(super) fn spawn(name: &str, stack: Option<usize>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    let thread = if let Some(size) = stack { thread.stack_size(size) } else { thread };
    thread.spawn(run).map(drop)
}

/// What the handle and the threads share.
pub(super) struct Signals {
    pub(super) drain: DrainSignal,
    /// The wake flag of each connection.
    wakes: Mutex<HashMap<ConnId, Arc<AtomicBool>>>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self { drain: DrainSignal::new(), wakes: Mutex::default() }
    }

    /// The wake flag of a new connection.
    pub(super) fn add(&self, conn: ConnId) -> Arc<AtomicBool> {
        Arc::clone(self.wakes().entry(conn).or_default())
    }

    pub(super) fn remove(&self, conn: ConnId) {
        self.wakes().remove(&conn);
    }

    fn wakes(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<AtomicBool>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineControl for Signals {
    fn drain(&self, deadline: Instant) {
        self.drain.begin(deadline);
    }

    fn wake(&self, conn: ConnId) {
        if let Some(wake) = self.wakes().get(&conn) {
            wake.store(true, SeqCst);
        }
    }

    fn wake_all(&self) {
        self.wakes().values().for_each(|wake| wake.store(true, SeqCst));
    }
}
