//! One worker: a thread with its runtime, the connections on it, and its inbox.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use resound_proto::{Conn, ConnId, Endpoint};
use socket2::SockRef;
use tokio::runtime::LocalRuntime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::WatchedSocket;
use super::accept::AsyncAcceptor;
#[cfg(target_os = "linux")]
use super::clock::Clock;
use super::dial;
use super::task::ConnectionTask;
use super::{AcceptedStream, WorkerCommand};
use crate::engine::connection_limit::ConnectionPermit;
use crate::engine::descriptors::for_a_runtime;
use crate::engine::dial_driver::DialDriver;
use crate::engine::listener::Listener;
use crate::engine::recorder::Recorder;
use crate::engine::shared::{Latch, RunGuard, Shared};
use crate::engine::socket::set_accepted_options;
use crate::metrics::Writers;

/// One read: large enough for bulk to move at full rate, and one per worker.
pub(super) const WIRE: usize = 64 * 1024;
/// Polls of tasks between two looks for new events.
const EVENT_INTERVAL: u32 = 256;
/// What a long answer may leave behind in the worker's output buffer.
const OUT_KEPT: usize = 1024 * 1024;

/// What a worker starts with.
pub(super) struct WorkerStart {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) listeners: Vec<Listener>,
    pub(super) others: Vec<mpsc::UnboundedSender<WorkerCommand>>,
    pub(super) running: Arc<RunGuard>,
}

/// What a worker that has the caller's thread runs beside its own work, until the latch opens.
pub(super) type SideTask = (Pin<Box<dyn Future<Output = ()>>>, Arc<Latch>);

/// What the tasks of one worker share.
pub(super) struct PortableWorker {
    shared: Arc<Shared>,
    pub(super) desk: RefCell<TaskContext>,
    /// The connections, for signals to find them.
    slots: RefCell<HashMap<ConnId, Rc<TaskSignals>>>,
    index: usize,
    /// Somebody has left.
    left: Notify,
    /// The same, for who dials.
    pub(super) room: Notify,
    /// Of a dialer.
    #[cfg(target_os = "linux")]
    pub(super) clock: Option<Clock>,
    /// When a connection last had something to do, and who looks for events until some time after that.
    active: Cell<Instant>,
    woke_up: Notify,
    /// How often anybody was signalled: while it stands still, a task need not look into its slot.
    pub(super) signals: Cell<u64>,
}

/// Where one task at a time works.
pub(super) struct TaskContext {
    pub(super) wire: Box<[u8]>,
    pub(super) out: Vec<u8>,
    pub(super) recorder: Recorder,
}

impl TaskContext {
    pub(super) fn tidy(&mut self) {
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
    }
}

/// Signals to one connection.
#[derive(Default)]
pub(super) struct TaskSignals {
    pub(super) waker: RefCell<Option<Waker>>,
    pub(super) woken: Cell<bool>,
    pub(super) draining: Cell<bool>,
    pub(super) cut: Cell<bool>,
}

impl TaskSignals {
    fn signal(&self, flag: &Cell<bool>) {
        flag.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl PortableWorker {
    /// Starts a connection's task.
    pub(super) fn serve(self: &Rc<Self>, accepted: AcceptedStream) {
        let AcceptedStream { socket, peer, local, place } = accepted;
        let Some(socket) = socket.serve() else { return };
        set_accepted_options(&SockRef::from(&socket), &peer, &self.shared.limits);
        // The peer may be gone already: every failure here concerns this connection only.
        let Ok(stream) = WatchedSocket::new(socket, &peer) else { return };
        let local = local.unwrap_or_else(|| {
            stream.socket().local_addr().map_or(Endpoint::Unknown, |a| crate::engine::socket::endpoint(&a))
        });
        if let Some(conn) = self.shared.accepted(peer, local, &place) {
            self.begin(stream, conn, place);
        }
    }

    /// A place for a connection that was dialled here.
    pub(super) fn place(&self) -> ConnectionPermit {
        self.shared.room.take_on(self.index)
    }

    pub(super) fn begin(self: &Rc<Self>, stream: WatchedSocket, conn: Conn, place: ConnectionPermit) {
        let slot = Rc::new(TaskSignals::default());
        self.slots.borrow_mut().insert(conn.info().id, Rc::clone(&slot));
        tokio::task::spawn_local(ConnectionTask::new(stream, conn, slot, Rc::clone(self), place));
    }

    pub(super) fn leave(&self, conn: ConnId) {
        self.slots.borrow_mut().remove(&conn);
        self.left.notify_one();
        self.room.notify_one();
    }

    /// A connection has something to do.
    pub(super) fn is_active(&self, now: Instant) {
        if !self.shared.busy_poll.is_zero() {
            self.active.set(now);
            self.woke_up.notify_one();
        }
    }

    /// Keeps the worker from sleeping for a while after each activity: each turn of this task is a look for events.
    async fn busy_poll(self: Rc<Self>) {
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

    /// Rings the precise alarms. Where there are none, nobody waits for it.
    #[cfg(target_os = "linux")]
    async fn ring(self: Rc<Self>) {
        let Some(clock) = &self.clock else { return };
        while clock.tick().await.is_ok() {
            self.is_active(Instant::now());
        }
    }

    fn wake(&self, conn: ConnId) {
        self.signals.set(self.signals.get() + 1);
        if let Some(slot) = self.slots.borrow().get(&conn) {
            slot.signal(&slot.woken);
        }
    }

    fn signal_all(&self, flag: fn(&TaskSignals) -> &Cell<bool>) {
        self.signals.set(self.signals.get() + 1);
        for slot in self.slots.borrow().values() {
            slot.signal(flag(slot));
        }
    }
}

/// Runs a worker until it is drained, or nobody can reach it any more.
pub(super) fn run(
    crew: WorkerStart,
    inbox: mpsc::UnboundedReceiver<WorkerCommand>,
    started: &std::sync::mpsc::Sender<io::Result<()>>,
    beside: Option<SideTask>,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Tasks between two looks for events. Each moves little (a long one steps aside), and a look costs a call.
    runtime.event_interval(EVENT_INTERVAL);
    // What runs beside may want all that a runtime has, signals for one.
    let runtime = if beside.is_some() { runtime.enable_all() } else { runtime.enable_io().enable_time() };
    match for_a_runtime().and_then(|()| runtime.build_local(Default::default())) {
        Ok(runtime) => work(&runtime, crew, inbox, started, beside),
        Err(error) => drop(started.send(Err(error))),
    }
}

fn work(
    runtime: &LocalRuntime,
    crew: WorkerStart,
    mut inbox: mpsc::UnboundedReceiver<WorkerCommand>,
    started: &std::sync::mpsc::Sender<io::Result<()>>,
    beside: Option<SideTask>,
) {
    let WorkerStart { index, shared, listeners, others, running } = crew;
    let desk =
        TaskContext { wire: vec![0; WIRE].into(), out: Vec::new(), recorder: shared.recorder(index, Writers::One) };
    #[cfg(target_os = "linux")]
    let clock = {
        let _guard = runtime.enter();
        match shared.is_precise().then(|| Clock::new(shared.busy_poll)).transpose() {
            Ok(clock) => clock,
            Err(error) => return drop(started.send(Err(error))),
        }
    };
    shared.sharpen();
    let worker = Rc::new(PortableWorker {
        desk: RefCell::new(desk),
        slots: RefCell::default(),
        index,
        left: Notify::new(),
        room: Notify::new(),
        #[cfg(target_os = "linux")]
        clock,
        active: Cell::new(Instant::now()),
        woke_up: Notify::new(),
        signals: Cell::new(1),
        shared: Arc::clone(&shared),
    });
    runtime.block_on(async {
        let (beside, latch) = beside.unzip();
        let beside = beside.map(tokio::task::spawn_local);
        if !shared.busy_poll.is_zero() {
            tokio::task::spawn_local(Rc::clone(&worker).busy_poll());
        }
        #[cfg(target_os = "linux")]
        tokio::task::spawn_local(Rc::clone(&worker).ring());
        let (stop_accepting, draining) = watch::channel(false);
        let mut calls = JoinSet::new();
        if let Some(caller) = DialDriver::new(&shared, index) {
            calls.spawn_local(dial::run(caller, Rc::clone(&worker), draining.clone()));
        }
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            match AsyncAcceptor::new(listener, Arc::clone(&shared.room), others.clone()) {
                Ok(acceptor) => drop(acceptors.spawn_local(acceptor.run(Rc::clone(&worker), draining.clone()))),
                Err(error) => return drop(started.send(Err(error))),
            }
        }
        let _ = started.send(Ok(()));

        let mut told_to_drain = false;
        let mut deadline: Option<Instant> = None;
        let mut reachable = true;
        let cut_at = tokio::time::sleep_until(Instant::now().into());
        tokio::pin!(cut_at);
        loop {
            let over = told_to_drain || (shared.is_precise() && calls.is_empty());
            if over && worker.slots.borrow().is_empty() {
                break;
            }
            tokio::select! {
                command = inbox.recv(), if reachable => {
                    let at = match command {
                        Some(WorkerCommand::Serve(accepted)) => {
                            worker.serve(accepted);
                            continue;
                        }
                        Some(WorkerCommand::Wake(conn)) => {
                            worker.wake(conn);
                            continue;
                        }
                        Some(WorkerCommand::WakeAll) => {
                            worker.signal_all(|slot| &slot.woken);
                            continue;
                        }
                        Some(WorkerCommand::Drain(at) | WorkerCommand::Hasten(at)) => at,
                        // A worker that nobody can reach any more stops at once.
                        None => Instant::now(),
                    };
                    deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
                    cut_at.as_mut().reset(deadline.unwrap_or(at).into());
                    reachable = command.is_some();
                    if !matches!(command, Some(WorkerCommand::Hasten(_))) {
                        told_to_drain = true;
                        // Everything accepted is handed out before anybody is told to drain, so no connection slips through.
                        let _ = stop_accepting.send(true);
                        while acceptors.join_next().await.is_some() {}
                        while calls.join_next().await.is_some() {}
                        for other in &others {
                            let _ = other.send(WorkerCommand::Drain(at));
                        }
                        // Without any time left there is nothing to drain.
                        let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
                        worker.signal_all(if over { |slot| &slot.cut } else { |slot| &slot.draining });
                    }
                }
                () = worker.left.notified(), if told_to_drain || shared.is_precise() => {}
                _ = calls.join_next(), if !calls.is_empty() => {}
                () = &mut cut_at, if told_to_drain => {
                    worker.signal_all(|slot| &slot.cut);
                    // The tasks end in this turn of the runtime; nothing keeps them.
                    while !worker.slots.borrow().is_empty() {
                        worker.left.notified().await;
                    }
                }
            }
        }
        // The other workers may take longer, and what runs beside may have more to say to them.
        drop(running);
        if let Some(latch) = latch {
            latch.opened().await;
        }
        if let Some(beside) = beside {
            beside.abort();
            if let Err(error) = beside.await
                && error.is_panic()
            {
                // It ran on the caller's behalf, so its panic is the caller's.
                std::panic::resume_unwind(error.into_panic());
            }
        }
    });
}
