//! The io_uring engine: one ring per worker, one thread per ring (Linux 6.1 and later).
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection owns no buffer: all of a worker's receive
//! into shared ones, and echo from where the bytes lie.

mod accept;
mod batch;
mod context;
mod dial;
mod inbox;
mod link;
mod links;
mod timers;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use self::inbox::{Inbox, RingCommand};
use self::worker::{StartReport, WorkerSet};
use resound_proto::ConnId;

use super::listener::Listener;
use super::shared::{EngineControl, RunGuard, Shared};
use super::sys::{Ring, Setup};

struct RingWorkers(Arc<WorkerSet>);

impl EngineControl for RingWorkers {
    fn drain(&self, deadline: Instant) {
        let inboxes = &self.0.inboxes;
        if self.0.shared.is_precise() {
            return self.0.drain_all(deadline); // nobody hands anything to anybody
        }
        // Worker 0 tells the others once it has handed out its last connection. It may be done long before a later call brings the
        // deadline forward; and if it never was (it failed), nobody else will tell them.
        let there = inboxes[0].send(RingCommand::Drain(deadline));
        for inbox in &inboxes[1..] {
            inbox.send(if there { RingCommand::Hasten(deadline) } else { RingCommand::Drain(deadline) });
        }
    }

    fn wake(&self, conn: ConnId) {
        for inbox in &self.0.inboxes {
            inbox.send(RingCommand::Wake(conn));
        }
    }

    fn wake_all(&self) {
        for inbox in &self.0.inboxes {
            inbox.send(RingCommand::WakeAll);
        }
    }
}

/// Whether the system lets us have a ring; the error says who refuses.
pub(crate) fn probe(setup: &Setup) -> io::Result<()> {
    Ring::with(setup, |_| ())
}

/// The workers of one server, which wait for their listeners.
pub(crate) struct StartedWorkers(Arc<WorkerSet>);

impl StartedWorkers {
    pub(crate) fn control(&self) -> Arc<dyn EngineControl> {
        Arc::new(RingWorkers(Arc::clone(&self.0)))
    }

    /// Accepts, on worker 0.
    pub(crate) fn listen(&self, listeners: Vec<Listener>) {
        self.0.inboxes[0].send(RingCommand::Listen(listeners));
    }
}

/// Starts the workers, each with a ring of its own.
pub(crate) fn start(shared: Arc<Shared>, running: &Arc<RunGuard>, setup: Setup) -> io::Result<StartedWorkers> {
    let inboxes = shared.counters.iter().map(|_| Inbox::new()).collect::<io::Result<Vec<_>>>()?;
    let count = inboxes.len();
    let crew = Arc::new(WorkerSet { shared, inboxes, waits_for_room: AtomicBool::new(false) });
    let (started, starts) = std::sync::mpsc::channel();
    let spawn = |index: usize| {
        let (crew, running, report) = (Arc::clone(&crew), Arc::clone(running), StartReport(Some(started.clone())));
        std::thread::Builder::new()
            .name(format!("resound-{index}"))
            .spawn(move || worker::run(index, &crew, &setup, running, report))
    };
    let spawned = (0..count).try_for_each(|index| spawn(index).map(drop));
    drop(started);
    // Each has told how it went before anything is decided, so that those who did not start have let go of what they had.
    let reports: Vec<io::Result<()>> = starts.iter().collect();
    if let Err(error) = spawned.and_then(|()| reports.into_iter().collect::<io::Result<()>>()) {
        // Those who did start have nothing to do.
        crew.drain_all(Instant::now());
        return Err(error);
    }
    Ok(StartedWorkers(crew))
}
