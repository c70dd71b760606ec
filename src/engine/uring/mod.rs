//! The io_uring engine: one ring per worker, one thread per ring (Linux 6.1 and later).
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection owns no buffer: all of a worker's receive
//! into shared ones, and echo from where the bytes lie.

mod accept;
mod batch;
mod desk;
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

use self::inbox::{Command, Inbox};
use self::worker::{Crew, Report};
use super::listener::Listener;
use super::shared::{Control, Running, Shared};
use super::sys::{Ring, Setup};
use crate::service::ConnId;

struct Workers(Arc<Crew>);

impl Control for Workers {
    fn drain(&self, deadline: Instant) {
        let inboxes = &self.0.inboxes;
        if self.0.shared.is_precise() {
            return self.0.drain_all(deadline); // nobody hands anything to anybody
        }
        // Worker 0 tells the others once it has handed out its last connection. It may be done long before a later call brings the
        // deadline forward; and if it never was (it failed), nobody else will tell them.
        let there = inboxes[0].send(Command::Drain(deadline));
        for inbox in &inboxes[1..] {
            inbox.send(if there { Command::Hasten(deadline) } else { Command::Drain(deadline) });
        }
    }

    fn wake(&self, conn: ConnId) {
        for inbox in &self.0.inboxes {
            inbox.send(Command::Wake(conn));
        }
    }

    fn wake_all(&self) {
        for inbox in &self.0.inboxes {
            inbox.send(Command::WakeAll);
        }
    }
}

/// Whether the system lets us have a ring; the error says who refuses.
pub(crate) fn probe(setup: &Setup) -> io::Result<()> {
    Ring::with(setup, |_| ())
}

/// The workers of one server, which wait for their listeners.
pub(crate) struct Started(Arc<Crew>);

impl Started {
    pub(crate) fn control(&self) -> Arc<dyn Control> {
        Arc::new(Workers(Arc::clone(&self.0)))
    }

    /// Accepts, on worker 0.
    pub(crate) fn listen(&self, listeners: Vec<Listener>) {
        self.0.inboxes[0].send(Command::Listen(listeners));
    }
}

/// Starts the workers, each with a ring of its own.
pub(crate) fn start(shared: Arc<Shared>, running: &Arc<Running>, setup: Setup) -> io::Result<Started> {
    let inboxes = shared.counters.iter().map(|_| Inbox::new()).collect::<io::Result<Vec<_>>>()?;
    let count = inboxes.len();
    let crew = Arc::new(Crew { shared, inboxes, waits_for_room: AtomicBool::new(false) });
    let (started, starts) = std::sync::mpsc::channel();
    let spawn = |index: usize| {
        let (crew, running, report) = (Arc::clone(&crew), Arc::clone(running), Report(Some(started.clone())));
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
    Ok(Started(crew))
}
