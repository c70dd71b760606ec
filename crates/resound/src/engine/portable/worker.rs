//! One worker: a thread with its runtime, its connections and its inbox.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::LocalRuntime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::accept::{AcceptStops, AsyncAcceptor, hand_out};
#[cfg(target_os = "linux")]
use super::clock::Clock;
use super::context::{CUT, DRAINING, PortableWorker, WOKEN};
use super::watched::SocketWatcher;
use super::{dial, task};
use crate::engine::accept::BACK_OFF;
use crate::engine::accept_queue::WaitingConnections;
use crate::engine::connection_limit::PlaceRequest;
use crate::engine::descriptors::for_a_runtime;
use crate::engine::dial_driver::DialDriver;
use crate::engine::listener::Listener;
use crate::engine::shared::Latch;
use crate::engine::workers::{WorkerCommand, WorkerGuard, WorkerSet, shorten_deadline};
use crate::metrics::Writers;

/// Polls of tasks between two polls for new events.
const EVENT_INTERVAL: u32 = 256;

/// A future that runs beside worker 0, on the thread of the caller, until the latch opens.
type SideTask = (Pin<Box<dyn Future<Output = ()>>>, Arc<Latch>);

/// Runs a worker until its connections have ended after a drain, or its dial plan is done.
pub(super) fn run(mut guard: WorkerGuard<Notify>, beside: Option<SideTask>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Each task moves little (a long one yields), and a poll for events costs a call.
    runtime.event_interval(EVENT_INTERVAL);
    // The side task may want all that a runtime has, such as signals.
    let runtime = if beside.is_some() { runtime.enable_all() } else { runtime.enable_io().enable_time() };
    let built = for_a_runtime().and_then(|()| runtime.build_local(Default::default()));
    match built.and_then(|runtime| Ok((make(&guard, &runtime)?, runtime))) {
        Ok(((worker, driver), runtime)) => runtime.block_on(async {
            guard.report(Ok(()));
            let (beside, latch) = beside.unzip();
            let beside = beside.map(tokio::task::spawn_local);
            WorkerLoop::new(worker, driver, &guard).run().await;
            // The other workers may take longer, and the side task may still reach them.
            guard.end();
            if let Some(latch) = latch {
                latch.opened().await;
            }
            if let Some(beside) = beside {
                beside.abort();
                if let Err(error) = beside.await
                    && error.is_panic()
                {
                    // It ran for the caller, so its panic continues there.
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }),
        Err(error) => guard.report(Err(error)),
    }
}

fn make(guard: &WorkerGuard<Notify>, runtime: &LocalRuntime) -> io::Result<(Rc<PortableWorker>, Option<DialDriver>)> {
    let (index, shared) = (guard.index, Arc::clone(&guard.set.shared));
    let _entered = runtime.enter();
    #[cfg(target_os = "linux")]
    let clock = shared.is_precise().then(|| Clock::new(shared.busy_poll)).transpose()?;
    shared.turn_off_timer_slack();
    let recorder = shared.recorder(index, Writers::One);
    let driver = DialDriver::new(&shared, index);
    let local = driver.as_ref().and_then(|driver| driver.local.clone());
    let worker = PortableWorker::new(
        index,
        shared,
        recorder,
        local,
        SocketWatcher::new()?,
        #[cfg(target_os = "linux")]
        clock,
    );
    Ok((Rc::new(worker), driver))
}

/// A worker that reads its inbox.
struct WorkerLoop<'a> {
    worker: Rc<PortableWorker>,
    guard: &'a WorkerGuard<Notify>,
    set: &'a Arc<WorkerSet<Notify>>,
    acceptors: JoinSet<WaitingConnections>,
    /// What the listeners had accepted that were given up.
    waiting: Vec<WaitingConnections>,
    /// The dialling task.
    dialling: JoinSet<()>,
    stop_accepting: watch::Sender<bool>,
    give_up: watch::Sender<bool>,
    drains: bool,
    deadline: Option<Instant>,
}

impl<'a> WorkerLoop<'a> {
    fn new(worker: Rc<PortableWorker>, driver: Option<DialDriver>, guard: &'a WorkerGuard<Notify>) -> Self {
        if !worker.shared.busy_poll.is_zero() {
            tokio::task::spawn_local(Rc::clone(&worker).busy_poll());
        }
        tokio::task::spawn_local(Rc::clone(&worker.watcher).run());
        tokio::task::spawn_local(Rc::clone(&worker).run_tasks());
        #[cfg(target_os = "linux")]
        tokio::task::spawn_local(Rc::clone(&worker).ring());
        let stop_accepting = watch::Sender::new(false);
        let mut dialling = JoinSet::new();
        if let Some(driver) = driver {
            dialling.spawn_local(dial::run(driver, Rc::clone(&worker), stop_accepting.subscribe()));
        }
        Self {
            worker,
            guard,
            set: &guard.set,
            acceptors: JoinSet::new(),
            waiting: Vec::new(),
            dialling,
            stop_accepting,
            give_up: watch::Sender::new(false),
            drains: false,
            deadline: None,
        }
    }

    async fn run(mut self) {
        let dials = self.worker.shared.is_precise();
        let cut = sleep_until(Instant::now().into());
        tokio::pin!(cut);
        loop {
            let at_drain = PlaceRequest::FreeOn(self.guard.index);
            self.serve_waiting(if self.drains { at_drain } else { PlaceRequest::Free });
            let is_last = self.drains || (dials && self.dialling.is_empty());
            if is_last && !self.worker.has_connections() && self.waiting.is_empty() {
                return;
            }
            tokio::select! {
                () = self.guard.inbox().alert().notified() => {
                    for command in self.guard.inbox().take() {
                        self.handle_command(command).await;
                    }
                    if let Some(at) = self.deadline {
                        cut.as_mut().reset(at.into());
                    }
                }
                () = self.worker.ended.notified(), if self.drains || dials => {}
                () = self.set.shared.room.freed(BACK_OFF), if !self.waiting.is_empty() => {}
                _ = self.dialling.join_next(), if !self.dialling.is_empty() => {}
                () = &mut cut, if self.drains => {
                    for waiting in std::mem::take(&mut self.waiting) {
                        let context = &mut *self.worker.task_context.borrow_mut();
                        waiting.cut(&self.set.shared, &mut context.driver.recorder);
                    }
                    self.worker.signal_all(CUT);
                    // The tasks end in this turn of the runtime.
                    while self.worker.has_connections() {
                        self.worker.ended.notified().await;
                    }
                }
            }
        }
    }

    async fn handle_command(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::Listen(listeners, report) => {
                report(self.listen(listeners));
                if self.drains {
                    // The drain came first.
                    self.drain().await;
                }
            }
            WorkerCommand::Unlisten(stopped) => {
                self.unlisten().await;
                drop(stopped);
            }
            WorkerCommand::Heartbeat(turned) => drop(turned),
            WorkerCommand::Serve(accepted) => task::serve(accepted, &self.worker),
            WorkerCommand::Wake(conn) => self.worker.wake(conn),
            WorkerCommand::WakeAll => self.worker.signal_all(WOKEN),
            WorkerCommand::ShortenDeadline(at) => drop(shorten_deadline(&mut self.deadline, at)),
            WorkerCommand::Drain(at) => {
                shorten_deadline(&mut self.deadline, at);
                self.drain().await;
            }
            WorkerCommand::Beat(asked) => self.set.shared.heartbeats[self.guard.index].beat(asked),
            WorkerCommand::List(request) => self.worker.list(request),
            #[cfg(target_os = "linux")]
            WorkerCommand::PlaceFreed => {}
        }
    }

    fn listen(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        for listener in listeners {
            let acceptor = AsyncAcceptor::new(listener, self.set)?;
            let stops = AcceptStops { draining: self.stop_accepting.subscribe(), unlistened: self.give_up.subscribe() };
            self.acceptors.spawn_local(acceptor.run(Rc::clone(&self.worker), stops));
        }
        Ok(())
    }

    /// Gives the listeners up. What waits for a place goes on waiting.
    async fn unlisten(&mut self) {
        self.give_up.send_replace(true);
        self.join_acceptors().await;
        self.give_up.send_replace(false);
    }

    async fn join_acceptors(&mut self) {
        while let Some(ended) = self.acceptors.join_next().await {
            self.waiting.extend(ended);
        }
    }

    /// Serves the connections that find such a place.
    fn serve_waiting(&mut self, request: PlaceRequest) {
        let mut any = false;
        for accepted in WaitingConnections::pop_all(&mut self.waiting, request) {
            hand_out(accepted, self.set, &self.worker);
            any = true;
        }
        if any && self.drains {
            self.worker.signal_all(DRAINING);
        }
    }

    /// Everything that has a place is handed out before any connection drains, so none is left out.
    async fn drain(&mut self) {
        let _ = self.stop_accepting.send(true);
        self.join_acceptors().await;
        if !self.drains {
            self.serve_waiting(PlaceRequest::Free);
        }
        self.drains = true;
        while self.dialling.join_next().await.is_some() {}
        let now = Instant::now();
        let deadline = self.deadline.unwrap_or(now);
        if self.guard.index == 0 {
            self.set.drain_others(deadline);
        }
        // Without any time left the connections are cut.
        if now < deadline {
            self.worker.signal_all(DRAINING);
        } else {
            self.worker.signal_all(CUT);
        }
    }
}
