//! The portable engine: tokio, one current-thread runtime per worker, one task per connection.
//!
//! Worker 0 accepts, and hands each connection to the worker with the fewest. An idle connection owns no buffer: all tasks of a
//! worker read into the worker's one.

mod accept;
mod task;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::listener::Listener;
use super::room::Place;
use super::shared::{Control, Running, Shared};
use crate::error::Error;
use crate::service::{ConnId, Endpoint};

/// What reaches a worker from other threads.
enum Command {
    Serve(Accepted),
    Drain(Instant),
    /// Whenever the drain comes or came: be done by then.
    Hasten(Instant),
    Wake(ConnId),
}

/// A connection between the accept loop and its worker.
struct Accepted {
    socket: socket2::Socket,
    peer: Endpoint,
    local: Option<Endpoint>,
    place: Place,
}

struct Workers(Vec<mpsc::UnboundedSender<Command>>);

impl Control for Workers {
    fn drain(&self, deadline: Instant) {
        // Worker 0 tells the others once its accept loops have handed out their last connection.
        let _ = self.0[0].send(Command::Drain(deadline));
        // But worker 0 may be long done when a later call brings the deadline forward.
        for worker in &self.0[1..] {
            let _ = worker.send(Command::Hasten(deadline));
        }
    }

    fn wake(&self, conn: ConnId) {
        for worker in &self.0 {
            let _ = worker.send(Command::Wake(conn));
        }
    }
}

pub(crate) fn start(
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    running: Arc<Running>,
) -> Result<Arc<dyn Control>, Error> {
    let count = shared.counters.len();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let mut listeners = Some(listeners);
    let (started, starts) = std::sync::mpsc::channel();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let crew = worker::Crew {
            index,
            shared: Arc::clone(&shared),
            listeners: listeners.take().unwrap_or_default(),
            others: if index == 0 { senders[1..].to_vec() } else { Vec::new() },
        };
        let (running, started) = (Arc::clone(&running), started.clone());
        std::thread::Builder::new()
            .name(format!("resound-{index}"))
            .spawn(move || {
                let _running = running;
                worker::run(crew, inbox, &started);
            })
            .map_err(Error::Worker)?;
    }
    drop(started);
    // On an error the senders are dropped with this frame, and the workers that did start end.
    for _ in 0..count {
        starts.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())).map_err(Error::Worker)?;
    }
    Ok(Arc::new(Workers(senders)))
}
