//! `--fail-if 'p99>5ms'`: a condition on the results that fails a run.

use std::cmp::Ordering;

use resound_load::LoadFailure;

use super::Run;
use super::measured::Estimate;
use super::metric::Metric;
use super::outcome::{GateOutcome, Judgement};
use crate::typed_condition::TypedCondition;

/// A condition that fails the run if it is true.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    /// The text as typed.
    pub(crate) text: String,
    metric: Metric,
    /// The condition is true if the value compares to the limit like one of these.
    orders: &'static [Ordering],
    limit: f64,
}

/// The metrics that a hint lists.
const NAMES: &str = "p50, p99, p99.9 (any percentile), min, mean, max; the same of connect., handshake., service., \
                     response. or lag., such as service.p99; errors, or one class of them (corrupt, missing, reset, \
                     unsent ...), loss, rate, send-rate, connect-rate, goodput";

impl Gate {
    /// Parses `METRIC`, one of `<` `<=` `>` `>=`, and a value with its unit.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(TypedCondition { name, orders, value }) = TypedCondition::split(text) else {
            return Err(format!(
                "a condition is written like 'p99>5ms', 'errors>0' or 'rate<10000'; there are: {NAMES}"
            ));
        };
        let metric =
            Metric::named(name).ok_or_else(|| format!("there is no '{name}' to compare; there are: {NAMES}"))?;
        let limit = metric.limit(value)?;
        Ok(Self { text: text.trim().into(), metric, orders, limit })
    }

    /// Judges a run. A gate without a measurement fails, since it proved nothing. It cannot tell if
    /// the limit lies within the bounds of the value.
    pub(crate) fn judge(&self, run: &Run) -> GateOutcome {
        let (unit, forgives) = (self.metric.unit().into(), self.classes());
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
        let [at_least, at_most] = [measured.least, measured.most].map(|end| self.is_true(end));
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

    /// The value if the condition is true of it, regardless of its bounds.
    pub(crate) fn is_met(&self, run: &Run) -> Option<String> {
        match self.measure(run) {
            Ok(measured) => self.is_true(measured.value).then(|| self.shown(&measured)),
            Err(why) => Some(why),
        }
    }

    /// The classes of failures to which the gate sets an upper limit.
    pub(super) fn classes(&self) -> Vec<LoadFailure> {
        if self.orders.contains(&Ordering::Greater) { self.metric.classes() } else { Vec::new() }
    }

    fn measure(&self, run: &Run) -> Result<Estimate, String> {
        // A NaN or an infinite value was not measured.
        self.metric.measure(run).and_then(|measured| match measured.value.is_finite() {
            true => Ok(measured),
            false => Err("not measured".into()),
        })
    }

    fn is_true(&self, value: f64) -> bool {
        value.partial_cmp(&self.limit).is_some_and(|order| self.orders.contains(&order))
    }

    fn shown(&self, measured: &Estimate) -> String {
        let at_least = if measured.is_bound { "at least " } else { "" };
        format!("{at_least}{}", self.metric.shown(measured.value))
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
    fn a_true_condition_fails() {
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
            // The reset also loses messages in flight, which are no failures of their own.
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
    fn a_missing_measurement_fails() {
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
    fn a_run_without_time_has_no_rate() {
        for text in ["rate>10k", "send-rate>10k", "connect-rate>10k", "goodput>1k"] {
            let (broken, why) = judged(text, &samples::empty());
            assert!(broken && why == "no time was measured, so nothing was proved", "{text}: {why}");
        }
    }

    #[test]
    fn an_invalid_condition_lists_the_valid_ones() {
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
