//! How the handle reaches the threads.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use parking_lot::{Mutex, MutexGuard};
use resound_proto::ConnId;
use socket2::SockRef;

use crate::engine::acknowledgement::Acknowledgement;
use crate::engine::driver::Driver;
use crate::engine::rows::{ConnectionRow, ROWS, RowBatch, RowRequest};
use crate::engine::shared::DrainSignal;

/// Small stacks: there may be thousands of them.
pub(super) const STACK: usize = 256 * 1024;

pub(super) fn spawn(name: &str, stack: Option<usize>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into());
    let thread = if let Some(size) = stack { thread.stack_size(size) } else { thread };
    thread.spawn(run).map(drop)
}

/// A message to a thread that accepts.
pub(super) enum AcceptCommand {
    /// Give the listener up.
    Unlisten(Acknowledgement),
    /// Drop it: the loop turns.
    Heartbeat(Acknowledgement),
}

/// What the handle and the threads share.
pub(super) struct Signals {
    pub(super) drain: DrainSignal,
    /// To the threads that accept.
    accepting: Mutex<Vec<Sender<AcceptCommand>>>,
    /// Those of each connection.
    flags: Mutex<BTreeMap<ConnId, Arc<ThreadFlags>>>,
    listing: Mutex<Option<ThreadListing>>,
}

/// The signals to one connection.
#[derive(Default)]
pub(super) struct ThreadFlags {
    wake: AtomicBool,
    /// It is to be described.
    list: AtomicBool,
}

/// A request for connections, which their threads answer one by one.
struct ThreadListing {
    /// Those that have not answered yet.
    left: usize,
    rows: Vec<ConnectionRow>,
    next: Option<u64>,
    request: RowRequest,
}

impl ThreadFlags {
    pub(super) fn take_wake(&self) -> bool {
        self.wake.swap(false, SeqCst)
    }
}

impl Signals {
    pub(super) fn new() -> Self {
        let (accepting, flags, listing) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { drain: DrainSignal::new(), accepting, flags, listing }
    }

    /// The commands for a thread that is to accept.
    pub(super) fn add_acceptor(&self) -> Receiver<AcceptCommand> {
        let (sender, commands) = channel();
        self.accepting().push(sender);
        commands
    }

    /// The threads that accept.
    pub(super) fn accepting(&self) -> MutexGuard<'_, Vec<Sender<AcceptCommand>>> {
        self.accepting.lock()
    }

    /// The signals to a new connection.
    pub(super) fn add(&self, conn: ConnId) -> Arc<ThreadFlags> {
        Arc::clone(self.flags.lock().entry(conn).or_default())
    }

    pub(super) fn remove(&self, conn: ConnId) {
        let removed = self.flags.lock().remove(&conn);
        if removed.is_some_and(|flags| flags.list.swap(false, SeqCst)) {
            self.answer(None);
        }
    }

    /// Describes the connection of this thread, if it is asked for that.
    pub(super) fn describe(&self, flags: &ThreadFlags, driver: &Driver, socket: &SockRef<'_>) {
        if flags.list.load(Relaxed) && flags.list.swap(false, SeqCst) {
            self.answer(Some(driver.row(0, socket)));
        }
    }

    /// A connection that was asked answers, or has ended.
    fn answer(&self, row: Option<ConnectionRow>) {
        let mut listing = self.listing.lock();
        let Some(under_way) = &mut *listing else { return };
        under_way.rows.extend(row);
        under_way.left = under_way.left.saturating_sub(1);
        if under_way.left == 0 {
            listing.take().into_iter().for_each(ThreadListing::finish);
        }
    }

    /// Lets a connection look up.
    pub(super) fn wake(&self, conn: ConnId) {
        if let Some(flags) = self.flags.lock().get(&conn) {
            flags.wake.store(true, SeqCst);
        }
    }

    pub(super) fn wake_all(&self) {
        self.flags.lock().values().for_each(|flags| flags.wake.store(true, SeqCst));
    }

    /// Asks for some connections. Each thread answers when it looks up.
    pub(super) fn list(&self, request: RowRequest) {
        // First, so that no answer comes before there is a list. One that is under way ends here,
        // as far as it is.
        let mut listing = self.listing.lock();
        listing.take().into_iter().for_each(ThreadListing::finish);
        let flags = self.flags.lock();
        let mut rest = flags.range(ConnId(request.from)..);
        let asked: Vec<_> = rest.by_ref().take(ROWS).map(|(_, flags)| flags).collect();
        let next = rest.next().map(|(conn, _)| conn.0);
        let under_way = ThreadListing { left: asked.len(), rows: Vec::new(), next, request };
        if asked.is_empty() {
            return under_way.finish();
        }
        asked.iter().for_each(|flags| flags.list.store(true, SeqCst));
        *listing = Some(under_way);
    }
}

impl ThreadListing {
    fn finish(self) {
        let _ = self.request.reply.send(RowBatch { rows: self.rows, next: self.next });
    }
}
