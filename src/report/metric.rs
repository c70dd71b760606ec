//! The quantities of a run that a condition may name.

use std::time::Duration;

use resound_load::LoadFailure;

use super::run::KINDS;
use super::verdict::WRONG;
use crate::units;

/// A quantity of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Metric {
    Time {
        /// The name of the times; `None` for response times with a plan, else service times.
        of: Option<&'static str>,
        what: GateSubject,
    },
    Errors,
    /// Failures of one class.
    Failed(LoadFailure),
    /// The share of due messages that were not answered.
    Loss,
    Rate,
    SendRate,
    ConnectRate,
    Goodput,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum GateSubject {
    Percentile(f64),
    Min,
    Mean,
    Max,
}

impl Metric {
    pub(super) fn named(name: &str) -> Option<Self> {
        let plain = match name {
            "errors" => Some(Self::Errors),
            "loss" => Some(Self::Loss),
            "rate" => Some(Self::Rate),
            "send-rate" => Some(Self::SendRate),
            "connect-rate" => Some(Self::ConnectRate),
            "goodput" => Some(Self::Goodput),
            name => LoadFailure::named(name).map(Self::Failed),
        };
        if plain.is_some() {
            return plain;
        }
        let split = name.split_once('.');
        let found = split.and_then(|(of, what)| Some((KINDS.into_iter().find(|kind| *kind == of)?, what)));
        let (of, what) = found.map_or((None, name), |(of, what)| (Some(of), what));
        let what = match what {
            "min" => GateSubject::Min,
            "mean" => GateSubject::Mean,
            "max" => GateSubject::Max,
            percentile => {
                let digits = percentile.strip_prefix('p').filter(|p| p.starts_with(|c: char| c.is_ascii_digit()))?;
                let percent: f64 = digits.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
                GateSubject::Percentile(percent)
            }
        };
        Some(Self::Time { of, what })
    }

    /// Parses the limit, in the unit of [`Metric::unit`].
    pub(super) fn limit(&self, text: &str) -> Result<f64, String> {
        match self {
            Self::Time { .. } if text == "0" => Ok(0.0),
            Self::Time { .. } => {
                let time = humantime::parse_duration(text)
                    .map_err(|_| format!("'{text}' is not a duration; write it like 250us, 5ms or 1s"))?;
                Ok(time.as_secs_f64() * 1e6)
            }
            Self::Loss => {
                let percent = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
                percent
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .ok_or_else(|| format!("'{text}' is not a share; write it like 0.1%"))
            }
            Self::Goodput => {
                let size = text.strip_suffix("/s").unwrap_or(text);
                units::size(size)
                    .map(|size| size as f64)
                    .map_err(|_| format!("'{text}' is not a rate of bytes; write it like 100MiB/s (powers of 1024)"))
            }
            Self::Errors | Self::Failed(_) | Self::Rate | Self::SendRate | Self::ConnectRate => {
                let number = text.strip_suffix("/s").unwrap_or(text);
                let (number, factor) = match number.strip_suffix(['k', 'K']) {
                    Some(number) => (number, 1e3),
                    None => (number, 1.0),
                };
                let number: Option<f64> = number.trim().replace(',', "").parse().ok();
                number
                    .filter(|number| number.is_finite() && *number >= 0.0)
                    .map(|number| number * factor)
                    .ok_or_else(|| format!("'{text}' is not a number; write it like 10000 or 10k"))
            }
        }
    }

    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Time { .. } => "us",
            Self::Errors | Self::Failed(_) => "errors",
            Self::Loss => "percent",
            Self::Rate | Self::SendRate => "messages/s",
            Self::ConnectRate => "connections/s",
            Self::Goodput => "bytes/s",
        }
    }

    /// The classes that the metric counts. A gate on a sum does not limit wrong answers and unsent
    /// messages: only a gate on their own class does.
    pub(super) fn classes(&self) -> Vec<LoadFailure> {
        let by_name = |class: &LoadFailure| WRONG.contains(class) || *class == LoadFailure::Unsent;
        match self {
            Self::Errors => LoadFailure::ALL.into_iter().filter(|class| !by_name(class)).collect(),
            Self::Failed(class) => vec![*class],
            Self::Loss => vec![LoadFailure::Missing],
            _ => Vec::new(),
        }
    }

    pub(super) fn shown(&self, value: f64) -> String {
        match self {
            Self::Time { .. } => units::latency(Duration::from_secs_f64(value / 1e6)),
            Self::Errors => units::counted(value as u64, "error"),
            Self::Failed(class) => format!("{} {class}", units::count(value as u64)),
            Self::Loss => format!("{value:.4} %"),
            Self::Rate | Self::SendRate => format!("{} msg/s", units::rate(value)),
            Self::ConnectRate => format!("{} conn/s", units::rate(value)),
            Self::Goodput => format!("{}/s", units::bytes(value as u64)),
        }
    }
}
