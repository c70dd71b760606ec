//! [`Recorder`]: the observer of every worker.

use std::sync::Arc;
use std::time::Duration;

use resound_proto::{Closed, ConnInfo, Observer, SocketReport, SocketStep};

use crate::metrics::{Counter, Counters, Writers};

/// Counts events, and passes them on to the observer of the server or dialer.
pub(crate) struct Recorder {
    /// By listener; the last are of connections that were dialled.
    counters: Arc<[Counters]>,
    /// The counters of the connection that has its turn.
    at: usize,
    writers: Writers,
    observer: Box<dyn Observer>,
    wants_steps: bool,
}

impl Recorder {
    pub(crate) fn new(counters: Arc<[Counters]>, writers: Writers, observer: Box<dyn Observer>) -> Self {
        let wants_steps = observer.wants_steps();
        Self { counters, at: 0, writers, observer, wants_steps }
    }

    /// The events that follow are of a connection of this listener.
    #[inline]
    pub(crate) fn select(&mut self, listener: u16) {
        self.at = usize::from(listener).min(self.counters.len() - 1);
    }

    /// A connection has begun.
    pub(crate) fn started(&self) {
        self.add(Counter::Started, 1);
    }

    #[inline]
    fn add(&self, counter: Counter, n: u64) {
        self.counters[self.at].add(counter, n, self.writers);
    }
}

impl Observer for Recorder {
    fn opened(&mut self, conn: &ConnInfo) {
        self.add(Counter::Opened, 1);
        self.observer.opened(conn);
    }
    fn handshaken(&mut self, conn: &ConnInfo, took: Duration) {
        self.counters[self.at].handshaken(took);
        self.observer.handshaken(conn, took);
    }
    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        self.add(Counter::BytesIn, bytes as u64);
        self.observer.received(conn, bytes);
    }
    fn received_fin(&mut self, conn: &ConnInfo) {
        self.observer.received_fin(conn);
    }
    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        self.add(Counter::Messages, 1);
        self.observer.message(conn, message);
    }
    fn unterminated(&mut self, conn: &ConnInfo, pause: Duration) {
        self.observer.unterminated(conn, pause);
    }
    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        self.add(Counter::BytesOut, bytes as u64);
        self.observer.sent(conn, bytes);
    }
    fn unanswered(&mut self, conn: &ConnInfo, messages: u64) {
        self.add(Counter::Unanswered, messages);
        self.observer.unanswered(conn, messages);
    }
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        self.add(Counter::Closed(how.reason), 1);
        self.observer.closed(conn, how);
    }
    fn unopened(&mut self, conn: &ConnInfo, how: &Closed) {
        self.add(Counter::Unopened, 1);
        self.add(Counter::Closed(how.reason), 1);
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
