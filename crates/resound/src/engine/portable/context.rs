//! What the tasks of one worker share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use resound_proto::ConnId;
use socket2::SockRef;
use tokio::sync::Notify;

#[cfg(target_os = "linux")]
use super::clock::Clock;
use super::lending::Lending;
use super::task_set::{TaskHandle, TaskSet, TaskSignals};
use super::watched::SocketWatcher;
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::driver::{Driver, DriverContext};
use crate::engine::local::WorkerLocal;
use crate::engine::recorder::Recorder;
use crate::engine::rows::{ConnectionRow, ROWS, RowBatch, RowRequest};
use crate::engine::shared::Shared;

/// One read: large enough for bulk to move at full rate, and one per worker.
pub(super) const WIRE: usize = 64 * 1024;
/// Memory that a long answer may leave behind in the worker's output buffer.
const OUT_KEPT: usize = 1024 * 1024;

/// One worker, as its tasks see it.
pub(super) struct PortableWorker {
    pub(super) shared: Arc<Shared>,
    pub(super) task_context: RefCell<TaskContext>,
    pub(super) watcher: Rc<SocketWatcher>,
    tasks: TaskSet,
    /// The task of each connection.
    connections: RefCell<HashMap<ConnId, Arc<TaskHandle>>>,
    index: usize,
    /// A connection has ended: for the worker.
    pub(super) ended: Notify,
    /// A connection has ended: for the dialling task.
    pub(super) ended_for_dials: Notify,
    /// Only a dialer has one.
    #[cfg(target_os = "linux")]
    pub(super) clock: Option<Clock>,
    /// Only the worker of a relay has it.
    pub(super) local: Option<WorkerLocal>,
    /// What the connections of a relay lend to their partners.
    pub(super) lending: Lending,
    /// The dial plan of a relay has something to dial.
    pub(super) dial_asked: Notify,
    /// When a connection last had something to do.
    active: Cell<Instant>,
    /// Wakes the task that polls for events.
    woke_up: Notify,
    /// The connections that have been described for the request under way.
    rows: RefCell<Vec<ConnectionRow>>,
    /// Counts signals to any connection: while it stands still, no task needs to look at its own.
    pub(super) signals: Cell<u64>,
}

/// What one task at a time uses.
pub(super) struct TaskContext {
    /// The buffer that connections read into.
    pub(super) wire: Box<[u8]>,
    pub(super) driver: DriverContext,
}

/// Its service is to be called.
pub(super) const WOKEN: TaskSignals = TaskSignals(1);
pub(super) const DRAINING: TaskSignals = TaskSignals(2);
/// The time of a drain is over.
pub(super) const CUT: TaskSignals = TaskSignals(4);
/// It is to be described.
pub(super) const DESCRIBED: TaskSignals = TaskSignals(8);

/// Drops the tasks of a worker, which own the worker.
struct ClearedTasks<'a>(&'a TaskSet);

impl Drop for ClearedTasks<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl PortableWorker {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        recorder: Recorder,
        local: Option<WorkerLocal>,
        watcher: SocketWatcher,
        #[cfg(target_os = "linux")] clock: Option<Clock>,
    ) -> Self {
        Self {
            task_context: RefCell::new(TaskContext {
                wire: vec![0; WIRE].into(),
                driver: DriverContext::new(recorder, OUT_KEPT),
            }),
            watcher: Rc::new(watcher),
            tasks: TaskSet::default(),
            connections: RefCell::default(),
            index,
            ended: Notify::new(),
            ended_for_dials: Notify::new(),
            #[cfg(target_os = "linux")]
            clock,
            local,
            lending: Lending::default(),
            dial_asked: Notify::new(),
            active: Cell::new(Instant::now()),
            woke_up: Notify::new(),
            rows: RefCell::default(),
            signals: Cell::new(1),
            shared,
        }
    }

    /// A permit for a connection that was dialled here.
    pub(super) fn permit(&self) -> ConnectionPermit {
        self.shared.room.take_on(self.index)
    }

    pub(super) fn has_connections(&self) -> bool {
        !self.connections.borrow().is_empty()
    }

    /// Starts the task of a connection, which `make` returns for its handle.
    pub(super) fn start<F>(&self, conn: ConnId, make: impl FnOnce(Arc<TaskHandle>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.tasks.spawn(|handle| {
            self.connections.borrow_mut().insert(conn, Arc::clone(handle));
            make(Arc::clone(handle))
        });
    }

    /// Runs the tasks of the connections. Where this ends, they end.
    pub(super) async fn run_tasks(self: Rc<Self>) {
        let _ends = ClearedTasks(&self.tasks);
        // Each connection has a budget of its own.
        tokio::task::unconstrained(self.tasks.run()).await;
    }

    pub(super) fn remove(&self, conn: ConnId) {
        self.connections.borrow_mut().remove(&conn);
        self.lending.take(conn).into_iter().for_each(|part| self.lending.give_back(part));
        self.ended.notify_one();
        self.ended_for_dials.notify_one();
    }

    /// A connection has something to do.
    pub(super) fn note_activity(&self, now: Instant) {
        if !self.shared.busy_poll.is_zero() {
            self.active.set(now);
            self.woke_up.notify_one();
        }
    }

    /// Keeps the worker from sleeping for a while after each activity: in each turn of this task
    /// the runtime polls for events.
    pub(super) async fn busy_poll(self: Rc<Self>) {
        loop {
            while self.active.get().elapsed() < self.shared.busy_poll {
                tokio::task::yield_now().await;
                #[cfg(target_os = "linux")]
                if let Some(clock) = &self.clock {
                    clock.ring();
                }
            }
            self.woke_up.notified().await;
        }
    }

    /// Rings the precise alarms, if this worker has a clock for them.
    #[cfg(target_os = "linux")]
    pub(super) async fn ring(self: Rc<Self>) {
        let Some(clock) = &self.clock else { return };
        while clock.tick().await.is_ok() {
            self.note_activity(Instant::now());
        }
    }

    /// Lends what the wire holds to a connection, and wakes it.
    pub(super) fn lend(&self, to: ConnId, wire: &mut Box<[u8]>, len: usize) {
        if self.connections.borrow().contains_key(&to) {
            self.lending.lend(to, wire, len);
            self.wake(to);
        }
    }

    pub(super) fn wake(&self, conn: ConnId) {
        self.signals.set(self.signals.get() + 1);
        if let Some(task) = self.connections.borrow().get(&conn) {
            task.signal(WOKEN);
        }
    }

    /// Wakes the connections of a relay that their partners have woken.
    pub(super) fn wake_partners(&self) {
        let Some(WorkerLocal { wakes, .. }) = self.local.as_ref().filter(|local| !local.wakes.is_empty()) else {
            return;
        };
        wakes.drain(|conn| self.wake(conn));
        if wakes.take_dials() {
            self.dial_asked.notify_one();
        }
    }

    /// Tells of some connections: each describes itself when it has its turn, and then the last
    /// task sends what there is.
    pub(super) fn list(self: &Rc<Self>, RowRequest { from, reply }: RowRequest) {
        self.signals.set(self.signals.get() + 1);
        let next = self.tasks.signal_some(DESCRIBED, from, ROWS);
        let worker = Rc::clone(self);
        self.tasks.spawn(|_| async move {
            let rows = worker.rows.take();
            let _ = reply.send(RowBatch { rows, next });
        });
    }

    pub(super) fn described(&self, driver: &Driver, socket: &SockRef<'_>) {
        self.rows.borrow_mut().push(driver.row(self.index, socket));
    }

    pub(super) fn signal_all(&self, signals: TaskSignals) {
        self.signals.set(self.signals.get() + 1);
        for task in self.connections.borrow().values() {
            task.signal(signals);
        }
    }
}
