//! What a check found: [`PathReport`], and its parts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::check::CheckId;

/// The word for what a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// The property holds.
    Pass,
    /// It does not: every try failed, and a control on the same address passed.
    Fail,
    /// Some tries failed.
    Flaky,
    /// TCP survives it, and a program may notice.
    Warn,
    /// It was tried, and cannot be told.
    Unknown,
    /// It was not tried, and why.
    Skip,
    /// This machine or the far end could not run the check.
    Error,
}

impl CheckVerdict {
    /// In the order in which a summary counts them.
    pub const ALL: [Self; 7] =
        [Self::Fail, Self::Flaky, Self::Warn, Self::Unknown, Self::Error, Self::Skip, Self::Pass];

    /// The word, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Flaky => "flaky",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for CheckVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A direction of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathDirection {
    /// From this machine to the far end.
    Out,
    /// From the far end to this machine.
    In,
    /// Both.
    Both,
}

impl fmt::Display for PathDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Both => "both",
        })
    }
}

/// A number or a text that a check has measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MeasuredValue {
    /// A count, or bytes.
    Count(u64),
    /// Anything with a fraction; the name of the value has its unit.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// A text.
    Text(String),
}

impl fmt::Display for MeasuredValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Number(number) => write!(f, "{number:.3}"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

macro_rules! measured_from {
    ($($from:ty => |$value:ident| $to:expr),+ $(,)?) => {
        $(impl From<$from> for MeasuredValue {
            fn from($value: $from) -> Self {
                $to
            }
        })+
    };
}

measured_from! {
    u64 => |value| Self::Count(value),
    u32 => |value| Self::Count(value.into()),
    usize => |value| Self::Count(value as u64),
    f64 => |value| Self::Number(value),
    bool => |value| Self::Flag(value),
    String => |value| Self::Text(value),
    &str => |value| Self::Text(value.into()),
}

/// What was done besides, to show that the fault is that of the checked property alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlResult {
    /// What it was.
    pub what: String,
    /// How often it was tried.
    pub tries: u32,
    /// How often it went well.
    pub ok: u32,
}

impl ControlResult {
    /// Whether each try went well.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.tries > 0 && self.ok == self.tries
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Which check.
    pub id: CheckId,
    /// What it found.
    pub verdict: CheckVerdict,
    /// Where it is wrong.
    pub direction: Option<PathDirection>,
    /// How often it was tried.
    pub tries: u32,
    /// How often it went well.
    pub ok: u32,
    /// One sentence for the reader.
    pub summary: String,
    /// The control.
    pub control: Option<ControlResult>,
    /// Numbers, by their names.
    pub measured: BTreeMap<String, MeasuredValue>,
    /// What was seen, one observation a line.
    pub evidence: Vec<String>,
    /// What it looks like: a guess.
    pub suspect: Vec<String>,
    /// Arguments of `resound test` that show it again.
    pub reproduce: Option<String>,
    /// It is unknown since connections never reached the far end.
    #[serde(skip)]
    pub(crate) never_reached_far_end: bool,
    /// It is unknown because many of its connections were reset, which another check judges.
    #[serde(skip)]
    pub(crate) resets: u32,
}

impl CheckReport {
    /// A report without details.
    #[must_use]
    pub fn new(id: CheckId, verdict: CheckVerdict, summary: impl Into<String>) -> Self {
        Self {
            id,
            verdict,
            direction: None,
            tries: 0,
            ok: 0,
            summary: summary.into(),
            control: None,
            measured: BTreeMap::new(),
            evidence: Vec::new(),
            suspect: Vec::new(),
            reproduce: None,
            never_reached_far_end: false,
            resets: 0,
        }
    }

    /// With `tries` tries, of which `ok` succeeded.
    #[must_use]
    pub fn tried(mut self, ok: usize, tries: usize) -> Self {
        self.ok = u32::try_from(ok).unwrap_or(u32::MAX);
        self.tries = u32::try_from(tries).unwrap_or(u32::MAX);
        self
    }

    /// In this direction.
    #[must_use]
    pub fn towards(mut self, direction: PathDirection) -> Self {
        self.direction = Some(direction);
        self
    }

    /// With the result of a control.
    #[must_use]
    pub fn control(mut self, what: &str, ok: usize, tries: usize) -> Self {
        let [ok, tries] = [ok, tries].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        self.control = Some(ControlResult { what: what.into(), tries, ok });
        self
    }

    /// With a measured value; its name has its unit (`_ms`, `_bytes`).
    #[must_use]
    pub fn measure(mut self, name: &str, value: impl Into<MeasuredValue>) -> Self {
        self.measured.insert(name.into(), value.into());
        self
    }

    /// With an observation.
    #[must_use]
    pub fn saw(mut self, observation: impl Into<String>) -> Self {
        self.evidence.push(observation.into());
        self
    }

    /// With a guess at the cause.
    #[must_use]
    pub fn suspects(mut self, cause: impl Into<String>) -> Self {
        self.suspect.push(cause.into());
        self
    }
}

/// What kind of server is at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FarKind {
    /// A server that plays the other end (`resound-probe/1`).
    Probe,
    /// It sends back what it receives.
    Echo,
    /// It answers a line with `Server received: ` and the line.
    Reply,
    /// It speaks first.
    SpeaksFirst,
    /// It answers something else.
    Answers,
    /// It takes what it receives and answers nothing.
    Silent,
    /// It ends the connection without an answer.
    Hangs,
    /// There was no connection.
    None,
}

/// The verdict on a path to one address.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PathReport {
    /// The address that was tested, such as `192.0.2.1:8888`.
    pub address: String,
    /// `ipv4`, `ipv6` or `unix`.
    pub family: &'static str,
    /// What answers there.
    pub far: FarKind,
    /// The program at the far end, or how it greets.
    pub far_name: Option<String>,
    /// All checks, in the order of [`CheckId::ALL`].
    pub checks: Vec<CheckReport>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl PathReport {
    /// How many checks found this.
    #[must_use]
    pub fn count(&self, verdict: CheckVerdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    /// The report of a check, if it was asked for.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&CheckReport> {
        self.checks.iter().find(|check| check.id == id)
    }
}
