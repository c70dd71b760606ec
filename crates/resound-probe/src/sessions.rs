//! [`Sessions`]: what a server remembers of the connections that clients ask about.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::facts::SessionLog;

/// How many sessions are remembered; a further one replaces the oldest.
const MOST: usize = 4096;

/// The sessions of a server, shared by its workers: cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<SharedSessions>);

#[derive(Debug)]
struct SharedSessions {
    instance: String,
    idle_timeout: Option<Duration>,
    limits_connections: AtomicBool,
    table: Mutex<SessionTable>,
}

#[derive(Debug, Default)]
struct SessionTable {
    named: HashMap<String, Arc<PlayedSession>>,
    /// In the order of their beginnings.
    order: VecDeque<String>,
}

/// One session. Its own connection writes it, and others read it.
#[derive(Debug)]
pub(super) struct PlayedSession {
    began: Instant,
    log: Mutex<SessionLog>,
    goes: AtomicBool,
}

impl Sessions {
    /// Of a server that has just started, and that closes idle connections after this time.
    #[must_use]
    pub fn new(idle_timeout: Option<Duration>) -> Self {
        let instance = format!("{:016x}", fastrand::u64(..));
        let (limits_connections, table) = Default::default();
        Self(Arc::new(SharedSessions { instance, idle_timeout, limits_connections, table }))
    }

    /// Tells clients whether the server itself refuses connections, or lets them wait, where there
    /// are many at once or in a short time.
    #[must_use]
    pub fn limits_connections(self, limits: bool) -> Self {
        self.0.limits_connections.store(limits, Ordering::Relaxed);
        self
    }

    pub(super) fn has_limits(&self) -> bool {
        self.0.limits_connections.load(Ordering::Relaxed)
    }

    pub(super) fn instance(&self) -> &str {
        &self.0.instance
    }

    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.0.idle_timeout
    }

    /// A session begins. Of two with one name the later counts.
    pub(super) fn begin(&self, name: Option<&str>, now: Instant) -> Arc<PlayedSession> {
        let log = SessionLog { instance: self.0.instance.clone(), known: true, ..SessionLog::default() };
        let session = Arc::new(PlayedSession { began: now, log: Mutex::new(log), goes: AtomicBool::new(false) });
        let Some(name) = name else { return session };
        let mut table = self.0.table.lock();
        if table.named.insert(name.into(), Arc::clone(&session)).is_none() {
            table.order.push_back(name.into());
        }
        if table.order.len() > MOST
            && let Some(oldest) = table.order.pop_front()
        {
            table.named.remove(&oldest);
        }
        session
    }

    /// What became of a session.
    pub(super) fn log(&self, name: &str, now: Instant) -> SessionLog {
        let session = self.0.table.lock().named.get(name).cloned();
        match session {
            Some(session) => SessionLog { now_ms: session.age_ms(now), ..session.log.lock().clone() },
            None => SessionLog { instance: self.0.instance.clone(), ..SessionLog::default() },
        }
    }

    /// Ends the hold of a session.
    pub(super) fn go(&self, name: &str) {
        if let Some(session) = self.0.table.lock().named.get(name) {
            session.goes.store(true, Ordering::Relaxed);
        }
    }
}

impl PlayedSession {
    pub(super) fn log(&self) -> MutexGuard<'_, SessionLog> {
        self.log.lock()
    }

    pub(super) fn goes(&self) -> bool {
        self.goes.load(Ordering::Relaxed)
    }

    pub(super) fn age_ms(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.began).as_secs_f64() * 1000.0
    }
}
