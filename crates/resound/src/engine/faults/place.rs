//! [`ClientPlace`]: a client is counted for as long as its service lives.

use super::live::LiveFaults;

/// The place of a client among those that `cap` counts.
pub(super) struct ClientPlace(LiveFaults);

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl ClientPlace {
    /// The place of a client that was admitted.
    pub(super) fn of(live: &LiveFaults) -> Self {
        Self(live.clone())
    }
}
