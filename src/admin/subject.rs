//! [`AdminSubject`]: what metrics and health checks are of.

use std::sync::Arc;

use resound::inspect::Inspector;

use super::fault_counts::FaultCounts;

/// What runs, and is looked at.
pub(super) struct AdminSubject {
    /// `server`, `relay` or `load`.
    pub(super) command: &'static str,
    pub(super) inspector: Inspector,
    /// `None` where none can be injected.
    pub(super) faults: Option<Arc<FaultCounts>>,
}
