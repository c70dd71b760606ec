//! [`Recorder`]: the observer of every worker.

use std::sync::Arc;
use std::time::Duration;

use resound_proto::{Closed, ConnInfo, Observer, SocketReport, SocketStep};

use crate::metrics::{Counter, Counters, Writers};

/// Counts events, and passes them on to the observer of the server or dialer.
pub(crate) struct Recorder {
    counters: Arc<Counters>,
    writers: Writers,
    observer: Box<dyn Observer>,
    wants_steps: bool,
}

impl Recorder {
    pub(crate) fn new(counters: Arc<Counters>, writers: Writers, observer: Box<dyn Observer>) -> Self {
        let wants_steps = observer.wants_steps();
        Self { counters, writers, observer, wants_steps }
    }
}

impl Observer for Recorder {
    fn opened(&mut self, conn: &ConnInfo) {
        self.counters.add(Counter::Opened, 1, self.writers);
        self.observer.opened(conn);
    }
    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        self.counters.add(Counter::BytesIn, bytes as u64, self.writers);
        self.observer.received(conn, bytes);
    }
    fn received_fin(&mut self, conn: &ConnInfo) {
        self.observer.received_fin(conn);
    }
    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        self.counters.add(Counter::Messages, 1, self.writers);
        self.observer.message(conn, message);
    }
    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        self.observer.unterminated(conn, pause);
    }
    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        self.counters.add(Counter::BytesOut, bytes as u64, self.writers);
        self.observer.sent(conn, bytes);
    }
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        self.counters.add(Counter::Closed(how.reason), 1, self.writers);
        self.observer.closed(conn, how);
    }
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        self.counters.add(Counter::Unopened, 1, self.writers);
        self.counters.add(Counter::Closed(how.reason), 1, self.writers);
        self.observer.unopened(conn, how);
    }
    #[inline]
    fn wants_steps(&self) -> bool {
        self.wants_steps
    }
    fn step(&mut self, conn: &ConnInfo, step: SocketStep, report: &dyn Fn() -> SocketReport) {
        self.observer.step(conn, step, report);
    }
}
