//! The workers of one server or dialer: how they start and end, and how other threads reach them.
//! The portable and the io_uring engine share it.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_proto::ConnId;

use super::accept_queue::AcceptedConnection;
use super::acknowledgement::Acknowledgement;
use super::listener::Listener;
use super::rows::RowRequest;
use super::shared::{EngineControl, ListenReport, RunGuard, Shared};

/// How long the connections of the other workers may take to end after a worker has failed.
const FAILED_WORKER_DRAIN: Duration = Duration::from_secs(10);

/// A message to a worker from another thread.
pub(crate) enum WorkerCommand {
    /// Accept on these listeners, and report whether that works.
    Listen(Vec<Listener>, ListenReport),
    /// Give the listeners up.
    Unlisten(Acknowledgement),
    /// Drop it: the loop turns.
    Heartbeat(Acknowledgement),
    /// Serve a connection that worker 0 has accepted.
    Serve(AcceptedConnection),
    /// Begin the drain, which ends at this instant.
    Drain(Instant),
    /// End the drain by this instant, whether it has begun or not.
    ShortenDeadline(Instant),
    Wake(ConnId),
    WakeAll,
    /// Answer that the loop turns, to a question of this instant.
    Beat(Instant),
    /// Tell of some connections.
    List(RowRequest),
    /// A connection has ended, and worker 0 waits for its place.
    #[cfg(target_os = "linux")]
    PlaceFreed,
}

/// Wakes a worker that sleeps.
pub(crate) trait WorkerAlert: Send + Sync + 'static {
    fn alert(&self);
}

/// The commands for one worker, in order.
pub(crate) struct Inbox<A> {
    queue: Mutex<InboxQueue>,
    alert: A,
}

#[derive(Default)]
struct InboxQueue {
    commands: Vec<WorkerCommand>,
    /// The connections that a command in the queue wakes. A second such command would add nothing.
    woken: HashSet<ConnId>,
    wakes_all: bool,
    closed: bool,
}

impl<A: WorkerAlert> Inbox<A> {
    fn new(alert: A) -> Self {
        Self { queue: Mutex::default(), alert }
    }

    /// Returns whether the worker will see the command.
    pub(crate) fn send(&self, command: WorkerCommand) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let is_new = match command {
            WorkerCommand::Wake(conn) => queue.woken.insert(conn),
            WorkerCommand::WakeAll => !std::mem::replace(&mut queue.wakes_all, true),
            _ => true,
        };
        if !is_new {
            return true;
        }
        queue.commands.push(command);
        let is_first = queue.commands.len() == 1;
        drop(queue);
        if is_first {
            self.alert.alert();
        }
        true
    }

    pub(crate) fn take(&self) -> Vec<WorkerCommand> {
        let queue = &mut *self.queue.lock();
        queue.woken.clear();
        queue.wakes_all = false;
        std::mem::take(&mut queue.commands)
    }

    pub(crate) fn alert(&self) -> &A {
        &self.alert
    }

    /// Refuses further commands, and drops those that wait.
    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let rest = std::mem::take(&mut queue.commands);
        drop(queue);
        drop(rest); // their connections may hold permits that others wait for
    }
}

/// All workers of one server or dialer.
pub(crate) struct WorkerSet<A> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inboxes: Vec<Inbox<A>>,
    /// Worker 0 holds a connection that has no place yet.
    #[cfg(target_os = "linux")]
    pub(crate) waits_for_place: AtomicBool,
}

impl<A: WorkerAlert> WorkerSet<A> {
    /// Lets every worker drain.
    pub(crate) fn drain_all(&self, deadline: Instant) {
        for inbox in &self.inboxes {
            inbox.send(WorkerCommand::Drain(deadline));
        }
    }

    /// Worker 0 has handed out its last connection: lets the others drain.
    pub(crate) fn drain_others(&self, deadline: Instant) {
        for inbox in &self.inboxes[1..] {
            inbox.send(WorkerCommand::Drain(deadline));
        }
    }

    /// Sends a connection to its worker, or returns one that is worker 0's own.
    pub(crate) fn hand_out(&self, accepted: AcceptedConnection) -> Option<AcceptedConnection> {
        match accepted.permit.worker() {
            0 => Some(accepted),
            other => {
                self.inboxes[other].send(WorkerCommand::Serve(accepted));
                None
            }
        }
    }

    /// Lets worker 0 accept for the first time. The result follows.
    pub(crate) fn listen_first(self: &Arc<Self>, listeners: Vec<Listener>) -> Receiver<io::Result<()>> {
        let (report, receiver) = channel();
        if !listeners.is_empty() {
            let set = Arc::clone(self);
            let report = move |result: io::Result<()>| {
                if result.is_err() {
                    // A server without all of its listeners ends.
                    set.drain_all(Instant::now());
                }
                let _ = report.send(result);
            };
            self.inboxes[0].send(WorkerCommand::Listen(listeners, Box::new(report)));
        }
        receiver
    }
}

impl<A: WorkerAlert> EngineControl for WorkerSet<A> {
    fn drain(&self, deadline: Instant) {
        if self.shared.is_precise() {
            return self.drain_all(deadline); // a worker that dials depends on no other
        }
        // Worker 0 passes the drain on once it has handed out its last connection. A worker 0 that
        // has ended passes nothing on, and a later call may shorten the deadline.
        let is_running = self.inboxes[0].send(WorkerCommand::Drain(deadline));
        for inbox in &self.inboxes[1..] {
            inbox.send(match is_running {
                true => WorkerCommand::ShortenDeadline(deadline),
                false => WorkerCommand::Drain(deadline),
            });
        }
    }

    fn wake(&self, conn: ConnId) {
        for inbox in &self.inboxes {
            inbox.send(WorkerCommand::Wake(conn));
        }
    }

    fn wake_all(&self) {
        for inbox in &self.inboxes {
            inbox.send(WorkerCommand::WakeAll);
        }
    }

    fn ask(&self, now: Instant) {
        for (inbox, heartbeat) in self.inboxes.iter().zip(&self.shared.heartbeats) {
            if heartbeat.begin() {
                inbox.send(WorkerCommand::Beat(now));
            }
        }
    }

    fn list(&self, worker: usize, request: RowRequest) {
        if let Some(inbox) = self.inboxes.get(worker) {
            inbox.send(WorkerCommand::List(request));
        }
    }

    fn unlisten(&self, stopped: Acknowledgement) {
        self.inboxes[0].send(WorkerCommand::Unlisten(stopped));
    }

    fn listen(&self, listeners: Vec<Listener>, report: ListenReport) {
        self.inboxes[0].send(WorkerCommand::Listen(listeners, report));
    }

    fn heartbeat(&self, turned: &Acknowledgement) {
        for inbox in &self.inboxes {
            inbox.send(WorkerCommand::Heartbeat(turned.clone()));
        }
    }
}

/// The latest instant at which a drain ends: of several deadlines the earliest holds.
pub(crate) fn shorten_deadline(deadline: &mut Option<Instant>, at: Instant) -> Instant {
    *deadline.insert(deadline.map_or(at, |earlier| earlier.min(at)))
}

/// Held by a worker from its start to its end.
///
/// Without one worker the others would serve only a part of the connections, or none. So a worker
/// that ends early, or panics, takes the server with it.
pub(crate) struct WorkerGuard<A: WorkerAlert> {
    pub(crate) index: usize,
    pub(crate) set: Arc<WorkerSet<A>>,
    report: Option<Sender<io::Result<()>>>,
    in_order: bool,
    /// Last: the server has ended once the last of them is dropped.
    _running: Arc<RunGuard>,
}

impl<A: WorkerAlert> WorkerGuard<A> {
    pub(crate) fn inbox(&self) -> &Inbox<A> {
        &self.set.inboxes[self.index]
    }

    /// Reports whether the worker has started.
    pub(crate) fn report(&mut self, result: io::Result<()>) {
        if let Some(report) = self.report.take() {
            let _ = report.send(result);
        }
    }

    /// The worker has drained, or its dial plan is done.
    pub(crate) fn end(mut self) {
        self.in_order = true;
    }
}

impl<A: WorkerAlert> Drop for WorkerGuard<A> {
    fn drop(&mut self) {
        self.inbox().close();
        if !self.in_order {
            self.set.shared.drains.store(true, Relaxed);
            self.set.drain_all(Instant::now() + FAILED_WORKER_DRAIN);
            self.report(Err(io::Error::other("a worker has panicked")));
        }
    }
}

/// A worker that has no thread yet, and the report of its start.
pub(crate) type UnstartedWorker<A> = (WorkerGuard<A>, Receiver<io::Result<()>>);

/// Workers that have started, and worker 0 if it is still to be run.
pub(crate) type StartedWorkers<A> = (Arc<WorkerSet<A>>, Option<UnstartedWorker<A>>);

/// Starts a thread that calls `run` for each worker, except for worker 0 if it is to run `here`.
/// The workers have no listeners yet.
pub(crate) fn start<A: WorkerAlert>(
    shared: Arc<Shared>,
    running: &Arc<RunGuard>,
    here: bool,
    alert: impl Fn() -> io::Result<A>,
    run: impl Fn(WorkerGuard<A>) + Clone + Send + 'static,
) -> io::Result<StartedWorkers<A>> {
    let inboxes = shared.counters.iter().map(|_| alert().map(Inbox::new)).collect::<io::Result<Vec<_>>>()?;
    let set = Arc::new(WorkerSet {
        shared,
        inboxes,
        #[cfg(target_os = "linux")]
        waits_for_place: AtomicBool::new(false),
    });
    let guard = |index, report| WorkerGuard {
        index,
        set: Arc::clone(&set),
        report: Some(report),
        in_order: false,
        _running: Arc::clone(running),
    };
    let (report, reports) = channel();
    let spawned = (usize::from(here)..set.inboxes.len()).try_for_each(|index| {
        let (run, guard) = (run.clone(), guard(index, Sender::clone(&report)));
        thread::Builder::new().name(format!("resound-{index}")).spawn(move || run(guard)).map(drop)
    });
    drop(report);
    // All reports come first: a worker that did not start has then released what it had, for the
    // engine that may start instead.
    let reports: Vec<io::Result<()>> = reports.iter().collect();
    if let Err(error) = spawned.and_then(|()| reports.into_iter().collect::<io::Result<()>>()) {
        set.drain_all(Instant::now());
        return Err(error);
    }
    let first = here.then(|| {
        let (report, result) = channel();
        (guard(0, report), result)
    });
    Ok((set, first))
}

#[cfg(test)]
mod tests {
    use resound_proto::Echo;

    use super::*;
    use crate::engine::config::EngineConfig;
    use crate::engine::connection_limit::ConnectionLimit;
    use crate::engine::shared::ConnectionOrigin;

    struct NoAlert;

    impl WorkerAlert for NoAlert {
        fn alert(&self) {}
    }

    #[test]
    fn wakes_that_wait_already_do_not_add_up() {
        let inbox = Inbox::new(NoAlert);
        for _ in 0..1_000 {
            for conn in [ConnId(1), ConnId(2)] {
                assert!(inbox.send(WorkerCommand::Wake(conn)) && inbox.send(WorkerCommand::WakeAll));
            }
        }
        use WorkerCommand::{Wake, WakeAll};
        assert!(matches!(inbox.take()[..], [Wake(ConnId(1)), WakeAll, Wake(ConnId(2))]));
        inbox.send(Wake(ConnId(2)));
        inbox.send(WakeAll);
        assert!(matches!(inbox.take()[..], [Wake(ConnId(2)), WakeAll]), "those before have been taken");
    }

    #[test]
    fn a_worker_that_panics_lets_the_others_drain() {
        let accept = ConnectionOrigin::Accept { factory: Arc::new(|_| Box::new(Echo)), handshakes: None };
        let shared = EngineConfig::new().share(2, 1, ConnectionLimit::new(1, 2, None), accept);
        let (keep, kept) = channel();
        let run = move |mut worker: WorkerGuard<NoAlert>| {
            worker.report(Ok(()));
            let _ = keep.send(worker);
        };
        let running = Arc::new(RunGuard(Arc::default()));
        let (set, first) = start(shared, &running, true, || Ok(NoAlert), run).unwrap();
        let ((mut first, _), other) = (first.unwrap(), kept.recv().unwrap());
        let serve = move || {
            first.report(Ok(()));
            std::panic::resume_unwind(Box::new("as the test wants it"))
        };
        assert!(thread::spawn(serve).join().is_err());
        assert!(!set.inboxes[0].send(WorkerCommand::WakeAll), "a worker that has ended takes no command");
        let commands = other.inbox().take();
        assert!(matches!(commands[..], [WorkerCommand::Drain(_)]), "{} commands for the other worker", commands.len());
    }
}
