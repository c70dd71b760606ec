//! How a server or a dialer starts its engine.

use std::io;
use std::sync::Arc;

use super::config::{EngineConfig, MAX_WORKERS};
use super::connection_limit::ConnectionLimit;
use super::handle::Handle;
use super::listener::Listener;
use super::shared::{ConnectionOrigin, EngineControl, Latch, RunGuard};
#[cfg(target_os = "linux")]
use super::uring;
use super::workers::{WorkerAlert, WorkerSet};
use super::{Engine, portable, threads};
use crate::error::Error;

/// An engine that has started, but neither accepts nor dials on the threads engine yet.
pub(crate) struct Launched {
    pub(crate) handle: Handle,
    pub(crate) pending: PendingLaunch,
}

/// The rest of a start.
pub(crate) enum PendingLaunch {
    /// Start to accept.
    Start(Box<dyn FnOnce() -> Result<(), Error>>),
    /// Run worker 0 on the thread of the caller. It accepts.
    First(portable::FirstWorker, Vec<Listener>),
}

impl Launched {
    /// Starts to accept, or to dial.
    pub(crate) fn start(self) -> Result<Handle, Error> {
        if let PendingLaunch::Start(start) = self.pending {
            start()?;
        }
        Ok(self.handle)
    }
}

/// Lets the allocator keep up to 1 MiB of freed memory in each heap; there is one for each core or
/// so.
///
/// By default glibc gives the end of a heap back to the system as soon as 128 KiB of it are free,
/// and long messages then meet a page fault for each of their pages. Once it has freed a block that
/// was a mapping of its own, it keeps twice the size of that block (mallopt(3), "dynamic mmap
/// threshold"). Blocks up to that size, 512 KiB, then lie in a heap instead of mappings of their
/// own.
fn keep_freed_memory() {
    if cfg!(target_env = "gnu") {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(512 * 1024)));
    }
}

/// Starts the engine of `config`, for connections from `origin`. Worker 0 of the portable engine
/// may be left to run `here`.
pub(crate) fn launch(
    config: EngineConfig,
    origin: ConnectionOrigin,
    mut listeners: Vec<Listener>,
    limit: impl FnOnce(usize) -> ConnectionLimit,
    here: bool,
) -> Result<Launched, Error> {
    #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "io_uring may be refused on Linux only"))]
    let (mut engine, mut refusal) = config.choose()?;
    keep_freed_memory();
    if engine == Engine::Threads && matches!(origin, ConnectionOrigin::Relay { .. }) {
        return Err(Error::NoRelay);
    }
    let workers = match (engine, &origin) {
        (Engine::Threads, ConnectionOrigin::Accept { .. }) => 1,
        (Engine::Threads, ConnectionOrigin::Dial(_)) => config.workers.get(),
        _ => config.workers.get().min(MAX_WORKERS),
    };
    #[cfg(target_os = "linux")]
    let (asked, setup) = (config.engine, config.setup);
    for (number, listener) in listeners.iter_mut().enumerate() {
        listener.count_as(number);
    }
    let shared = config.share(workers, listeners.len(), limit(workers), origin);
    let latch = Arc::new(Latch::default());
    let running = Arc::new(RunGuard(Arc::clone(&latch)));
    let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
    let started = |(control, pending): (Arc<dyn EngineControl>, _), engine, refusal| {
        let handle = Handle { control, shared: Arc::clone(&shared), latch, addresses, engine, refusal };
        Launched { handle, pending }
    };
    #[cfg(target_os = "linux")]
    if engine == Engine::Uring {
        match uring::start(Arc::clone(&shared), &running, setup) {
            Ok(set) => return Ok(started(accepting(set, listeners), engine, refusal)),
            // The system allows one ring, but not one for each worker.
            Err(error) if asked == Engine::Auto => {
                (engine, refusal) = (Engine::Portable, Some(error.to_string()));
            }
            Err(error) => return Err(Error::Worker(error)),
        }
    }
    if engine == Engine::Threads {
        let (control, start) = threads::prepare(listeners, Arc::clone(&shared), running);
        return Ok(started((control, PendingLaunch::Start(Box::new(start))), engine, refusal));
    }
    let (set, first) = portable::start(Arc::clone(&shared), &running, here).map_err(Error::Worker)?;
    let launched = match first {
        Some(first) => (set as Arc<dyn EngineControl>, PendingLaunch::First(first, listeners)),
        None => accepting(set, listeners),
    };
    Ok(started(launched, engine, refusal))
}

/// A set of workers, and what lets worker 0 accept.
fn accepting<A: WorkerAlert>(
    set: Arc<WorkerSet<A>>,
    listeners: Vec<Listener>,
) -> (Arc<dyn EngineControl>, PendingLaunch) {
    let control = Arc::clone(&set) as Arc<dyn EngineControl>;
    let start = move || {
        // Without a report the workers have ended before: a drain came first.
        let report: io::Result<()> = set.listen_first(listeners).recv().unwrap_or(Ok(()));
        report.map_err(Error::Worker)
    };
    (control, PendingLaunch::Start(Box::new(start)))
}
