//! [`Greeted`]: who has answered in a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use resound_probe::FarHello;

/// The servers that have greeted so far, and the names of those that were asked about a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeted {
    greeted: Arc<Mutex<Vec<FarHello>>>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Greeted {
    /// The most that are kept.
    const MOST: usize = 4096;
    /// Bytes of a name; `resound server` has 16.
    const LONGEST: usize = 64;

    pub(crate) fn add(&self, hello: &FarHello) {
        let mut all = self.greeted.lock();
        if all.len() < Self::MOST {
            all.push(hello.clone());
        }
    }

    pub(crate) fn all(&self) -> Vec<FarHello> {
        self.greeted.lock().clone()
    }

    pub(crate) fn add_asked(&self, instance: &str) {
        let mut asked = self.asked.lock();
        let is_name = (1..=Self::LONGEST).contains(&instance.len());
        if is_name && asked.len() < Self::MOST && !asked.contains(instance) {
            asked.insert(instance.into());
        }
    }

    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().clone()
    }
}
