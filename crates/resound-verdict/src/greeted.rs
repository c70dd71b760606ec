//! [`Greeted`]: who has answered in a run.

use std::sync::{Arc, Mutex, PoisonError};

use crate::probe::FarHello;

/// The servers that have greeted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeted(Arc<Mutex<Vec<FarHello>>>);

impl Greeted {
    /// The most that are kept.
    const MOST: usize = 4096;

    pub(crate) fn add(&self, hello: &FarHello) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < Self::MOST {
            all.push(hello.clone());
        }
    }

    pub(crate) fn all(&self) -> Vec<FarHello> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
