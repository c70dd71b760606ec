//! [`ConnectionLimit`]: how many connections there may be at once, and one [`ConnectionPermit`] for
//! each.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use resound_proto::{Endpoint, Handshake};
use tokio::sync::Notify;

use super::access::{Access, AccessControl};
use crate::metrics::REFUSALS;

/// Counts live connections against the limit, and per worker.
pub(crate) struct ConnectionLimit {
    most: AtomicUsize,
    taken: Mutex<usize>,
    freed: Condvar,
    freed_async: Notify,
    per_worker: Vec<AtomicUsize>,
    /// Permits that exist, with a place or without.
    permits: AtomicUsize,
    /// The last permit was dropped.
    unused: Notify,
    /// Unset: every peer may connect, and always could.
    access: OnceLock<Arc<AccessControl>>,
}

impl ConnectionLimit {
    pub(crate) fn new(most: usize, workers: usize, access: Option<AccessControl>) -> Self {
        Self {
            most: AtomicUsize::new(most),
            taken: Mutex::new(0),
            freed: Condvar::new(),
            freed_async: Notify::new(),
            per_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            permits: AtomicUsize::new(0),
            unused: Notify::new(),
            access: access.map(|access| OnceLock::from(Arc::new(access))).unwrap_or_default(),
        }
    }

    /// Admits a connection right after it was accepted. It has no place yet: see
    /// [`ConnectionPermit::take_place`]. `None`: the refusal has been counted, and the socket is
    /// left [`ResetOnDrop`](super::socket::ResetOnDrop).
    pub(crate) fn admit(self: &Arc<Self>, listener: u16, peer: &Endpoint, now: Instant) -> Option<ConnectionPermit> {
        let slot = self.access.get().map_or(Some(0), |access| access.admit(listener, peer, now))?;
        Some(self.permit(listener, ConnectionPermit::NO_WORKER, slot))
    }

    /// A place on this worker for a connection that was dialled: it counts for the worker, and the
    /// limit does not concern it.
    pub(crate) fn take_on(self: &Arc<Self>, worker: usize) -> ConnectionPermit {
        self.per_worker[worker].fetch_add(1, Relaxed);
        self.permit(ConnectionPermit::DIALLED, worker as u32 & ConnectionPermit::NO_WORKER, 0)
    }

    fn permit(self: &Arc<Self>, listener: u16, worker: u32, slot: u32) -> ConnectionPermit {
        self.permits.fetch_add(1, Relaxed);
        let place = u32::from(listener) << ConnectionPermit::LISTENER | worker;
        ConnectionPermit { limit: Arc::clone(self), place, slot }
    }

    /// Returns once no connection is left: none is open, and none waits for a place.
    pub(crate) async fn unused(&self) {
        loop {
            let unused = self.unused.notified();
            tokio::pin!(unused);
            // Registered before the check: the last permit may be dropped between the two.
            unused.as_mut().enable();
            if self.permits.load(Acquire) == 0 {
                return;
            }
            unused.await;
        }
    }

    /// How many connections of a listener were refused, by [`Refusal`](resound_proto::Refusal).
    pub(crate) fn refused(&self, listener: u16) -> [u64; REFUSALS] {
        self.access.get().map(|access| access.refused(listener)).unwrap_or_default()
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    /// Sets how many connections there may be. More stay until they end by themselves.
    pub(crate) fn set_most(&self, most: usize) {
        let taken = self.taken.lock();
        self.most.store(most, Relaxed);
        drop(taken);
        self.freed.notify_all();
        self.freed_async.notify_waiters();
    }

    /// Sets which peers may connect from now on.
    pub(crate) fn set_access(&self, access: Access, listeners: usize, has_handshake: bool, now: Instant) {
        let mut rules = Some(access);
        let control = self.access.get_or_init(|| {
            Arc::new(AccessControl::of(rules.take().unwrap_or_default(), listeners, has_handshake, now))
        });
        rules.into_iter().for_each(|access| control.replace(access, now));
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.lock()
    }

    /// Free places.
    pub(crate) fn left(&self) -> usize {
        self.most().saturating_sub(self.taken())
    }

    /// Live connections of each worker.
    pub(crate) fn per_worker(&self) -> Vec<usize> {
        self.per_worker.iter().map(|live| live.load(Relaxed)).collect()
    }

    /// Returns once a place may have become free, or after `limit`.
    pub(crate) fn wait(&self, limit: Duration) {
        self.freed.wait_for(&mut self.taken.lock(), limit);
    }

    /// As [`ConnectionLimit::wait`], for tasks.
    pub(crate) async fn freed(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.freed_async.notified()).await;
    }
}

/// The place that a connection may take.
#[derive(Clone, Copy)]
pub(crate) enum PlaceRequest {
    /// A free one, on the worker with the fewest connections.
    Free,
    /// At a drain: a free one on this worker, for the others may have ended.
    FreeOn(usize),
}

/// One connection's permit: its count for its source, and its place on a worker. Dropping it gives
/// both back. Each connection keeps one, so it is small.
pub(crate) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    /// The number of the listener, and after it that of the worker.
    place: u32,
    /// In the table of sources; 0 where sources are not counted.
    slot: u32,
}

impl ConnectionPermit {
    /// Where the number of the listener begins.
    const LISTENER: u32 = 20;
    /// All bits of the worker's number: none yet.
    const NO_WORKER: u32 = (1 << Self::LISTENER) - 1;
    /// In place of a listener: the connection was dialled, and does not count against the limit.
    pub(crate) const DIALLED: u16 = (1 << (32 - Self::LISTENER)) - 1;

    /// Takes a place, unless the permit has one; `false` at the limit.
    pub(crate) fn take_place(&mut self, request: PlaceRequest) -> bool {
        if self.has_worker() {
            return true;
        }
        let mut taken = self.limit.taken.lock();
        if *taken >= self.limit.most() {
            return false;
        }
        *taken += 1;
        drop(taken);
        let per_worker = &self.limit.per_worker;
        let worker = match request {
            PlaceRequest::FreeOn(worker) => worker,
            PlaceRequest::Free => {
                (0..per_worker.len()).min_by_key(|&worker| per_worker[worker].load(Relaxed)).unwrap_or(0)
            }
        };
        per_worker[worker].fetch_add(1, Relaxed);
        self.place = self.place & !Self::NO_WORKER | worker as u32;
        true
    }

    /// Behind proxies the rules concern the client, so the handshake applies them once a header has
    /// named it.
    pub(crate) fn admission(&self, handshake: Handshake) -> Handshake {
        let Some(access) = self.limit.access.get().filter(|access| access.behind_proxies) else {
            return handshake;
        };
        let (access, listener, slot) = (Arc::clone(access), self.listener(), self.slot);
        handshake.admission(move |conn, now| access.admit_client(listener, conn, slot, now))
    }

    fn has_worker(&self) -> bool {
        self.place & Self::NO_WORKER != Self::NO_WORKER
    }

    fn give_back_place(&self) {
        if !self.has_worker() {
            return;
        }
        self.limit.per_worker[self.worker()].fetch_sub(1, Relaxed);
        if self.listener() == Self::DIALLED {
            return;
        }
        *self.limit.taken.lock() -= 1;
        self.limit.freed.notify_all();
        self.limit.freed_async.notify_one();
    }

    /// The worker with this connection's place.
    pub(crate) fn worker(&self) -> usize {
        (self.place & Self::NO_WORKER) as usize
    }

    /// The number of the listener, or [`ConnectionPermit::DIALLED`].
    pub(crate) fn listener(&self) -> u16 {
        (self.place >> Self::LISTENER) as u16
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        // First: the connection that waits for the place may have the same source.
        if let Some(access) = self.limit.access.get().filter(|_| self.slot != 0) {
            access.release(self.slot);
        }
        self.give_back_place();
        if self.limit.permits.fetch_sub(1, AcqRel) == 1 {
            self.limit.unused.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_workers_and_given_back() {
        let limit = Arc::new(ConnectionLimit::new(6, 3, None));
        let place = || {
            let mut permit = limit.admit(3, &Endpoint::Unix(None), Instant::now())?;
            permit.take_place(PlaceRequest::Free).then_some(permit)
        };
        let mut permits: Vec<_> = (0..6).map(|_| place().unwrap()).collect();
        assert_eq!(limit.per_worker(), [2, 2, 2]);
        assert!(place().is_none());
        let mut last = limit.admit(3, &Endpoint::Unix(None), Instant::now()).unwrap();
        assert!(!last.take_place(PlaceRequest::FreeOn(0)));
        assert!(permits.iter().all(|permit| permit.listener() == 3));
        let freed = permits.remove(1).worker();
        assert_eq!(place().unwrap().worker(), freed);
        assert!(last.take_place(PlaceRequest::FreeOn(0)), "although another has fewer");
        assert_eq!(last.worker(), 0);
        drop(last);
        drop(permits);
        assert_eq!((limit.taken(), limit.per_worker()), (0, vec![0, 0, 0]));
    }

    #[test]
    fn a_dialled_connection_counts_for_its_worker_and_not_against_the_limit() {
        let limit = Arc::new(ConnectionLimit::new(1, 2, None));
        let dialled = limit.take_on(1);
        assert_eq!((dialled.worker(), limit.taken(), limit.per_worker()), (1, 0, vec![0, 1]));
        let mut accepted = limit.admit(3, &Endpoint::Unix(None), Instant::now()).unwrap();
        assert!(accepted.take_place(PlaceRequest::FreeOn(0)));
        drop(dialled);
        assert_eq!((limit.taken(), limit.per_worker()), (1, vec![1, 0]));
    }

    #[test]
    fn a_permit_takes_sixteen_bytes_of_each_connection() {
        assert_eq!(size_of::<ConnectionPermit>(), size_of::<usize>() + 8);
    }
}
