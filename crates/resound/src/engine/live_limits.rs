//! [`LiveLimits`]: the limits of the next connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::RwLock;
use resound_proto::Limits;

/// The limits that the next connection gets, which may change while a server runs. A connection
/// keeps those that it has begun with. Clones see each change.
#[derive(Clone, Default)]
pub(crate) struct LiveLimits(Arc<CurrentLimits>);

#[derive(Default)]
struct CurrentLimits {
    limits: RwLock<Arc<Limits>>,
    has_changed: AtomicBool,
}

impl LiveLimits {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(CurrentLimits { limits: RwLock::new(Arc::new(limits)), has_changed: AtomicBool::new(false) }))
    }

    pub(crate) fn get(&self) -> Arc<Limits> {
        Arc::clone(&self.0.limits.read())
    }

    pub(crate) fn set(&self, limits: Limits) {
        *self.0.limits.write() = Arc::new(limits);
        self.0.has_changed.store(true, Relaxed);
    }

    /// Whether they are others than those that the listeners were prepared with.
    pub(crate) fn has_changed(&self) -> bool {
        self.0.has_changed.load(Relaxed)
    }
}
