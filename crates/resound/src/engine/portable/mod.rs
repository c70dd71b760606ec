//! The portable engine: tokio, one current-thread runtime per worker, one future per connection.
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection
//! owns no buffer: all connections of a worker read into the worker's one.

mod accept;
#[cfg(target_os = "linux")]
mod clock;
mod context;
mod dial;
mod lending;
mod slots;
mod task;
mod task_set;
#[cfg_attr(not(target_os = "linux"), path = "watched_elsewhere.rs")]
mod watched;
#[cfg(target_os = "linux")]
mod watcher;
mod worker;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;

use super::listener::Listener;
use super::shared::{Latch, RunGuard, Shared};
use super::workers::{self, UnstartedWorker, WorkerAlert, WorkerSet};

impl WorkerAlert for Notify {
    fn alert(&self) {
        self.notify_one();
    }
}

/// Worker 0, for the thread that starts the server.
pub(crate) struct FirstWorker(UnstartedWorker<Notify>);

impl FirstWorker {
    /// Runs worker 0 on this thread, with `supervise` beside it, until every worker has ended.
    pub(crate) fn run(
        self,
        listeners: Vec<Listener>,
        supervise: Pin<Box<dyn Future<Output = ()>>>,
        latch: Arc<Latch>,
    ) -> io::Result<()> {
        let (guard, started) = self.0;
        let listens = guard.set.listen_first(listeners);
        worker::run(guard, Some((supervise, latch)));
        started.try_recv().unwrap_or(Ok(())).and(listens.try_recv().unwrap_or(Ok(())))
    }
}

/// Starts the workers, except for worker 0 if it is to run `here`. They have no listeners yet.
pub(crate) fn start(
    shared: Arc<Shared>,
    running: &Arc<RunGuard>,
    here: bool,
) -> io::Result<(Arc<WorkerSet<Notify>>, Option<FirstWorker>)> {
    let alert = || Ok(Notify::new());
    let (set, first) = workers::start(shared, running, here, alert, |guard| worker::run(guard, None))?;
    Ok((set, first.map(FirstWorker)))
}
