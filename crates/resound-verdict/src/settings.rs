//! [`PathSettings`]: what a run does.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::check::CheckId;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// All checks but those that take long or make much load.
    #[default]
    Quick,
    /// All but those that are asked for by name, in at most 90 s.
    Thorough,
}

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct PathSettings {
    pub(crate) profile: Profile,
    pub(crate) only: BTreeSet<CheckId>,
    pub(crate) skip: BTreeSet<CheckId>,
    pub(crate) seed: u64,
    pub(crate) patience: Duration,
    /// The longest wait of the idle checks.
    pub(crate) idle: Option<Duration>,
    pub(crate) finds_idle_timeout: bool,
    /// Connections at once of the check `cap`.
    pub(crate) connections: Option<u32>,
}

impl PathSettings {
    /// The same without these checks.
    pub(crate) fn without(&self, checks: &[CheckId]) -> Self {
        Self { skip: self.skip.iter().chain(checks).copied().collect(), ..self.clone() }
    }

    /// Whether a setting asks for this check alone.
    pub(crate) fn asks_for(&self, id: CheckId) -> bool {
        match id {
            CheckId::Idle => self.idle.is_some() || self.finds_idle_timeout,
            CheckId::Cap => self.connections.is_some(),
            _ => false,
        }
    }

    /// Whether a check is asked for: by name, or by the profile.
    pub(crate) fn wants(&self, id: CheckId) -> bool {
        if self.skip.contains(&id) {
            return false;
        }
        if !self.only.is_empty() {
            return self.only.contains(&id);
        }
        match id {
            CheckId::Idle | CheckId::HalfClosedIdle => self.idle.is_some() || self.profile == Profile::Thorough,
            CheckId::Cap => self.connections.is_some(),
            CheckId::Responsiveness => self.profile == Profile::Thorough,
            _ => true,
        }
    }
}
