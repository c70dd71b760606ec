//! Checks that there are enough descriptors before anything starts.

use std::num::NonZeroUsize;

use anyhow::Result;
use resound::Engine;
use resound::system::raise_descriptor_limit;

use crate::stdio::say;

/// Descriptors of the program's runtime: its event queue, its waker and its signal pipe.
const RUNTIME: usize = 6;
/// Descriptors of another runtime, which shares some of those.
const SECOND_RUNTIME: usize = 4;
/// Descriptors of the runtime in which a server that ends waits for the second signal.
const ENDING: usize = SECOND_RUNTIME;
/// Up to this limit the program counts open descriptors; above it, an estimate is enough.
const FEW: u64 = 1024;
/// The estimate of other open descriptors.
const ESTIMATE: usize = 32;

/// Descriptors of a client or a test: its runtime, a connection, and copies of stdin and stdout.
pub(crate) const CLIENT: usize = RUNTIME + 3;

/// Descriptors of the workers of an engine.
fn of_workers(engine: Engine, workers: usize, dials: bool) -> usize {
    // Per worker a ring and its waker; or a runtime, on Linux the event queue of its sockets, and
    // for dialling a timer. Beside a server engine with its own threads the program has another
    // runtime.
    let beside = if dials { 0 } else { SECOND_RUNTIME };
    let each = SECOND_RUNTIME + usize::from(cfg!(target_os = "linux")) + usize::from(dials);
    let (uring, portable) = (2 * workers + beside, each * workers);
    match engine {
        Engine::Threads => beside,
        Engine::Portable => portable,
        Engine::Uring => uring,
        // Either of the two.
        _ => uring.max(portable),
    }
}

/// Descriptors of a listener beside itself: its watch, and a connection accepted before the limit
/// is checked.
const BESIDE_A_LISTENER: usize = 2;

/// The possible numbers of workers and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorBudget {
    pub(crate) workers: NonZeroUsize,
    pub(crate) connections: usize,
}

/// The budget of a server with `asked` workers, or else with one per core or as many as fit.
/// `are_open`: its listeners are open already. `beside`: what `--admin` and `--control` take, and
/// the second connection of a relay's first client.
pub(crate) fn for_server(
    engine: Engine,
    asked: Option<NonZeroUsize>,
    listeners: usize,
    are_open: bool,
    beside: usize,
) -> Result<DescriptorBudget> {
    let each = BESIDE_A_LISTENER + usize::from(!are_open);
    let needed = RUNTIME + ENDING + beside + each * listeners;
    room("a server", asked, |workers| needed + of_workers(engine, workers, false))
}

/// The budget of a load generator. `beside`: what `--admin` takes.
pub(crate) fn for_generator(engine: Engine, asked: Option<NonZeroUsize>, beside: usize) -> Result<DescriptorBudget> {
    room("a generator", asked, |workers| RUNTIME + beside + of_workers(engine, workers, true))
}

/// The possible number of connections, of which there is one at least. Warns if that is fewer than
/// the flag asks for.
pub(crate) fn max_connections(asked: Option<usize>, possible: usize) -> usize {
    let possible = possible.max(1);
    let asked = asked.unwrap_or(possible);
    if asked > possible {
        say(&format!(
            "at most {possible} connections at once, not {asked}: the limit on open files (`ulimit -n`) \
             allows no more"
        ));
    }
    asked.min(possible)
}

fn room(name: &str, asked: Option<NonZeroUsize>, needed: impl Fn(usize) -> usize) -> Result<DescriptorBudget> {
    let workers = asked.or(std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let Some(limit) = raise_descriptor_limit() else {
        return Ok(DescriptorBudget { workers, connections: usize::MAX });
    };
    let free = free(limit);
    let least = if asked.is_some() { workers.get() } else { 1 };
    // Leaves room for one connection.
    let fits = (least..=workers.get()).rev().find(|&workers| needed(workers) < free);
    match fits.and_then(NonZeroUsize::new) {
        Some(workers) => Ok(DescriptorBudget { workers, connections: free - needed(workers.get()) }),
        None => Err(too_few(name, limit, needed(least) + 1, free, least > 1)),
    }
}

/// Fails if there is too little room for a client.
pub(crate) fn for_client(name: &str) -> Result<()> {
    for_connections(name, CLIENT)
}

/// Fails if there is too little room for a test with so many connections at once beside its first.
pub(crate) fn for_test(connections: usize) -> Result<()> {
    for_connections("a test", CLIENT + connections)
}

fn for_connections(name: &str, needed: usize) -> Result<()> {
    // A client raises the limit only if it must.
    if opens(needed) == needed {
        return Ok(());
    }
    let Some(limit) = raise_descriptor_limit() else { return Ok(()) };
    match opens(needed) {
        free if free == needed => Ok(()),
        free => Err(too_few(name, limit, needed, free, false)),
    }
}

fn too_few(name: &str, limit: u64, needed: usize, free: usize, has_workers: bool) -> anyhow::Error {
    let fewer = if has_workers { ", or use fewer --workers" } else { "" };
    anyhow::anyhow!(
        "{name} needs {needed} open files, and the limit of {limit} leaves {free}: raise it (`ulimit -n {}`){fewer}",
        (limit.saturating_add(needed as u64)).next_power_of_two().max(1024)
    )
}

/// Free descriptors below the limit.
fn free(limit: u64) -> usize {
    let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit <= FEW { opens(limit_here) } else { limit_here - ESTIMATE }
}

/// Opens up to `wanted` descriptors and counts them: the system has no other portable way to ask.
fn opens(wanted: usize) -> usize {
    let Ok(first) = std::fs::File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }) else { return 0 };
    let more: Vec<_> = (1..wanted).map_while(|_| first.try_clone().ok()).collect();
    more.len() + usize::from(wanted > 0)
}
