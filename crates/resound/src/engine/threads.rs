//! The threads engine: one thread accepts, and each connection has a thread of its own that blocks
//! in `read` or `write`. It is the reference for the other engines, and the one to read first:
//!
//! - here: accept, serve, close;
//! - [`conversation`]: one connection from its first byte to its last;
//! - `blocking`: calls that block for a limited time;
//! - `control`: how the handle reaches the threads;
//! - `dial`: connections that are made instead of accepted.
//!
//! A blocked thread receives no signal, so each looks up after [`TICK`] to see whether its
//! connection was woken or the server drains. What the bytes mean is decided in
//! [`Conn`](crate::conn::Conn), as for every engine.

mod blocking;
mod control;
mod conversation;
mod dial;
mod receive_buffer;

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_proto::ConnId;

use super::accept::BACK_OFF;
use super::accept_queue::{AcceptQueue, AcceptedConnection, WaitingConnections};
use super::acknowledgement::Acknowledgement;
use super::connection_limit::PlaceRequest;
use super::listener::Listener;
use super::rows::RowRequest;
use super::shared::{ConnectionOrigin, EngineControl, ListenReport, RunGuard, Shared};
use super::socket::endpoint;
use crate::error::Error;
use crate::metrics::Writers;

use self::blocking::TICK;
use self::control::{AcceptCommand, STACK, Signals, spawn};
use self::conversation::converse;

/// How often a thread without a connection checks whether the server has ended.
const END_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The engine, as its handle reaches it.
struct ThreadSet {
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    running: Weak<RunGuard>,
    /// Without a listener, and without a connection, the server would end before its drain.
    unlistened: Mutex<Option<Arc<RunGuard>>>,
}

/// Prepares the engine. The returned function starts the threads that accept, or that dial.
pub(crate) fn prepare(
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    running: Arc<RunGuard>,
) -> (Arc<dyn EngineControl>, impl FnOnce() -> Result<(), Error>) {
    let set = Arc::new(ThreadSet {
        shared: Arc::clone(&shared),
        signals: Arc::new(Signals::new()),
        running: Arc::downgrade(&running),
        unlistened: Mutex::default(),
    });
    let control = Arc::clone(&set);
    let start = move || {
        let signals = &set.signals;
        if listeners.is_empty() && matches!(shared.origin, ConnectionOrigin::Accept { .. }) {
            // Faults have closed them: the server goes on without a client.
            let (signals, running) = (Arc::clone(signals), Arc::clone(&running));
            spawn("resound-closed", None, move || {
                let _running = running;
                while !signals.drain.begun() {
                    thread::sleep(TICK);
                }
            })
            .map_err(Error::Worker)?;
        }
        let dialling = || match shared.origin {
            ConnectionOrigin::Accept { .. } | ConnectionOrigin::Relay { .. } => Ok(()),
            ConnectionOrigin::Dial(_) => dial::start(&shared, signals, &running),
        };
        set.accept_on(listeners, &running).and_then(|()| dialling()).map_err(|error| {
            // The threads that run already must not go on without a handle.
            signals.drain.begin(Instant::now());
            Error::Worker(error)
        })
    };
    (control, start)
}

impl ThreadSet {
    /// Starts a thread for each listener.
    fn accept_on(&self, listeners: Vec<Listener>, running: &Arc<RunGuard>) -> io::Result<()> {
        listeners.into_iter().try_for_each(|listener| {
            listener.socket().set_nonblocking(true)?;
            let acceptor = BlockingAcceptor {
                shared: Arc::clone(&self.shared),
                signals: Arc::clone(&self.signals),
                running: Arc::clone(running),
                commands: self.signals.add_acceptor(),
            };
            spawn("resound-accept", None, move || acceptor.run(listener))
        })
    }
}

impl EngineControl for ThreadSet {
    fn drain(&self, deadline: Instant) {
        self.signals.drain.begin(deadline);
        self.unlistened.lock().take();
    }

    fn wake(&self, conn: ConnId) {
        self.signals.wake(conn);
    }

    fn wake_all(&self) {
        self.signals.wake_all();
    }

    fn unlisten(&self, stopped: Acknowledgement) {
        if !self.signals.drain.begun() {
            *self.unlistened.lock() = self.running.upgrade();
        }
        for acceptor in self.signals.accepting().drain(..) {
            // A thread that has ended has given its listener up.
            let _ = acceptor.send(AcceptCommand::Unlisten(stopped.clone()));
        }
    }

    fn listen(&self, listeners: Vec<Listener>, report: ListenReport) {
        let running = self.unlistened.lock().take();
        match running {
            Some(running) => report(self.accept_on(listeners, &running)),
            None => report(Ok(())), // it drains
        }
    }

    /// A thread has no loop that could stand still for others.
    fn ask(&self, _now: Instant) {}

    fn list(&self, _worker: usize, request: RowRequest) {
        self.signals.list(request);
    }

    fn heartbeat(&self, turned: &Acknowledgement) {
        self.signals.accepting().retain(|acceptor| acceptor.send(AcceptCommand::Heartbeat(turned.clone())).is_ok());
    }
}

/// What a thread that accepts needs.
struct BlockingAcceptor {
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    running: Arc<RunGuard>,
    commands: Receiver<AcceptCommand>,
}

impl BlockingAcceptor {
    /// Accepts connections and starts a thread for each, until the server drains or the listener is
    /// given up.
    fn run(self, listener: Listener) {
        let mut queue = AcceptQueue::new(listener, Arc::clone(&self.shared.room));
        loop {
            for command in self.commands.try_iter() {
                match command {
                    AcceptCommand::Heartbeat(turned) => drop(turned),
                    AcceptCommand::Unlisten(stopped) => {
                        let waiting = queue.unlisten();
                        drop(stopped);
                        return self.serve_rest(waiting);
                    }
                }
            }
            if self.signals.drain.begun() {
                return self.serve_rest(queue.take_backlog());
            }
            if queue.is_empty() {
                self.accept(&mut queue);
            }
            self.serve_waiting(queue.waiting());
            if !queue.is_empty() {
                self.shared.room.wait(BACK_OFF);
            }
        }
    }

    /// Accepts one connection, or waits for one.
    fn accept(&self, queue: &mut AcceptQueue) {
        match queue.listener().socket().accept() {
            Ok((socket, peer)) => queue.push(socket, endpoint(&peer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => queue.listener().wait(TICK),
            Err(error) => {
                if queue.must_wait(&error) {
                    self.shared.room.wait(BACK_OFF);
                }
            }
        }
    }

    /// Starts a thread for each connection that has a place.
    fn serve_waiting(&self, waiting: &mut WaitingConnections) {
        while let Some(accepted) = waiting.pop(PlaceRequest::Free) {
            let (for_thread, signals, running) =
                (Arc::clone(&self.shared), Arc::clone(&self.signals), Arc::clone(&self.running));
            let serve = move || {
                serve(accepted, &for_thread, &signals);
                let server = Arc::downgrade(&running);
                drop(running);
                if signals.drain.begun() {
                    sleep_until_server_ends(&server);
                }
            };
            if let Err(error) = spawn("resound-conn", Some(STACK), serve) {
                waiting.log_error(&error);
                self.shared.room.wait(BACK_OFF);
            }
        }
    }

    /// Serves what the listener had accepted that was given up.
    fn serve_rest(&self, mut waiting: WaitingConnections) {
        while !self.signals.drain.is_over(Instant::now()) {
            self.serve_waiting(&mut waiting);
            if waiting.is_empty() {
                return;
            }
            // The listener is given up already, and the loop turns.
            self.commands.try_iter().for_each(drop);
            self.shared.room.wait(BACK_OFF);
        }
        waiting.cut(&self.shared, &mut self.shared.recorder(0, Writers::Many));
    }
}

/// Keeps a thread that a drain has left without a connection until the server has ended. Threads
/// that end give their stacks back one at a time, and where there are thousands, those that still
/// serve would wait for the same locks.
fn sleep_until_server_ends(server: &Weak<RunGuard>) {
    while server.strong_count() > 0 {
        thread::sleep(END_POLL_INTERVAL);
    }
}

/// Serves one connection, and closes it.
fn serve(accepted: AcceptedConnection, shared: &Arc<Shared>, signals: &Signals) {
    let Some((socket, conn, permit)) = accepted.open(shared, None) else { return };
    let _ = socket.set_nonblocking(false); // some systems pass on the mode of the listener
    let mut context = conversation::context(shared.recorder(0, Writers::Many));
    converse(&socket, conn, &permit, &mut context, shared, signals);
    // The socket first: the next owner of the permit may need its descriptor.
    drop(socket);
    drop(permit);
}
