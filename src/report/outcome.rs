//! [`GateOutcome`]: a judged gate.

use std::borrow::Cow;

use resound_load::LoadFailure;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::comparison::Compared;

/// The verdict on a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum Judgement {
    /// The condition is false throughout the bounds of the value.
    Pass,
    /// The condition is true throughout the bounds, or nothing was measured.
    Fail,
    /// The condition may be true.
    CannotTell,
}

impl Judgement {
    /// The verdict, given whether the condition is true at the lower and at the upper bound.
    pub(super) fn of(at_least: bool, at_most: bool) -> Self {
        match (at_least, at_most) {
            (true, true) => Self::Fail,
            (false, false) => Self::Pass,
            _ => Self::CannotTell,
        }
    }
}

/// A judged gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct GateOutcome {
    /// The condition as it was given.
    #[serde(rename = "fail_if")]
    pub(crate) gate: String,
    #[serde(flatten, with = "JudgementPart")]
    pub(crate) judgement: Judgement,
    /// The value with its unit, or why nothing was measured.
    pub(crate) measured: String,
    /// The value as a number.
    pub(crate) value: Option<f64>,
    /// The unit of `value`.
    #[cfg_attr(test, schemars(extend("enum" = [
        "us", "errors", "percent", "messages/s", "connections/s", "bytes/s"
    ])))]
    pub(crate) unit: Cow<'static, str>,
    /// What would settle a condition that cannot be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settled_by: Option<String>,
    /// The classes of failures that the gate limits: below its limit they fail nothing.
    #[serde(skip)]
    pub(crate) forgives: Vec<LoadFailure>,
}

/// A verdict as files have it.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JudgementPart {
    /// The verdict is fail.
    broken: bool,
    // Absent in files of a version with two verdicts.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Judgement"))]
    verdict: Option<Judgement>,
}

impl JudgementPart {
    fn serialize<S: Serializer>(judgement: &Judgement, to: S) -> Result<S::Ok, S::Error> {
        let part = Self { broken: *judgement == Judgement::Fail, verdict: Some(*judgement) };
        Serialize::serialize(&part, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Judgement, D::Error> {
        let part: Self = Deserialize::deserialize(from)?;
        Ok(part.verdict.unwrap_or(Judgement::of(part.broken, part.broken)))
    }
}

/// The gates of a run, and whether it passed them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct VerdictPart {
    /// The exit code is 0.
    pub(crate) pass: bool,
    /// The exit code. 4: nothing failed, but a condition could not be judged.
    #[cfg_attr(test, schemars(extend("enum" = [0, 1, 3, 4, 130])))]
    pub(crate) exit: u8,
    pub(crate) gates: Vec<GateOutcome>,
}

/// The verdict of a saved run when it was saved. `resound report` shows it and does not apply it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SavedPart {
    pub(crate) verdict: VerdictPart,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Compared>,
}

impl VerdictPart {
    pub(super) fn of(outcomes: &[GateOutcome], exit: u8) -> Self {
        Self { pass: exit == 0, exit, gates: outcomes.to_vec() }
    }
}

impl GateOutcome {
    pub(crate) fn is_broken(&self) -> bool {
        self.judgement == Judgement::Fail
    }

    pub(crate) fn is_open(&self) -> bool {
        self.judgement == Judgement::CannotTell
    }

    /// The value, and what would settle the condition.
    pub(crate) fn explanation(&self) -> String {
        match &self.settled_by {
            Some(settled_by) => format!("{}; to settle it: {settled_by}", self.measured),
            None => self.measured.clone(),
        }
    }
}
