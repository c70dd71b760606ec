//! [`Inspector`]: looks into a running server or dialer, for metrics and health checks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use resound_proto::Endpoint;
use tokio::sync::oneshot;

use super::Engine;
use super::heartbeat::WorkerHeartbeat;
use super::rows::{RowBatch, RowRequest};
use super::shared::{EngineControl, Latch, Shared};
use crate::metrics::{HandshakeTimes, Totals};

/// Reads the state of a running server or dialer, from any thread. It reads counters that the
/// workers keep anyway, and queries workers only when it is called. Unlike a
/// [`Handle`](super::Handle), it stops nothing when it is dropped.
#[derive(Clone)]
pub struct Inspector {
    pub(super) control: Arc<dyn EngineControl>,
    pub(super) shared: Arc<Shared>,
    pub(super) latch: Arc<Latch>,
    pub(super) addresses: Arc<[Endpoint]>,
    pub(super) engine: Engine,
}

impl Inspector {
    /// The engine in use.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The addresses of a server's listeners; none of a dialer.
    #[must_use]
    pub fn addresses(&self) -> &[Endpoint] {
        &self.addresses
    }

    /// The number of workers. All threads of the threads engine count as one.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.engine == Engine::Threads { 1 } else { self.shared.counters.len() }
    }

    /// Whether a drain was asked for, or a worker has failed: it ends.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.drains.load(Relaxed) || self.latch.is_open()
    }

    /// The counts of a listener, over all workers. Its number is its place in
    /// [`Inspector::addresses`].
    #[must_use]
    pub fn totals_of_listener(&self, listener: usize) -> Totals {
        if listener + 1 < self.shared.slots() { self.shared.totals_of(listener) } else { Totals::default() }
    }

    /// The counts of the connections that were dialled, over all workers: those of a dialer, and
    /// those of a relay to its targets.
    #[must_use]
    pub fn totals_dialled(&self) -> Totals {
        self.shared.totals_of(self.shared.slots() - 1)
    }

    /// The counts of a worker: of a listener, or of the connections that it has dialled. A refused
    /// connection has no worker.
    #[must_use]
    pub fn totals_of_worker(&self, worker: usize, listener: Option<usize>) -> Totals {
        let dialled = self.shared.slots() - 1;
        match listener {
            Some(listener) if listener >= dialled => Totals::default(),
            slot => self.counters_of(worker).map(|counters| counters[slot.unwrap_or(dialled)].read()).sum(),
        }
    }

    /// How long the handshakes of a listener's connections have taken, or of those that were
    /// dialled.
    #[must_use]
    pub fn handshakes(&self, listener: Option<usize>) -> HandshakeTimes {
        let dialled = self.shared.slots() - 1;
        match listener {
            Some(listener) if listener >= dialled => HandshakeTimes::default(),
            slot => self.shared.counters.iter().map(|counters| counters[slot.unwrap_or(dialled)].handshakes()).sum(),
        }
    }

    fn counters_of(&self, worker: usize) -> impl Iterator<Item = &Arc<[crate::metrics::Counters]>> {
        let all = self.engine == Engine::Threads;
        let of_worker = self.shared.counters.iter().enumerate();
        of_worker.filter(move |(at, _)| all || *at == worker).map(|(_, counters)| counters)
    }

    /// Sends a heartbeat request to each worker that has answered the previous one.
    /// [`Inspector::heartbeats`] has the answers.
    pub fn ask(&self) {
        self.control.ask(Instant::now());
    }

    /// What the workers have answered; nothing of the threads engine, which has no loops, and
    /// nothing after the end.
    #[must_use]
    pub fn heartbeats(&self) -> Vec<WorkerHeartbeat> {
        match self.engine {
            Engine::Threads => Vec::new(),
            _ if self.latch.is_open() => Vec::new(),
            _ => self.shared.heartbeats.iter().map(super::heartbeat::Heartbeat::read).collect(),
        }
    }

    /// Asks a worker for some of its connections: begin with 0, and go on with [`RowBatch::next`]
    /// until there is none. Between two batches the worker serves its connections, so those that
    /// begin or end meanwhile may be missing. A worker that has ended has none.
    pub async fn connections(&self, worker: usize, from: u64) -> RowBatch {
        let (reply, batch) = oneshot::channel();
        self.control.list(worker, RowRequest { from, reply });
        batch.await.unwrap_or_default()
    }
}
