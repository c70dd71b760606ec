//! [`Recorder`]: what every worker observes by.

use std::sync::Arc;

use crate::error::CloseReason;
use crate::metrics::{Counters, REASONS};
use crate::proto::{Closed, Observer};
use crate::service::ConnInfo;

const _: () = assert!(REASONS == CloseReason::NAMES.len(), "one counter for each reason");

/// Counts, and passes on to the server's own observer.
pub(crate) struct Recorder {
    counters: Arc<Counters>,
    observer: Box<dyn Observer>,
}

impl Recorder {
    pub(crate) fn new(counters: Arc<Counters>, observer: Box<dyn Observer>) -> Self {
        Self { counters, observer }
    }
}

impl Observer for Recorder {
    fn opened(&mut self, conn: &ConnInfo) {
        self.counters.add_opened();
        self.observer.opened(conn);
    }
    fn received(&mut self, conn: &ConnInfo, bytes: usize) {
        self.counters.add_received(bytes);
        self.observer.received(conn, bytes);
    }
    fn message(&mut self, conn: &ConnInfo, message: &[u8]) {
        self.counters.add_message();
        self.observer.message(conn, message);
    }
    fn sent(&mut self, conn: &ConnInfo, bytes: usize) {
        self.counters.add_sent(bytes);
        self.observer.sent(conn, bytes);
    }
    fn closed(&mut self, conn: &ConnInfo, how: &Closed) {
        self.counters.add_closed(how.reason.index());
        self.observer.closed(conn, how);
    }
}
