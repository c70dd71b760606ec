//! [`SocketWatcher`]: the readiness of one worker's sockets.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::unix::AsyncFd;

use super::slots::Slots;
use crate::engine::sys::watch;

/// Events of one call.
const EVENTS: usize = 256;

/// The sockets of one worker, in an epoll instance (epoll(7)) that the runtime watches as one
/// descriptor.
///
/// What tokio keeps of a descriptor takes 256 bytes, aligned to 128; an entry here takes 32.
pub(super) struct SocketWatcher {
    epoll: AsyncFd<OwnedFd>,
    sockets: RefCell<Slots<SocketReadiness>>,
}

#[derive(Default)]
struct SocketReadiness {
    ready: ReadyBits,
    /// What wakes the task.
    awaited: ReadyBits,
    waker: Option<Waker>,
}

/// What a socket is ready for, as far as is known.
#[derive(Clone, Copy, Default)]
pub(super) struct ReadyBits(u8);

impl ReadyBits {
    const NONE: Self = Self(0);
    pub(super) const READ: Self = Self(1);
    pub(super) const WRITE: Self = Self(2);
    /// Urgent data has arrived.
    pub(super) const URGENT: Self = Self(4);
    /// The peer sends nothing more: a read returns at once, from now on.
    pub(super) const EOF: Self = Self(8);
    /// The connection has failed, such as by a reset.
    pub(super) const FAILED: Self = Self(16);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    fn of(flags: EventFlags) -> Self {
        let table = [
            (EventFlags::IN | EventFlags::PRI | EventFlags::HUP | EventFlags::RDHUP, Self::READ),
            (EventFlags::OUT | EventFlags::HUP | EventFlags::ERR, Self::WRITE),
            (EventFlags::PRI, Self::URGENT),
            (EventFlags::HUP | EventFlags::RDHUP, Self::EOF),
            (EventFlags::ERR, Self::FAILED),
        ];
        let found = table.into_iter().filter(|(any, _)| flags.intersects(*any));
        found.fold(Self::NONE, |ready, (_, more)| ready.and(more))
    }
}

impl SocketWatcher {
    pub(super) fn new() -> io::Result<Self> {
        Self::of(epoll::create(CreateFlags::CLOEXEC)?)
    }

    /// A watcher with this epoll instance.
    pub(super) fn of(epoll: OwnedFd) -> io::Result<Self> {
        Ok(Self { epoll: watch(epoll)?, sockets: RefCell::default() })
    }

    /// Watches a socket. It is to be removed before it is closed.
    pub(super) fn add(&self, socket: impl AsFd) -> io::Result<u32> {
        let slot = self.sockets.borrow_mut().insert(|_| SocketReadiness::default());
        // Each change is reported once.
        let changes = EventFlags::IN | EventFlags::OUT | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
        let added = epoll::add(self.epoll.get_ref(), socket, EventData::new_u64(slot.into()), changes);
        if added.is_err() {
            self.forget(slot);
        }
        Ok(added.map(|()| slot)?)
    }

    pub(super) fn remove(&self, socket: impl AsFd, slot: u32) {
        let _ = epoll::delete(self.epoll.get_ref(), socket);
        self.forget(slot);
    }

    fn forget(&self, slot: u32) {
        let mut sockets = self.sockets.borrow_mut();
        drop(sockets.take(slot));
        sockets.free(slot);
    }

    pub(super) fn ready(&self, slot: u32) -> ReadyBits {
        self.sockets.borrow_mut().get_mut(slot).map_or(ReadyBits::NONE, |socket| socket.ready)
    }

    /// Returns whether a socket is ready. Otherwise the task is woken once it is.
    pub(super) fn poll_ready(&self, slot: u32, wanted: ReadyBits, cx: &Context<'_>) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        let Some(socket) = sockets.get_mut(slot) else { return false };
        if socket.ready.has(wanted) {
            return true;
        }
        socket.awaited = socket.awaited.and(wanted);
        if !socket.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            socket.waker = Some(cx.waker().clone());
        }
        false
    }

    /// A call has shown that the socket is not ready any more.
    pub(super) fn clear(&self, slot: u32, ready: ReadyBits) {
        if let Some(socket) = self.sockets.borrow_mut().get_mut(slot) {
            socket.ready = ReadyBits(socket.ready.0 & !ready.0);
        }
    }

    /// Wakes the tasks whose sockets are ready.
    pub(super) async fn run(self: Rc<Self>) {
        let mut events = Vec::with_capacity(EVENTS);
        while poll_fn(|cx| self.take_events(cx, &mut events)).await.is_ok() {
            let mut sockets = self.sockets.borrow_mut();
            for event in events.drain(..) {
                // Nothing, if it was removed meanwhile.
                if let Some(socket) = sockets.get_mut(event.data.u64() as u32) {
                    socket.report(event.flags);
                }
            }
        }
    }

    fn take_events(&self, cx: &mut Context<'_>, events: &mut Vec<Event>) -> Poll<io::Result<()>> {
        let mut any = ready!(self.epoll.poll_read_ready(cx))?;
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(self.epoll.get_ref(), spare_capacity(events), Some(&at_once)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()).into(),
            Ok(count) if count < EVENTS => any.clear_ready(),
            // There may be more.
            Ok(_) | Err(_) => any.retain_ready(),
        }
        Ok(()).into()
    }
}

impl SocketReadiness {
    fn report(&mut self, flags: EventFlags) {
        let news = ReadyBits::of(flags);
        self.ready = self.ready.and(news);
        if news.has(self.awaited) {
            self.awaited = ReadyBits::NONE;
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_takes_little_memory() {
        assert_eq!(size_of::<Option<SocketReadiness>>(), 32);
    }

    #[test]
    fn readiness_follows_epoll() {
        let [read, write, eof, failed] =
            [ReadyBits::READ, ReadyBits::WRITE, ReadyBits::EOF, ReadyBits::FAILED].map(|bits| bits.0);
        for (flags, want) in [
            (EventFlags::IN, read),
            (EventFlags::OUT, write),
            (EventFlags::IN | EventFlags::PRI, read | ReadyBits::URGENT.0),
            (EventFlags::IN | EventFlags::RDHUP, read | eof),
            // A reset.
            (EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR, read | write | eof | failed),
            // A connect that was refused.
            (EventFlags::OUT | EventFlags::ERR | EventFlags::HUP, read | write | eof | failed),
        ] {
            assert_eq!(ReadyBits::of(flags).0, want, "{flags:?}");
        }
    }
}
