//! [`GateOutcome`]: what became of a gate.

use std::borrow::Cow;

use resound_load::Fault;
use serde::{Deserialize, Serialize};

/// What can be said of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judgement {
    /// It is not true, wherever within what is known the truth lies.
    Pass,
    /// It is true, or nothing was measured.
    Fail,
    /// It may be true.
    CannotTell,
}

impl Judgement {
    /// Of what is certain of a condition at both ends of what is known.
    pub(super) fn of(at_least: bool, at_most: bool) -> Self {
        match (at_least, at_most) {
            (true, true) => Self::Fail,
            (false, false) => Self::Pass,
            _ => Self::CannotTell,
        }
    }

    pub(super) fn failed(is_broken: bool) -> Self {
        if is_broken { Self::Fail } else { Self::Pass }
    }
}

/// What became of a gate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GateOutcome {
    pub(crate) gate: String,
    pub(crate) judgement: Judgement,
    /// What was measured, or why nothing was.
    pub(crate) measured: String,
    /// The number behind it, in the unit of the gate.
    pub(crate) value: Option<f64>,
    pub(crate) unit: Cow<'static, str>,
    /// Where it cannot be told: what would settle it.
    pub(crate) settled_by: Option<String>,
    /// The classes of failures of which the gate says how many are too many: up to there they fail
    /// nothing.
    pub(crate) forgives: Vec<Fault>,
}

impl GateOutcome {
    pub(crate) fn is_broken(&self) -> bool {
        self.judgement == Judgement::Fail
    }

    pub(crate) fn is_open(&self) -> bool {
        self.judgement == Judgement::CannotTell
    }

    /// What was measured, and what would settle it.
    pub(crate) fn told(&self) -> String {
        match &self.settled_by {
            Some(settled_by) => format!("{}; to settle it: {settled_by}", self.measured),
            None => self.measured.clone(),
        }
    }
}
