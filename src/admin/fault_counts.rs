//! [`FaultCounts`]: how many faults were injected.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resound::faults::{FaultKind, Role};

/// How many faults of each kind were injected.
pub(crate) struct FaultCounts(Vec<(FaultKind, AtomicU64)>);

impl FaultCounts {
    /// For the kinds that a server or a relay can inject.
    pub(crate) fn of(role: Role) -> Self {
        let kinds = FaultKind::all().filter(|kind| kind.works_for(role));
        Self(kinds.map(|kind| (kind, AtomicU64::new(0))).collect())
    }

    pub(crate) fn note(&self, kind: FaultKind) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == kind) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Each kind by its word, zeros included.
    pub(super) fn by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(kind, count)| (kind.word(), count.load(Relaxed)))
    }

    pub(super) fn in_all(&self) -> u64 {
        self.by_kind().map(|(_, count)| count).sum()
    }
}
