//! [`RelayConnections`]: the pairs of a relay that are open, to be listed from any thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_proto::{ConnId, ConnInfo, Endpoint};

/// The open pairs of a relay, which [`Relay::track`](super::Relay::track) fills. Clones are of the
/// same relay.
#[derive(Clone, Default)]
pub struct RelayConnections(Arc<Mutex<BTreeMap<u64, Arc<PairCounts>>>>);

/// A pair that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenPair {
    /// The client's connection.
    pub conn: ConnId,
    /// The client.
    pub peer: Endpoint,
    /// The address that was connected to; `None` while none has answered.
    pub target: Option<Endpoint>,
    /// Since the client's arrival.
    pub lasted: Duration,
    /// Bytes that were passed on from the client to the target.
    pub up: u64,
    /// Bytes that were passed on from the target to the client.
    pub down: u64,
}

/// What the worker of a pair shows of it.
struct PairCounts {
    peer: Endpoint,
    target: OnceLock<Endpoint>,
    since: Instant,
    up: AtomicU64,
    down: AtomicU64,
}

/// The row of a pair. The row leaves the table with it.
pub(super) struct PairRow {
    table: RelayConnections,
    number: u64,
    counts: Arc<PairCounts>,
}

impl RelayConnections {
    /// The pairs with the lowest numbers, `most` at most, and how many there are in all.
    #[must_use]
    pub fn list(&self, most: usize) -> (Vec<OpenPair>, usize) {
        let (rows, all) = {
            let rows = self.0.lock();
            let first = rows.iter().take(most).map(|(number, counts)| (*number, Arc::clone(counts)));
            (first.collect::<Vec<_>>(), rows.len())
        };
        let open = |(number, counts): (u64, Arc<PairCounts>)| OpenPair {
            conn: ConnId(number),
            peer: counts.peer.clone(),
            target: counts.target.get().cloned(),
            lasted: counts.since.elapsed(),
            up: counts.up.load(Relaxed),
            down: counts.down.load(Relaxed),
        };
        (rows.into_iter().map(open).collect(), all)
    }

    pub(super) fn enter(&self, client: &ConnInfo, since: Instant) -> PairRow {
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let counts = PairCounts { peer: client.peer.clone(), target: OnceLock::new(), since, up, down };
        let (number, counts) = (client.id.0, Arc::new(counts));
        self.0.lock().insert(number, Arc::clone(&counts));
        PairRow { table: self.clone(), number, counts }
    }
}

impl PairRow {
    pub(super) fn answered(&self, target: &Endpoint) {
        let _ = self.counts.target.set(target.clone());
    }

    pub(super) fn counted(&self, up: u64, down: u64) {
        self.counts.up.store(up, Relaxed);
        self.counts.down.store(down, Relaxed);
    }

    /// The pair is over.
    pub(super) fn leave(&self) {
        self.table.0.lock().remove(&self.number);
    }
}

impl Drop for PairRow {
    fn drop(&mut self) {
        self.leave();
    }
}
