//! The portable engine: tokio, one current-thread runtime per worker, one task per connection.
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection owns no buffer: all tasks of a
//! worker read into the worker's one.

mod accept;
#[cfg(target_os = "linux")]
mod clock;
mod dial;
mod task;
#[cfg_attr(not(target_os = "linux"), path = "watched_elsewhere.rs")]
mod watched;
mod worker;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::{ConnId, Endpoint};
use tokio::sync::mpsc;

use watched::WatchedSocket;

use super::connection_limit::ConnectionPermit;
use super::listener::Listener;
use super::shared::{EngineControl, Latch, RunGuard, Shared};
use super::socket::ResetOnDrop;
use crate::error::Error;

/// What reaches a worker from other threads.
enum WorkerCommand {
    Serve(AcceptedStream),
    Drain(Instant),
    /// Whenever the drain comes or came: be done by then.
    Hasten(Instant),
    Wake(ConnId),
    WakeAll,
}

/// A connection between the accept loop and its worker.
struct AcceptedStream {
    socket: ResetOnDrop,
    peer: Endpoint,
    local: Option<Endpoint>,
    place: ConnectionPermit,
}

struct PortableWorkers {
    inboxes: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    /// Nobody hands connections to anybody.
    dials: bool,
}

impl EngineControl for PortableWorkers {
    fn drain(&self, deadline: Instant) {
        // Worker 0 tells the others once its accept loops have handed out their last connection. It may be done long before a later
        // call brings the deadline forward; and if it never was (it failed), nobody else will tell them.
        let gone = self.inboxes[0].send(WorkerCommand::Drain(deadline)).is_err();
        for worker in &self.inboxes[1..] {
            let _ = worker.send(if gone || self.dials {
                WorkerCommand::Drain(deadline)
            } else {
                WorkerCommand::Hasten(deadline)
            });
        }
    }

    fn wake(&self, conn: ConnId) {
        for worker in &self.inboxes {
            let _ = worker.send(WorkerCommand::Wake(conn));
        }
    }

    fn wake_all(&self) {
        for worker in &self.inboxes {
            let _ = worker.send(WorkerCommand::WakeAll);
        }
    }
}

/// Worker 0, to be run on the thread that started the server.
pub(crate) struct FirstWorker {
    crew: worker::WorkerStart,
    inbox: mpsc::UnboundedReceiver<WorkerCommand>,
}

impl FirstWorker {
    /// Runs worker 0 here, with `supervise` beside it, until every worker has ended.
    pub(crate) fn run(self, supervise: Pin<Box<dyn Future<Output = ()>>>, latch: Arc<Latch>) -> Result<(), Error> {
        let (started, starts) = std::sync::mpsc::channel();
        worker::run(self.crew, self.inbox, &started, Some((supervise, latch)));
        starts.try_recv().unwrap_or(Ok(())).map_err(Error::Worker)
    }
}

/// Starts the workers; the first only where it is not wanted `here`.
pub(crate) fn start(
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    running: Arc<RunGuard>,
    here: bool,
) -> Result<(Arc<dyn EngineControl>, Option<FirstWorker>), Error> {
    let count = shared.counters.len();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let mut listeners = Some(listeners);
    let mut first = None;
    let mut spawned = 0;
    let (started, starts) = std::sync::mpsc::channel();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let crew = worker::WorkerStart {
            index,
            shared: Arc::clone(&shared),
            listeners: listeners.take().unwrap_or_default(),
            others: if index == 0 { senders[1..].to_vec() } else { Vec::new() },
            running: Arc::clone(&running),
        };
        if here && index == 0 {
            first = Some(FirstWorker { crew, inbox });
            continue;
        }
        let started = started.clone();
        std::thread::Builder::new()
            .name(format!("resound-{index}"))
            .spawn(move || worker::run(crew, inbox, &started, None))
            .map_err(Error::Worker)?;
        spawned += 1;
    }
    drop(started);
    // On an error the senders are dropped with this frame, and the workers that did start end.
    for _ in 0..spawned {
        starts.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())).map_err(Error::Worker)?;
    }
    Ok((Arc::new(PortableWorkers { inboxes: senders, dials: shared.is_precise() }), first))
}
