//! The one place where panics are caught: those of code from outside this crate, and of the loop
//! that delivers messages to it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::service::{Cx, Service};

/// Calls a service, an observer or a callback: `None` where it panics.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// A service whose panics end its own connection and no other, the panic of its destructor
/// included.
pub(super) struct GuardedService(Box<dyn Service>);

impl GuardedService {
    pub(super) fn new(service: Box<dyn Service>) -> Self {
        Self(service)
    }

    /// Stands in for a service that does not exist yet, or no more. Nothing is delivered to it.
    pub(super) fn none() -> Self {
        Self(Box::new(NoService))
    }

    /// The service, for a caller that catches its panics.
    #[inline]
    pub(super) fn within_guard(&mut self) -> &mut dyn Service {
        self.0.as_mut()
    }

    pub(super) fn call<T>(&mut self, event: impl FnOnce(&mut dyn Service) -> T) -> Option<T> {
        guarded(|| event(self.0.as_mut()))
    }

    pub(super) fn ask<T>(&self, question: impl FnOnce(&dyn Service) -> T) -> Option<T> {
        guarded(|| question(self.0.as_ref()))
    }
}

impl Drop for GuardedService {
    fn drop(&mut self) {
        let service = std::mem::replace(&mut self.0, Box::new(NoService));
        let _ = guarded(|| drop(service));
    }
}

struct NoService;

impl Service for NoService {
    fn data(&mut self, _bytes: &[u8], _cx: &mut Cx<'_>) {}
}
