//! Room for connections: who may come in, the cap, and who waits for a place.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use resound_proto::{Endpoint, Handshake, Refusal};
use tokio::sync::Notify;

use super::access::{AccessControl, Admission, SourceIndex, SourcePermit};
use crate::metrics::REFUSALS;

/// Counts live connections against the most that there may be, and per worker.
pub(crate) struct ConnectionLimit {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
    freed_async: Notify,
    per_worker: Vec<AtomicUsize>,
    /// `None`: everybody may come in.
    gate: Option<AccessControl>,
}

impl ConnectionLimit {
    pub(crate) fn new(most: usize, workers: usize, gate: Option<AccessControl>) -> Self {
        Self {
            most,
            taken: Mutex::new(0),
            freed: Condvar::new(),
            freed_async: Notify::new(),
            per_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            gate,
        }
    }

    /// May this peer come in? Asked right after it was accepted. One that may not has been counted, and is left
    /// [`ResetOnDrop`](super::socket::ResetOnDrop).
    pub(crate) fn admit(self: &Arc<Self>, peer: &Endpoint) -> Option<Candidate> {
        let seat = self.gate.as_ref().map_or_else(|| Some(SourcePermit::default()), |gate| gate.admit(peer))?;
        Some(Candidate { room: Arc::clone(self), seat })
    }

    /// May this client come in, whom a PROXY header has named? The seat is its connection's.
    pub(crate) fn admit_client(&self, client: &Endpoint, seat: SourceIndex) -> Result<(), Refusal> {
        self.gate.as_ref().map_or(Ok(()), |gate| gate.admit_client(client, seat))
    }

    fn leave(&self, seat: &mut SourcePermit) {
        if let Some(gate) = &self.gate {
            gate.leave(std::mem::take(seat));
        }
    }

    /// How many might not.
    pub(crate) fn refused(&self) -> [u64; REFUSALS] {
        self.gate.as_ref().map(AccessControl::refused).unwrap_or_default()
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places that are free.
    #[cfg(target_os = "linux")]
    pub(crate) fn left(&self) -> usize {
        self.most.saturating_sub(self.taken())
    }

    /// Live connections of each worker.
    pub(crate) fn per_worker(&self) -> Vec<usize> {
        self.per_worker.iter().map(|live| live.load(Relaxed)).collect()
    }

    /// A place on the worker that has the fewest connections; `None` when full.
    pub(crate) fn take(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        drop(taken);
        let live = |&worker: &usize| self.per_worker[worker].load(Relaxed);
        let worker = (0..self.per_worker.len()).min_by_key(live).unwrap_or(0);
        self.per_worker[worker].fetch_add(1, Relaxed);
        Some(ConnectionPermit { room: Arc::clone(self), worker: worker as u32, seat: SourcePermit::default() })
    }

    /// A place on this worker, whose connections the cap is not for.
    pub(crate) fn take_on(self: &Arc<Self>, worker: usize) -> ConnectionPermit {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.per_worker[worker].fetch_add(1, Relaxed);
        ConnectionPermit { room: Arc::clone(self), worker: worker as u32, seat: SourcePermit::default() }
    }

    /// Returns once a place may have become free, or `patience` is over.
    pub(crate) fn wait(&self, patience: Duration) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_timeout(taken, patience));
    }

    /// As [`ConnectionLimit::wait`], for tasks.
    pub(crate) async fn freed(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.freed_async.notified()).await;
    }
}

/// A connection that may come in, and has no place yet.
pub(crate) struct Candidate {
    room: Arc<ConnectionLimit>,
    seat: SourcePermit,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.room.leave(&mut self.seat);
    }
}

/// One connection's place; free again when dropped. Small, since each connection has one.
pub(crate) struct ConnectionPermit {
    room: Arc<ConnectionLimit>,
    worker: u32,
    seat: SourcePermit,
}

impl ConnectionPermit {
    /// For this connection.
    pub(crate) fn of(mut self, mut entrant: Candidate) -> Self {
        self.seat = std::mem::take(&mut entrant.seat);
        self
    }

    /// Lets this connection's client in once a header has named it, where it is the client that the rules concern.
    pub(crate) fn admits(&self, opening: Handshake) -> Handshake {
        if !self.room.gate.as_ref().is_some_and(AccessControl::is_behind_proxies) {
            return opening;
        }
        opening.preceded(|preface| Admission::new(preface, Arc::clone(&self.room), self.seat.number()))
    }

    /// The worker it was found on.
    pub(crate) fn worker(&self) -> usize {
        self.worker as usize
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        // First: whoever gets the place may be of the same source.
        self.room.leave(&mut self.seat);
        self.room.per_worker[self.worker()].fetch_sub(1, Relaxed);
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.room.freed.notify_all();
        self.room.freed_async.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_and_come_back() {
        let room = Arc::new(ConnectionLimit::new(6, 3, None));
        let mut places: Vec<_> = (0..6).map(|_| room.take().unwrap()).collect();
        assert_eq!(room.per_worker(), [2, 2, 2]);
        assert!(room.take().is_none());
        let freed = places.remove(1).worker();
        assert_eq!(room.take().unwrap().worker(), freed);
        drop(places);
        assert_eq!((room.taken(), room.per_worker()), (0, vec![0, 0, 0]));
    }
}
