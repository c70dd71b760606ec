//! `--fail-if 'p99>5ms'`: a condition on the results that fails a run.

use std::fmt;
use std::time::Duration;

use resound_load::{Bounded, Fault};

use super::Run;
use super::measured::Estimate;
use super::outcome::{GateOutcome, Judgement};
use super::verdict::WRONG;
use crate::units;

/// A condition that fails the run when it is true.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    /// As it was typed.
    text: String,
    metric: Metric,
    comparison: Operator,
    limit: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Metric {
    Time {
        of: TimeKind,
        what: GateSubject,
    },
    Errors,
    /// Failures of one class.
    Failed(Fault),
    /// Messages that were never answered, of all that were planned.
    Loss,
    Rate,
    SendRate,
    ConnectRate,
    Goodput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeKind {
    /// Response time where there is a plan, service time otherwise.
    Main,
    Connect,
    Handshake,
    Service,
    Response,
    Lag,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum GateSubject {
    Percentile(f64),
    Min,
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// What a hint lists.
const NAMES: &str = "p50, p99, p99.9 (any percentile), min, mean, max; the same of connect., handshake., service., response. or lag., such as \
                     service.p99; errors, or one class of them (corrupt, missing, reset, unsent ...), loss, rate, send-rate, connect-rate, \
                     goodput";

impl Gate {
    /// `METRIC`, one of `<` `<=` `>` `>=`, and a value with its unit.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = text.find(['<', '>']).map(|at| (text[..at].trim(), &text[at..]));
        let Some((name, rest)) = found else {
            return Err(format!(
                "a condition is written like 'p99>5ms', 'errors>0' or 'rate<10000'; there are: {NAMES}"
            ));
        };
        let signs =
            [(">=", Operator::AtLeast), ("<=", Operator::AtMost), (">", Operator::Greater), ("<", Operator::Less)];
        let (comparison, value) =
            signs.iter().find_map(|&(sign, it)| Some((it, rest.strip_prefix(sign)?))).expect("it begins with one");
        let metric =
            Metric::named(name).ok_or_else(|| format!("there is no '{name}' to compare; there are: {NAMES}"))?;
        let limit = metric.limit(value.trim())?;
        Ok(Self { text: text.trim().into(), metric, comparison, limit })
    }

    /// Does the run pass? Without a measurement it does not: a gate that nothing went through has
    /// proved nothing. Where the truth may lie on either side of the limit it cannot be told.
    pub(crate) fn judge(&self, run: &Run) -> GateOutcome {
        let (unit, forgives) = (self.metric.unit().into(), self.metric.forgives());
        let outcome = |judgement, measured, value, settled_by| GateOutcome {
            gate: self.text.clone(),
            judgement,
            measured,
            value,
            unit,
            settled_by,
            forgives,
        };
        let measured = match self.measure(run) {
            Ok(measured) => measured,
            Err(why) => return outcome(Judgement::Fail, why, None, None),
        };
        let [at_least, at_most] = [measured.least, measured.most].map(|end| self.comparison.holds(end, self.limit));
        let judgement = Judgement::of(at_least, at_most);
        let shown = self.shown(&measured);
        if judgement != Judgement::CannotTell {
            return outcome(judgement, shown, Some(measured.value), None);
        }
        let (why, mut settles): (Vec<_>, Vec<_>) = measured.doubts.into_iter().unzip();
        settles.dedup();
        let why = format!("{shown}, but {}", why.join(", and "));
        outcome(judgement, why, Some(measured.value), Some(settles.join("; or ")))
    }

    /// Is it true of what was measured, whatever is not known? What was measured, if so.
    pub(crate) fn is_met(&self, run: &Run) -> Option<String> {
        match self.measure(run) {
            Ok(measured) => self.comparison.holds(measured.value, self.limit).then(|| self.shown(&measured)),
            Err(why) => Some(why),
        }
    }

    /// The classes of failures of which it says how many are too many.
    pub(super) fn classes(&self) -> Vec<Fault> {
        self.metric.forgives()
    }

    fn measure(&self, run: &Run) -> Result<Estimate, String> {
        // What is neither more nor less than anything was not measured.
        self.metric.measure(run).and_then(|measured| match measured.value.is_finite() {
            true => Ok(measured),
            false => Err("not measured".into()),
        })
    }

    fn shown(&self, measured: &Estimate) -> String {
        let at_least = if measured.is_bound { "at least " } else { "" };
        format!("{at_least}{}", self.metric.shown(measured.value))
    }
}

impl Metric {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "errors" => return Some(Self::Errors),
            "loss" => return Some(Self::Loss),
            "rate" => return Some(Self::Rate),
            "send-rate" => return Some(Self::SendRate),
            "connect-rate" => return Some(Self::ConnectRate),
            "goodput" => return Some(Self::Goodput),
            _ => {}
        }
        if let Some(class) = Fault::ALL.into_iter().find(|class| class.name() == name) {
            return Some(Self::Failed(class));
        }
        let (of, what) = match name.split_once('.') {
            Some(("connect", what)) => (TimeKind::Connect, what),
            Some(("handshake", what)) => (TimeKind::Handshake, what),
            Some(("service", what)) => (TimeKind::Service, what),
            Some(("response", what)) => (TimeKind::Response, what),
            Some(("lag", what)) => (TimeKind::Lag, what),
            _ => (TimeKind::Main, name),
        };
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

    /// The value to compare with, in the unit of [`Metric::unit`].
    fn limit(&self, text: &str) -> Result<f64, String> {
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

    fn unit(&self) -> &'static str {
        match self {
            Self::Time { .. } => "us",
            Self::Errors | Self::Failed(_) => "errors",
            Self::Loss => "percent",
            Self::Rate | Self::SendRate => "messages/s",
            Self::ConnectRate => "connections/s",
            Self::Goodput => "bytes/s",
        }
    }

    /// What it measures. Of wrong answers, and of messages that were never sent, no sum says how
    /// many there may be: only a gate with their name does.
    fn forgives(&self) -> Vec<Fault> {
        let by_name = |class: &Fault| WRONG.contains(class) || *class == Fault::Unsent;
        match self {
            Self::Errors => Fault::ALL.into_iter().filter(|class| !by_name(class)).collect(),
            Self::Failed(class) => vec![*class],
            Self::Loss => vec![Fault::Missing],
            _ => Vec::new(),
        }
    }

    fn shown(&self, value: f64) -> String {
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

impl TimeKind {
    /// The name of these times, and the times.
    pub(super) fn choose(self, run: &Run) -> (&'static str, Bounded<'_>) {
        let total = &run.record.total;
        match self {
            // How quickly somebody connects says nothing of how quickly they answer.
            Self::Main if run.main().0 == "connect" => ("service", total.service()),
            Self::Main => run.main(),
            Self::Connect => ("connect", Bounded::exact(&total.connect)),
            Self::Handshake => ("handshake", Bounded::exact(&total.handshake)),
            Self::Service => ("service", total.service()),
            Self::Response => ("response", total.response()),
            Self::Lag => ("lag", total.lag()),
        }
    }
}

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Greater => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn judged(text: &str, run: &Run) -> (bool, String) {
        let outcome = Gate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).judge(run);
        (outcome.is_broken(), outcome.measured)
    }

    #[test]
    fn what_is_true_breaks() {
        let run = Run::of(samples::record(10_000, 1, true));
        let cases = [
            ("p99>5ms", true, "50.1 ms"),
            ("p50 > 5ms", false, "61.8 us"),
            ("p50<=62us", true, "61.8 us"),
            ("response.p99.9>=1s", false, "320 ms"),
            ("service.max>1ms", true, "1.03 ms"),
            ("service.mean>0", true, "61.0 us"),
            ("service.min<1us", false, "20.2 us"),
            ("lag.p50>1us", true, "2.52 us"),
            ("connect.p95>1ms", false, "164 us"),
            ("errors>0", true, "4 errors"),
            ("errors>4", false, "4 errors"),
            ("errors>=4", true, "4 errors"),
            ("corrupt>0", true, "1 corrupt"),
            ("missing>2", false, "2 missing"),
            // A connection was reset with what was on its way: that is lost as well, and has no failures of its own.
            ("loss>0.1%", false, "0.0017 %"),
            ("loss>0.001%", true, "0.0017 %"),
            ("rate<10000", false, "10,000 msg/s"),
            ("rate<10,001/s", true, "10,000 msg/s"),
            ("rate<11k", true, "10,000 msg/s"),
            ("send-rate<9k", false, "10,000 msg/s"),
            ("connect-rate<2", false, "2.13 conn/s"),
            ("goodput<1MiB/s", true, "625.0 KiB/s"),
            ("goodput<1k", false, "625.0 KiB/s"),
        ];
        for (text, broken, measured) in cases {
            assert_eq!(judged(text, &run), (broken, measured.into()), "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_proves_nothing() {
        let run = samples::empty();
        for text in ["p99>5ms", "response.max<1s", "connect.p50>1h", "lag.mean>0", "loss>50%"] {
            let (broken, why) = judged(text, &run);
            assert!(broken && why.ends_with("so nothing was proved"), "{text}: {why}");
        }
        assert_eq!(judged("errors>0", &run), (false, "0 errors".into()));
        let mut discarding = samples::record(10, 1, false);
        discarding.settings.mode = resound_load::Mode::Discard;
        (discarding.total.service, discarding.total.response) = Default::default();
        let discarding = Run::of(discarding);
        assert!(judged("loss>0", &discarding).0);
        assert!(judged("p99>1h", &discarding).0 && !judged("connect.p99>1h", &discarding).0);
    }

    #[test]
    fn what_took_no_time_has_no_rate() {
        for text in ["rate>10k", "send-rate>10k", "connect-rate>10k", "goodput>1k"] {
            let (broken, why) = judged(text, &samples::empty());
            assert!(broken && why == "no time was measured, so nothing was proved", "{text}: {why}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_a_list_of_what_there_is() {
        for text in [
            "",
            "p99",
            "p99=5ms",
            "p99!5ms",
            ">5ms",
            "p101>1ms",
            "p>1ms",
            "px>1ms",
            "latency>1ms",
            "foo.p99>1ms",
            "errors.p99>1",
        ] {
            let error = Gate::parse(text).unwrap_err();
            assert!(error.contains("service.p99") && error.contains("goodput"), "{text}: {error}");
        }
        for (text, hint) in [
            ("p99>5", "write it like 250us"),
            ("p99>-1ms", "write it like 250us"),
            ("errors>many", "write it like 10000"),
            ("rate<-1", "write it like 10000"),
            ("rate<inf", "write it like 10000"),
            ("loss>200%", "write it like 0.1%"),
            ("goodput<fast", "write it like 100MiB/s"),
        ] {
            let error = Gate::parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
