//! Room for connections: the cap, and who waits for a place.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts live connections against the most that there may be, and per worker.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
    freed_async: Notify,
    per_worker: Vec<AtomicUsize>,
}

impl Room {
    pub(crate) fn new(most: usize, workers: usize) -> Self {
        Self {
            most,
            taken: Mutex::new(0),
            freed: Condvar::new(),
            freed_async: Notify::new(),
            per_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        }
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
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        drop(taken);
        let live = |&worker: &usize| self.per_worker[worker].load(Relaxed);
        let worker = (0..self.per_worker.len()).min_by_key(live).unwrap_or(0);
        self.per_worker[worker].fetch_add(1, Relaxed);
        Some(Place { room: Arc::clone(self), worker })
    }

    /// A place on this worker, whose connections the cap is not for.
    pub(crate) fn take_on(self: &Arc<Self>, worker: usize) -> Place {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.per_worker[worker].fetch_add(1, Relaxed);
        Place { room: Arc::clone(self), worker }
    }

    /// Returns once a place may have become free, or `patience` is over.
    pub(crate) fn wait(&self, patience: Duration) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_timeout(taken, patience));
    }

    /// As [`Room::wait`], for tasks.
    pub(crate) async fn freed(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.freed_async.notified()).await;
    }
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    worker: usize,
}

impl Place {
    /// The worker it was found on.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.per_worker[self.worker].fetch_sub(1, Relaxed);
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
        let room = Arc::new(Room::new(6, 3));
        let mut places: Vec<_> = (0..6).map(|_| room.take().unwrap()).collect();
        assert_eq!(room.per_worker(), [2, 2, 2]);
        assert!(room.take().is_none());
        let freed = places.remove(1).worker();
        assert_eq!(room.take().unwrap().worker(), freed);
        drop(places);
        assert_eq!((room.taken(), room.per_worker()), (0, vec![0, 0, 0]));
    }
}
