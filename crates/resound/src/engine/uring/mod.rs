//! The io_uring engine: one ring per worker, one thread per ring (Linux 6.1 and later).
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection
//! owns no buffer: all connections of a worker receive into shared buffers, and echo from there.

mod accept;
mod batch;
mod connection;
mod connections;
mod context;
mod counter;
mod dial;
mod input;
mod timers;
mod worker;

use std::io;
use std::sync::Arc;

use self::counter::EventCounter;
use super::shared::{RunGuard, Shared};
use super::sys::{Ring, Setup};
use super::workers::{self, WorkerSet};

/// Returns why the system refuses a ring, if it does.
pub(crate) fn probe(setup: &Setup) -> io::Result<()> {
    Ring::with(setup, |_| ())
}

/// Starts the workers, each with a ring of its own. They have no listeners yet.
pub(crate) fn start(
    shared: Arc<Shared>,
    running: &Arc<RunGuard>,
    setup: Setup,
) -> io::Result<Arc<WorkerSet<EventCounter>>> {
    Ok(workers::start(shared, running, false, EventCounter::new, move |guard| worker::run(guard, &setup))?.0)
}
