//! How other threads reach a worker: a queue, and an event counter that its ring looks at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use resound_proto::{ConnId, Endpoint};
use rustix::event::{EventfdFlags, eventfd};

use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::listener::Listener;
use crate::engine::socket::ResetOnDrop;

/// What reaches a worker from other threads.
pub(super) enum RingCommand {
    /// Accept here.
    Listen(Vec<Listener>),
    Serve(AcceptedSocket),
    Drain(Instant),
    /// Whenever the drain comes or came: be done by then.
    Hasten(Instant),
    Wake(ConnId),
    WakeAll,
    /// A place has become free.
    Room,
}

/// A connection between the accept loop and its worker.
pub(super) struct AcceptedSocket {
    pub(super) socket: ResetOnDrop,
    pub(super) peer: Endpoint,
    pub(super) local: Option<Endpoint>,
    pub(super) place: ConnectionPermit,
}

pub(super) struct Inbox {
    queue: Mutex<InboxQueue>,
    counter: OwnedFd,
}

#[derive(Default)]
struct InboxQueue {
    commands: Vec<RingCommand>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { queue: Mutex::default(), counter })
    }

    /// Says whether the worker will see it.
    pub(super) fn send(&self, command: RingCommand) -> bool {
        let mut queue = self.queue();
        if queue.closed {
            return false;
        }
        queue.commands.push(command);
        let first = queue.commands.len() == 1;
        drop(queue);
        if first {
            // It fails only where the counter is full, and a full one wakes as well.
            let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
        }
        true
    }

    /// What has come, in order.
    pub(super) fn take(&self) -> Vec<RingCommand> {
        let _ = rustix::io::read(&self.counter, &mut [0; 8]);
        std::mem::take(&mut self.queue().commands)
    }

    /// Nobody takes anything any more.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        let rest = std::mem::take(&mut queue.commands);
        drop(queue);
        drop(rest); // connections among them, perhaps, whose places others wait for
    }

    pub(super) fn counter(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }

    fn queue(&self) -> MutexGuard<'_, InboxQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
