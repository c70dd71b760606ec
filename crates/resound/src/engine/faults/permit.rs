//! [`ClientPermit`]: a client is counted for as long as its service lives.

use super::live::LiveFaults;

/// Held for a client that `cap` counts.
pub(super) struct ClientPermit(LiveFaults);

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl ClientPermit {
    /// A client was admitted.
    pub(super) fn of(live: &LiveFaults) -> Self {
        Self(live.clone())
    }
}
