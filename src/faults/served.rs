//! [`SeenConnections`]: the observer of a server with faults.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound::faults::FaultEvent;
use resound::{Closed, ConnInfo, Observer};
use resound_console::{Console, closed_json, fault_json, opened_json};

use super::{EventLog, FaultSetter, ListedConnection, OpenConnections};

thread_local! {
    /// The console of this worker. A fault is printed in its lane, after the events before it.
    static OF_WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Shows what happens to the connections of a server: the console, and where a test controls the
/// server, its log and the table of what is open.
pub(crate) struct SeenConnections {
    console: Console,
    log: Option<Arc<EventLog>>,
    table: ConnectionTable,
    /// Those of this worker.
    own: HashMap<u64, Arc<OpenConnection>>,
}

/// The open connections, of all workers.
#[derive(Clone, Default)]
struct ConnectionTable(Arc<Mutex<BTreeMap<u64, Arc<OpenConnection>>>>);

struct OpenConnection {
    peer: String,
    since: Instant,
    up: AtomicU64,
    down: AtomicU64,
}

impl SeenConnections {
    pub(crate) fn new(console: &Console, setter: &FaultSetter) -> Self {
        let (console, log) = (console.clone(), setter.log.clone());
        Self { console, log, table: ConnectionTable::default(), own: HashMap::new() }
    }

    /// The observer of a worker, made on its thread.
    pub(crate) fn of_worker(&self, worker: usize) -> Self {
        OF_WORKER.set(worker);
        let (log, table) = (self.log.clone(), self.table.clone());
        Self { console: self.console.of_worker(worker), log, table, own: HashMap::new() }
    }

    /// What receives the faults that are injected.
    pub(crate) fn of_faults(
        &self,
        setter: &FaultSetter,
    ) -> impl Fn(&ConnInfo, &FaultEvent) + Send + Sync + 'static + use<> {
        let (console, FaultSetter { record, log, counts, .. }) = (self.console.clone(), setter.clone());
        move |conn, event| {
            counts.note(event.kind);
            record.iter().for_each(|record| record.event(event));
            log.iter().for_each(|log| log.append(conn.id.0, fault_json(conn, event)));
            console.of_worker(OF_WORKER.get()).fault(conn, event);
        }
    }

    pub(crate) fn open(&self) -> OpenConnections {
        let table = self.table.clone();
        Arc::new(move |most| {
            let rows = table.0.lock();
            (rows.iter().take(most).map(|(conn, row)| row.listed(*conn)).collect(), rows.len())
        })
    }
}

impl OpenConnection {
    fn listed(&self, conn: u64) -> ListedConnection {
        ListedConnection {
            conn,
            peer: self.peer.clone(),
            target: None,
            seconds: self.since.elapsed().as_secs_f64(),
            up: self.up.load(Relaxed),
            down: self.down.load(Relaxed),
        }
    }
}

impl Observer for SeenConnections {
    fn opened(&mut self, conn: &ConnInfo) {
        if let Some(log) = &self.log {
            let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
            let row = Arc::new(OpenConnection { peer: conn.peer.to_string(), since: Instant::now(), up, down });
            self.table.0.lock().insert(conn.id.0, Arc::clone(&row));
            self.own.insert(conn.id.0, row);
            log.append(conn.id.0, opened_json(conn));
        }
        self.console.opened(conn);
    }

    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        if let Some(row) = self.own.get(&conn.id.0) {
            row.up.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        self.console.message(conn, message);
    }

    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        self.console.unterminated(conn, pause);
    }

    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        if let Some(row) = self.own.get(&conn.id.0) {
            row.down.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        if let Some(log) = &self.log {
            self.own.remove(&conn.id.0);
            self.table.0.lock().remove(&conn.id.0);
            log.append(conn.id.0, closed_json(conn, how));
        }
        self.console.closed(conn, how);
    }

    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        self.console.unopened(conn, how);
    }
}
