//! Descriptors: whether there are enough, asked before anything is started.

use std::num::NonZeroUsize;

use anyhow::Result;
use resound::Engine;
use resound::system::raise_descriptor_limit;

/// What the program's own runtime has: its event queue, what wakes it, and what signals come through.
const RUNTIME: usize = 6;
/// Another runtime of the same program, which shares some of that.
const SECOND_RUNTIME: usize = 4;
/// Up to this limit descriptors are counted; where there are more, an estimate of what else is open will do.
const FEW: u64 = 1024;
/// What else may be open where they are not counted.
const ESTIMATE: usize = 32;

/// What a client or a test has beside its runtime: a connection, and stdin and stdout once more.
pub(crate) const CLIENT: usize = RUNTIME + 3;

/// What the workers of an engine have of their own.
fn of_workers(engine: Engine, workers: usize, dials: bool) -> usize {
    // A ring and what wakes it; or a runtime, and where that dials a timer. Where a server's engine has threads of its own
    // the program has another runtime beside it.
    let beside = if dials { 0 } else { SECOND_RUNTIME };
    let (uring, portable) = (2 * workers + beside, (SECOND_RUNTIME + usize::from(dials)) * workers);
    match engine {
        Engine::Threads => beside,
        Engine::Portable => portable,
        Engine::Uring => uring,
        // It may become either.
        _ => uring.max(portable),
    }
}

/// What a listener has beside itself: its watch, and a connection in hand before it is known whether there is room for it.
const BESIDE_A_LISTENER: usize = 2;

/// How many workers and connections there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorBudget {
    pub(crate) workers: NonZeroUsize,
    pub(crate) connections: usize,
}

/// What a server can have with `asked` workers or, where that was not asked for, with one per core or as many as there is room
/// for. It has so many listeners already, or is to have them.
pub(crate) fn for_server(
    engine: Engine,
    asked: Option<NonZeroUsize>,
    listeners: usize,
    are_open: bool,
) -> Result<DescriptorBudget> {
    let each = BESIDE_A_LISTENER + usize::from(!are_open);
    room("a server", asked, |workers| RUNTIME + each * listeners + of_workers(engine, workers, false))
}

/// What a generator can have.
pub(crate) fn for_generator(engine: Engine, asked: Option<NonZeroUsize>) -> Result<DescriptorBudget> {
    room("a generator", asked, |workers| RUNTIME + of_workers(engine, workers, true))
}

fn room(who: &str, asked: Option<NonZeroUsize>, needed: impl Fn(usize) -> usize) -> Result<DescriptorBudget> {
    let workers = asked.or(std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let Some(limit) = raise_descriptor_limit() else {
        return Ok(DescriptorBudget { workers, connections: usize::MAX });
    };
    let free = free(limit);
    let least = if asked.is_some() { workers.get() } else { 1 };
    // One connection at least.
    let fits = (least..=workers.get()).rev().find(|&workers| needed(workers) < free);
    match fits.and_then(NonZeroUsize::new) {
        Some(workers) => Ok(DescriptorBudget { workers, connections: free - needed(workers.get()) }),
        None => Err(too_few(who, limit, needed(least) + 1, free, least > 1)),
    }
}

/// Fails where a client finds no room for what it needs.
pub(crate) fn for_client(who: &str) -> Result<()> {
    // A client does not raise the limit that it finds, unless it must.
    if opens(CLIENT) == CLIENT {
        return Ok(());
    }
    let Some(limit) = raise_descriptor_limit() else { return Ok(()) };
    match opens(CLIENT) {
        CLIENT => Ok(()),
        free => Err(too_few(who, limit, CLIENT, free, false)),
    }
}

fn too_few(who: &str, limit: u64, needed: usize, free: usize, has_workers: bool) -> anyhow::Error {
    let fewer = if has_workers { ", or use fewer --workers" } else { "" };
    anyhow::anyhow!(
        "{who} needs {needed} open files, and the limit of {limit} leaves {free}: raise it (`ulimit -n {}`){fewer}",
        (limit.saturating_add(needed as u64)).next_power_of_two().max(1024)
    )
}

/// How many descriptors are free below the limit.
fn free(limit: u64) -> usize {
    let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit <= FEW { opens(limit_here) } else { limit_here - ESTIMATE }
}

/// How many descriptors can be opened, of as many as are wanted: tried, since nothing else tells what is open already.
fn opens(wanted: usize) -> usize {
    let Ok(first) = std::fs::File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }) else { return 0 };
    let more: Vec<_> = (1..wanted).map_while(|_| first.try_clone().ok()).collect();
    more.len() + usize::from(wanted > 0)
}
