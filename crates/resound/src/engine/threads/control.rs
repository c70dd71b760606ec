//! How the handle reaches the threads.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use resound_proto::ConnId;

use crate::engine::acknowledgement::Acknowledgement;
use crate::engine::shared::DrainSignal;

/// Small stacks: there may be thousands of them.
pub(super) const STACK: usize = 256 * 1024;

pub(super) fn spawn(name: &str, stack: Option<usize>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    let thread = if let Some(size) = stack { thread.stack_size(size) } else { thread };
    thread.spawn(run).map(drop)
}

/// A message to a thread that accepts.
pub(super) enum AcceptCommand {
    /// Give the listener up.
    Unlisten(Acknowledgement),
    /// Drop it: the loop turns.
    Pulse(Acknowledgement),
}

/// What the handle and the threads share.
pub(super) struct Signals {
    pub(super) drain: DrainSignal,
    /// To the threads that accept.
    accepting: Mutex<Vec<Sender<AcceptCommand>>>,
    /// The wake flag of each connection.
    wakes: Mutex<HashMap<ConnId, Arc<AtomicBool>>>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self { drain: DrainSignal::new(), accepting: Mutex::default(), wakes: Mutex::default() }
    }

    /// The commands for a thread that is to accept.
    pub(super) fn add_acceptor(&self) -> Receiver<AcceptCommand> {
        let (sender, commands) = channel();
        self.accepting().push(sender);
        commands
    }

    /// The threads that accept.
    pub(super) fn accepting(&self) -> MutexGuard<'_, Vec<Sender<AcceptCommand>>> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wake flag of a new connection.
    pub(super) fn add(&self, conn: ConnId) -> Arc<AtomicBool> {
        Arc::clone(self.wakes().entry(conn).or_default())
    }

    pub(super) fn remove(&self, conn: ConnId) {
        self.wakes().remove(&conn);
    }

    /// Lets a connection look up.
    pub(super) fn wake(&self, conn: ConnId) {
        if let Some(wake) = self.wakes().get(&conn) {
            wake.store(true, SeqCst);
        }
    }

    pub(super) fn wake_all(&self) {
        self.wakes().values().for_each(|wake| wake.store(true, SeqCst));
    }

    fn wakes(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<AtomicBool>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
