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
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::accept::{AcceptError, BACK_OFF};
use super::accept_queue::{AcceptQueue, AcceptedConnection};
use super::listener::Listener;
use super::shared::{ConnectionOrigin, EngineControl, RunGuard, Shared};
use super::socket::endpoint;
use crate::error::Error;
use crate::metrics::Writers;

use self::blocking::TICK;
use self::control::{STACK, Signals, spawn};
use self::conversation::converse;

/// Prepares the engine. The returned function starts the threads that accept, or that dial.
pub(crate) fn prepare(
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    running: Arc<RunGuard>,
) -> (Arc<dyn EngineControl>, impl FnOnce() -> Result<(), Error>) {
    let signals = Arc::new(Signals::new());
    let control = Arc::clone(&signals);
    let start = move || {
        if listeners.is_empty() && matches!(shared.origin, ConnectionOrigin::Accept { .. }) {
            // Faults have closed them: the server goes on without a client.
            let (signals, running) = (Arc::clone(&signals), Arc::clone(&running));
            spawn("resound-closed", None, move || {
                let _running = running;
                while !signals.drain.begun() {
                    thread::sleep(TICK);
                }
            })
            .map_err(Error::Worker)?;
        }
        let accepting = listeners.into_iter().try_for_each(|listener| {
            let (shared, signals, running) = (Arc::clone(&shared), Arc::clone(&signals), Arc::clone(&running));
            listener.socket().set_nonblocking(true)?;
            spawn("resound-accept", None, move || accept(listener, &shared, &signals, &running))
        });
        let dialling = || match shared.origin {
            ConnectionOrigin::Accept { .. } | ConnectionOrigin::Relay { .. } => Ok(()),
            ConnectionOrigin::Dial(_) => dial::start(&shared, &signals, &running),
        };
        accepting.and_then(|()| dialling()).map_err(|error| {
            // The threads that run already must not go on without a handle.
            signals.drain.begin(Instant::now());
            Error::Worker(error)
        })
    };
    (control, start)
}

/// Accepts connections and starts a thread for each, until the server drains.
fn accept(listener: Listener, shared: &Arc<Shared>, signals: &Arc<Signals>, running: &Arc<RunGuard>) {
    let mut queue = AcceptQueue::new(listener, Arc::clone(&shared.room));
    loop {
        match queue.listener().socket().accept() {
            Ok((socket, peer)) => queue.push(socket, endpoint(&peer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !signals.drain.begun() => {
                queue.listener().wait(TICK);
            }
            // A drain serves the connections in the backlog first.
            Err(error) if signals.drain.begun() && AcceptError::of(&error) == AcceptError::BackOff => return,
            Err(error) => {
                if queue.must_wait(&error) {
                    shared.room.wait(BACK_OFF);
                }
            }
        }
        // Refused peers must not prolong a drain.
        if queue.is_empty() && signals.drain.is_over(Instant::now()) {
            return;
        }
        while !queue.is_empty() {
            let Some(accepted) = queue.pop() else {
                if signals.drain.is_over(Instant::now()) {
                    return;
                }
                shared.room.wait(BACK_OFF);
                continue;
            };
            let (for_thread, signals, running) = (Arc::clone(shared), Arc::clone(signals), Arc::clone(running));
            let serve = move || {
                let _running = running;
                serve(accepted, &for_thread, &signals);
            };
            if let Err(error) = spawn("resound-conn", Some(STACK), serve) {
                queue.log_error(&error);
                shared.room.wait(BACK_OFF);
            }
        }
    }
}

/// Serves one connection, and closes it.
fn serve(accepted: AcceptedConnection, shared: &Arc<Shared>, signals: &Signals) {
    // It waited for a permit until the drain was over: it is reset, as the backlog is.
    if signals.drain.is_over(Instant::now()) {
        return;
    }
    let Some((socket, conn, permit)) = accepted.open(shared, None) else { return };
    let _ = socket.set_nonblocking(false); // some systems pass on the mode of the listener
    let mut context = conversation::context(shared.recorder(0, Writers::Many));
    converse(&socket, conn, &mut context, shared, signals);
    // The socket first: the next owner of the permit may need its descriptor.
    drop(socket);
    drop(permit);
}
