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

/// A run without waits takes seconds, and a minute or two on a path that stalls again and again.
const LONGEST: Duration = Duration::from_secs(180);
/// The checks of idle connections wait for so many times the longest wait, where they look for the
/// exact time.
const IDLE_WAITS: (u32, u32) = (3, 12);

impl PathSettings {
    /// When a run is cut off: a path on which a byte moves every few seconds never stalls.
    pub(crate) fn longest(&self) -> Duration {
        let idle = match (self.idle, self.profile) {
            (Some(idle), _) => idle,
            (None, Profile::Thorough) => Duration::from_secs(60),
            (None, Profile::Quick) => Duration::ZERO,
        };
        let waits = if self.finds_idle_timeout { IDLE_WAITS.1 } else { IDLE_WAITS.0 };
        LONGEST + waits * idle
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
