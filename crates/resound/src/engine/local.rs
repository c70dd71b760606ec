//! [`WorkerLocal`]: what the services of one worker share, where they belong together in pairs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use resound_proto::{ConnId, ConnInfo, Service};

use super::dial_plan::DialPlan;

/// The most that one read brings to a relay from a peer that streams: less than the mark at which
/// the sender is paused, so the next read follows before these bytes have been sent. Otherwise both
/// peers fall asleep and are woken for each read, which costs more than the copying.
const MOST_READ: usize = 48 * 1024;

/// Tells a peer that streams from one that awaits an answer to each long message, which is best
/// read whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadStreak(u8);

impl ReadStreak {
    /// A read has brought `n` bytes.
    #[inline]
    pub(crate) fn read(&mut self, n: usize) {
        self.0 = if n >= MOST_READ { self.0.saturating_add(1) } else { 0 };
    }

    /// Bytes have been sent to the peer.
    pub(crate) fn sent(&mut self) {
        self.0 = 0;
    }

    /// The most that the next read is to bring.
    pub(crate) fn limit(self) -> usize {
        if self.0 >= 2 { MOST_READ } else { usize::MAX }
    }
}

/// Makes the service of a connection that was accepted, on the worker that drives it.
type LocalFactory = dyn Fn(&ConnInfo) -> Box<dyn Service>;

/// The part of a relay that one worker runs: it accepts and dials, and its connections wake each
/// other without a lock.
pub(crate) struct RelayWorker {
    pub(crate) plan: Box<dyn DialPlan>,
    pub(crate) factory: Rc<LocalFactory>,
    pub(crate) wakes: Rc<LocalWakes>,
}

/// What a worker keeps of its [`RelayWorker`].
#[derive(Clone)]
pub(crate) struct WorkerLocal {
    pub(crate) factory: Rc<LocalFactory>,
    pub(crate) wakes: Rc<LocalWakes>,
}

/// The connections of a worker that want [`Service::wake`], by services of the same worker.
#[derive(Default)]
pub(crate) struct LocalWakes {
    woken: RefCell<Vec<ConnId>>,
    /// The connection that sends what the message at hand has lent.
    lent_to: Cell<Option<ConnId>>,
    forwarded: Cell<bool>,
    /// The dial plan has something to dial.
    dials: Cell<bool>,
}

impl LocalWakes {
    /// Wakes a connection after the events that the worker is handling.
    pub(crate) fn wake(&self, conn: ConnId) {
        self.woken.borrow_mut().push(conn);
    }

    /// Lets a connection send the message that was lent in this call, and wakes it then.
    pub(crate) fn lend_to(&self, conn: ConnId) {
        self.lent_to.set(Some(conn));
    }

    /// Notes that the connection woken next has received what was lent to it.
    pub(crate) fn note_forwarded(&self) {
        self.forwarded.set(true);
    }

    /// Whether the connection at hand was woken after what was lent to it.
    pub(crate) fn take_forwarded(&self) -> bool {
        self.forwarded.take()
    }

    /// The connection for what was just lent.
    pub(crate) fn take_lent_to(&self) -> Option<ConnId> {
        self.lent_to.take()
    }

    /// Lets the worker ask its dial plan soon.
    pub(crate) fn dial(&self) {
        self.dials.set(true);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.dials.get() && self.woken.borrow().is_empty()
    }

    /// Passes on each connection that was woken so far. Those that are woken meanwhile are next.
    pub(crate) fn drain(&self, mut wake: impl FnMut(ConnId)) {
        let mut woken = self.woken.take();
        woken.drain(..).for_each(&mut wake);
        // The memory is used again, unless there is newer.
        let mut next = self.woken.borrow_mut();
        if next.is_empty() {
            *next = woken;
        }
    }

    /// Returns whether the dial plan is to be asked.
    pub(crate) fn take_dials(&self) -> bool {
        self.dials.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reads_in_a_row_are_a_stream_until_something_is_sent() {
        let mut streak = ReadStreak::default();
        streak.read(64 * 1024);
        assert_eq!(streak.limit(), usize::MAX);
        streak.read(64 * 1024);
        assert_eq!(streak.limit(), MOST_READ);
        streak.read(MOST_READ);
        assert_eq!(streak.limit(), MOST_READ);
        streak.sent();
        assert_eq!(streak.limit(), usize::MAX, "a long message has its answer");
        (0..300).for_each(|_| streak.read(MOST_READ));
        streak.read(MOST_READ - 1);
        assert_eq!(streak.limit(), usize::MAX, "the peer has no more");
    }
}
