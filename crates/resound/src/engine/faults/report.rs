//! [`ReportedFaults`]: the faults of a connection, and what receives those that are injected.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use resound_faults::{ConnectionFaults, FaultEvent};
use resound_proto::ConnInfo;

/// Receives the faults that are injected, on the thread that drives the connection.
pub(crate) type FaultObserver = dyn Fn(&ConnInfo, &FaultEvent) + Send + Sync;

/// The faults of a connection, and what receives those that are injected.
pub(super) struct ReportedFaults {
    faults: Box<ConnectionFaults>,
    conn: ConnInfo,
    observer: Arc<FaultObserver>,
}

impl ReportedFaults {
    pub(super) fn new(faults: Box<ConnectionFaults>, conn: &ConnInfo, observer: Arc<FaultObserver>) -> Self {
        Self { faults, conn: conn.clone(), observer }
    }

    /// Reports what was injected since the last call, before what it causes.
    pub(super) fn report(&mut self) {
        let events = self.faults.take_events();
        self.report_all(&events);
    }

    /// Reports events. A panic of the observer stays its own: the connection goes on.
    pub(super) fn report_all(&self, events: &[FaultEvent]) {
        for event in events {
            let _ = catch_unwind(AssertUnwindSafe(|| (self.observer)(&self.conn, event)));
        }
    }
}

impl Deref for ReportedFaults {
    type Target = ConnectionFaults;

    fn deref(&self) -> &ConnectionFaults {
        &self.faults
    }
}

impl DerefMut for ReportedFaults {
    fn deref_mut(&mut self) -> &mut ConnectionFaults {
        &mut self.faults
    }
}
