//! [`Shared`]: what the workers of one server or dialer share; and how its handle reaches them.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use resound_proto::{Conn, ConnId, ConnInfo, Endpoint, Handshake, Observer, Service, ServiceSource};
use tokio::sync::Notify;

use super::acknowledgement::Acknowledgement;
use super::connection_limit::{ConnectionLimit, ConnectionPermit};
use super::dial_plan::DialPlan;
use super::heartbeat::Heartbeat;
use super::listener::Listener;
use super::live_limits::LiveLimits;
use super::local::{RelayWorker, WorkerLocal};
use super::recorder::Recorder;
use super::rows::RowRequest;
use super::socket::REPORTS_UNACKNOWLEDGED;
use crate::metrics::{Counters, Totals, Writers};

/// Makes the service of a new connection.
pub(crate) type Factory = dyn Fn(&ConnInfo) -> Box<dyn Service> + Send + Sync;
/// Makes the handshake that comes before the service of a new connection.
pub type HandshakeFactory = dyn Fn(&ConnInfo) -> Handshake + Send + Sync;
/// Makes an observer for the worker with this number.
pub(crate) type Observers = dyn Fn(usize) -> Box<dyn Observer> + Send + Sync;

/// Makes the plan of the worker with this number.
pub(crate) type Plans = dyn Fn(usize) -> Box<dyn DialPlan> + Send + Sync;

/// Makes the part of a relay that the worker with this number runs.
pub(crate) type RelayWorkers = dyn Fn(usize) -> RelayWorker + Send + Sync;

/// The origin of the connections.
pub(crate) enum ConnectionOrigin {
    Accept {
        /// Shared with the connections whose handshake is not over yet.
        factory: Arc<Factory>,
        /// `None`: no handshake comes before a service.
        handshakes: Option<Box<HandshakeFactory>>,
    },
    Dial(Box<Plans>),
    /// Each worker accepts, and dials for what it has accepted.
    Relay {
        workers: Box<RelayWorkers>,
        handshakes: Option<Box<HandshakeFactory>>,
    },
}

pub(crate) struct Shared {
    pub(crate) origin: ConnectionOrigin,
    pub(crate) observers: Box<Observers>,
    pub(crate) limits: LiveLimits,
    pub(crate) room: Arc<ConnectionLimit>,
    /// Of each worker, by listener; the last are of connections that were dialled.
    pub(crate) counters: Vec<Arc<[Counters]>>,
    /// Whether the loops of the workers turn.
    pub(crate) heartbeats: Vec<Heartbeat>,
    /// A drain was asked for, or a worker has failed.
    pub(crate) drains: AtomicBool,
    pub(crate) next: AtomicU64,
    /// The numbers of connections that a relay dials.
    pub(crate) next_dialled: AtomicU64,
    /// How long a worker polls for events before it sleeps.
    pub(crate) busy_poll: Duration,
    /// The kernel timestamps what passes.
    pub(crate) kernel_times: bool,
    /// The congestion control of dialled connections. Accepted ones have their listener's.
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    pub(crate) congestion: Option<String>,
}

impl Shared {
    /// The recorder of a worker, or of one connection on the threads engine.
    pub(crate) fn recorder(&self, worker: usize, writers: Writers) -> Recorder {
        Recorder::new(Arc::clone(&self.counters[worker]), writers, (self.observers)(worker))
    }

    /// The counts so far, over all workers.
    pub(crate) fn totals(&self) -> Totals {
        (0..self.slots()).map(|slot| self.totals_of(slot)).sum()
    }

    /// How many listeners are counted, and one for the connections that were dialled.
    pub(crate) fn slots(&self) -> usize {
        self.counters.first().map_or(0, |of_worker| of_worker.len())
    }

    /// The counts of a listener, over all workers.
    pub(crate) fn totals_of(&self, slot: usize) -> Totals {
        let totals: Totals = self.counters.iter().map(|counters| counters[slot].read()).sum();
        totals.with_refused(self.room.refused(u16::try_from(slot).unwrap_or(u16::MAX)))
    }

    /// Whether a handshake comes before the services of accepted connections.
    pub(crate) fn has_handshakes(&self) -> bool {
        match &self.origin {
            ConnectionOrigin::Accept { handshakes, .. } | ConnectionOrigin::Relay { handshakes, .. } => {
                handshakes.is_some()
            }
            ConnectionOrigin::Dial(_) => false,
        }
    }

    /// Whether each accepted connection has a partner that was dialled for it.
    pub(crate) fn is_relay(&self) -> bool {
        matches!(self.origin, ConnectionOrigin::Relay { .. })
    }

    /// A dialer measures times: it reads the clock for each event, and keeps a deadline to much
    /// less than a millisecond.
    pub(crate) fn is_precise(&self) -> bool {
        matches!(self.origin, ConnectionOrigin::Dial(_))
    }

    /// Turns off the timer slack of this thread, if it keeps precise deadlines. By default Linux
    /// wakes a thread up to 50 us late (prctl(2), `PR_SET_TIMERSLACK`).
    pub(crate) fn turn_off_timer_slack(&self) {
        #[cfg(target_os = "linux")]
        if self.is_precise() {
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        }
    }

    /// Turns the timestamps of the kernel on for this connection, if they are wanted. Returns
    /// whether it reports them.
    pub(crate) fn is_timed(&self, conn: &Conn, socket: &socket2::Socket) -> bool {
        let is_tcp = matches!(conn.info().peer, Endpoint::Tcp(_));
        // With a handshake, other bytes leave than those of the service.
        let is_wanted = self.kernel_times && is_tcp && conn.is_bare();
        #[cfg(target_os = "linux")]
        return is_wanted && super::timestamps::enable(socket).is_ok();
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (is_wanted, socket);
            false
        }
    }

    /// The state machine of a connection that was just accepted. A panic while its service is made
    /// ends this connection only. The services of a relay are made by its `worker`.
    pub(crate) fn accepted(
        &self,
        peer: Endpoint,
        local: Endpoint,
        permit: &ConnectionPermit,
        worker: Option<&WorkerLocal>,
    ) -> Option<Conn> {
        match (&self.origin, worker) {
            (ConnectionOrigin::Accept { factory, handshakes }, _) => {
                Some(self.served(peer, local, permit, factory, handshakes))
            }
            (ConnectionOrigin::Relay { handshakes, .. }, Some(WorkerLocal { factory, .. })) => {
                Some(self.served(peer, local, permit, factory, handshakes))
            }
            _ => None,
        }
    }

    fn served<F>(
        &self,
        peer: Endpoint,
        local: Endpoint,
        permit: &ConnectionPermit,
        factory: &F,
        handshakes: &Option<Box<HandshakeFactory>>,
    ) -> Conn
    where
        F: Deref<Target: Fn(&ConnInfo) -> Box<dyn Service>> + Clone + 'static,
    {
        self.conn(peer, local, false, |info| match handshakes {
            None => ServiceSource::Ready(factory(info)),
            Some(handshakes) => {
                let (handshake, factory) = (permit.admission(handshakes(info)), factory.clone());
                ServiceSource::After(handshake, Box::new(move |info, _| factory(info)))
            }
        })
    }

    /// The number of the next connection that is accepted, or that a dialer makes.
    pub(crate) fn next_number(&self) -> ConnId {
        ConnId(self.next.fetch_add(1, Relaxed))
    }

    /// The state machine of an established connection. `source` makes its service, or the
    /// handshake before that.
    pub(crate) fn conn(
        &self,
        peer: Endpoint,
        local: Endpoint,
        dialled: bool,
        source: impl FnOnce(&ConnInfo) -> ServiceSource,
    ) -> Conn {
        let id = match dialled && self.is_relay() {
            true => ConnId(self.next_dialled.fetch_add(1, Relaxed)),
            false => self.next_number(),
        };
        let info = ConnInfo::new(id, peer, local);
        let conn = Conn::start(info, self.limits.get(), source);
        if REPORTS_UNACKNOWLEDGED { conn.reporting_unacknowledged() } else { conn }
    }
}

/// Receives whether an engine can accept.
pub(crate) type ListenReport = Box<dyn FnOnce(io::Result<()>) + Send>;

/// How a [`Handle`](super::Handle) reaches a running engine.
pub(crate) trait EngineControl: Send + Sync {
    /// Stops accepting, answers what was received, closes; at `deadline` cuts the rest.
    fn drain(&self, deadline: Instant);
    /// Calls [`Service::wake`] of one connection.
    fn wake(&self, conn: ConnId);
    /// Calls [`Service::wake`] of all connections.
    fn wake_all(&self);
    /// Asks each worker that has a loop whether it turns.
    fn ask(&self, now: Instant);
    /// Asks a worker for some of its connections.
    fn list(&self, worker: usize, request: RowRequest);
    /// Gives the listeners up. What they have accepted is served.
    fn unlisten(&self, stopped: Acknowledgement);
    /// Accepts on these listeners.
    fn listen(&self, listeners: Vec<Listener>, report: ListenReport);
    /// Lets each loop acknowledge that it turns.
    fn heartbeat(&self, turned: &Acknowledgement);
}

/// Whether a drain has begun, and when it ends. An atomic, since each thread checks it in each
/// turn.
#[derive(Debug)]
pub(crate) struct DrainSignal {
    start: Instant,
    /// Milliseconds after `start`; `NOT_YET` before the drain.
    deadline: AtomicU64,
}

impl DrainSignal {
    const NOT_YET: u64 = u64::MAX;

    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), deadline: AtomicU64::new(Self::NOT_YET) }
    }

    /// Begins the drain. Of several deadlines the earliest holds.
    pub(crate) fn begin(&self, deadline: Instant) {
        let ms = deadline.saturating_duration_since(self.start).as_millis();
        self.deadline.fetch_min(u64::try_from(ms).unwrap_or(Self::NOT_YET - 1), Relaxed);
    }

    pub(crate) fn begun(&self) -> bool {
        self.deadline.load(Relaxed) != Self::NOT_YET
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// When the drain is over, once it has begun. `None` also where the clock does not reach that.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ms = self.deadline.load(Relaxed);
        if ms == Self::NOT_YET { None } else { self.start.checked_add(Duration::from_millis(ms)) }
    }
}

/// Opens once the last thread of a server has ended: each thread holds a [`RunGuard`].
#[derive(Debug, Default)]
pub(crate) struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
    opened_async: Notify,
}

impl Latch {
    pub(crate) fn is_open(&self) -> bool {
        *self.open.lock()
    }

    pub(crate) fn wait(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
    }

    pub(crate) async fn opened(&self) {
        loop {
            let opened = self.opened_async.notified();
            tokio::pin!(opened);
            // Register before the check: the latch may open between the two.
            opened.as_mut().enable();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }
}

/// Held by all that must end before the server has ended.
pub(crate) struct RunGuard(pub(crate) Arc<Latch>);

impl Drop for RunGuard {
    fn drop(&mut self) {
        *self.0.open.lock() = true;
        self.0.opened.notify_all();
        self.0.opened_async.notify_waiters();
    }
}
