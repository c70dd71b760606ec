//! [`FaultObserver`]: what receives the faults of a server.

use std::panic::{AssertUnwindSafe, catch_unwind};

use resound_faults::FaultEvent;
use resound_proto::ConnInfo;

/// Receives the faults that are injected, on the thread that drives the connection.
pub(crate) type FaultObserver = dyn Fn(&ConnInfo, &FaultEvent) + Send + Sync;

/// Reports what was injected. A panic of the observer stays its own: the connection goes on.
pub(super) fn report(observer: &FaultObserver, conn: &ConnInfo, events: &[FaultEvent]) {
    for event in events {
        let _ = catch_unwind(AssertUnwindSafe(|| observer(conn, event)));
    }
}
