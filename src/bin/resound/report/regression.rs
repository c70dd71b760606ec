//! `--fail-if 'p99 worse>10%'`: a condition on how a run compares with its base.

use std::fmt;

use super::PERCENTILES;
use super::compare::{Compared, Row};
use super::gate::{Gate, Outcome};

/// What `--fail-if` takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Gate(Gate),
    Regression(Regression),
}

impl Condition {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match Regression::parse(text) {
            Some(regression) => regression.map(Self::Regression),
            None => Gate::parse(text).map(Self::Gate),
        }
    }
}

/// A figure may not be worse than the base's by more than this.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Regression {
    /// As it was typed.
    text: String,
    metric: String,
    /// In per cent of the base.
    limit: f64,
}

impl Regression {
    /// `METRIC worse>PERCENT`; `None` where it is no such condition.
    fn parse(text: &str) -> Option<Result<Self, String>> {
        let (name, limit) = text.split_at(text.find(['<', '>', '=']).unwrap_or(text.len()));
        let metric =
            name.trim_end().strip_suffix("worse").filter(|metric| metric.ends_with(char::is_whitespace))?.trim();
        let known: Vec<_> = names().collect();
        if !known.iter().any(|name| name == metric) {
            return Some(Err(format!("'{metric}' is not compared; there are: {}", known.join(", "))));
        }
        let percent: Option<f64> =
            limit.strip_prefix('>').and_then(|limit| limit.trim().strip_suffix('%')?.trim().parse().ok());
        let limit = percent.filter(|percent| percent.is_finite() && *percent >= 0.0);
        Some(match limit {
            Some(limit) => Ok(Self { text: text.trim().into(), metric: metric.into(), limit }),
            None => Err(format!("'{text}' is written like 'p99 worse>10%': more than so many per cent of the base")),
        })
    }

    /// Is it worse by more than that, wherever in its 95 % interval the truth lies? Where nothing can be said it is broken as well: it has proved nothing.
    pub(crate) fn judge(&self, compared: &Compared) -> Outcome {
        let row = compared.rows.iter().find(|row| row.metric == self.metric);
        let (broken, measured, value) = match (compared.same_run, row.filter(|row| is_measured(row))) {
            (true, _) => (true, "the base is this very run, so nothing was proved".into(), None),
            (_, None) => {
                let why = compared.unable.clone().unwrap_or_else(|| "it was not measured in both runs".into());
                (true, format!("{}, so nothing was proved", why.trim_end_matches('.')), None)
            }
            (_, Some(row)) => {
                let (least, found, most) = row.worsening();
                (
                    least > self.limit,
                    format!("{}, with 95 % confidence {}", worse(found), between(least, most)),
                    Some(found),
                )
            }
        };
        let value = value.filter(|value| value.is_finite());
        Outcome { gate: self.text.clone(), broken, measured, value, unit: "percent".into(), forgives: Vec::new() }
    }
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What can be compared.
pub(super) fn names() -> impl Iterator<Item = String> {
    ["rate", "errors", "mean"]
        .map(String::from)
        .into_iter()
        .chain(PERCENTILES.iter().map(|percent| format!("p{percent}")))
}

/// No failure is a figure like any other, a time of nothing is none.
fn is_measured(row: &Row) -> bool {
    match row.metric.as_str() {
        "errors" => true,
        "rate" => row.base > 0.0,
        _ => row.base > 0.0 && row.new > 0.0,
    }
}

fn worse(percent: f64) -> String {
    match percent {
        percent if percent.is_infinite() => "worse than a base of nothing".into(),
        percent if percent >= 0.0 => format!("{percent:.1} % worse"),
        percent => format!("{:.1} % better", -percent),
    }
}

fn between(least: f64, most: f64) -> String {
    match (least.is_finite(), most.is_finite()) {
        (true, true) => format!("from {} to {}", worse(least), worse(most)),
        (true, false) => format!("at least {}", worse(least)),
        _ => "worse than it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::Run;
    use super::super::samples;
    use super::*;
    use resound::load::Latency;

    /// As another run, but each response time is so many hundredths of it.
    fn slower(hundredths: u64) -> Run {
        let mut record = samples::record(1_000, 5, false);
        for interval in &mut record.intervals {
            let times = interval.response.buckets().map(|bucket| (bucket.to * hundredths / 100, bucket.count));
            interval.response = Latency::of(times);
        }
        Run::of(record)
    }

    fn judged(text: &str, base: &Run, new: &Run) -> Outcome {
        let Ok(Condition::Regression(regression)) = Condition::parse(text) else { panic!("{text}") };
        regression.judge(&Compared::of(base, new))
    }

    #[test]
    fn only_what_the_interval_supports_breaks() {
        let base = Run::of(samples::record(1_000, 1, false));
        for (text, hundredths, broken) in [
            ("p50 worse>10%", 200, true),
            ("mean worse > 0.5%", 100, false),
            // It is twice the base, but not surely so.
            ("p50 worse>100%", 200, false),
            ("p50 worse>0%", 50, false),
            ("rate worse>0%", 200, false),
            ("errors worse>0%", 200, false),
        ] {
            let outcome = judged(text, &base, &slower(hundredths));
            assert_eq!(outcome.broken, broken, "{text}: {}", outcome.measured);
        }
        let outcome = judged("p50 worse>10%", &base, &slower(200));
        assert!(outcome.measured.contains(" % worse, with 95 % confidence from "), "{}", outcome.measured);
        let half = Run::of(samples::record(500, 5, false));
        let outcome = judged("rate worse>40%", &base, &half);
        assert!(outcome.broken && outcome.measured.starts_with("50.0 % worse"), "{}", outcome.measured);
        assert!(!judged("rate worse>50%", &half, &base).broken);
    }

    #[test]
    fn what_proves_nothing_breaks() {
        let base = Run::of(samples::record(1_000, 1, false));
        let mut short = samples::record(1_000, 5, false);
        short.intervals.truncate(3);
        let mut silent = samples::record(1_000, 5, false);
        silent.intervals.iter_mut().for_each(|interval| interval.response = Latency::default());
        for (new, why) in [
            (Run::of(short), "nothing can be said about chance, so nothing was proved"),
            (base.clone(), "the base is this very run"),
            (Run::of(silent), "it was not measured in both runs, so nothing was proved"),
        ] {
            let outcome = judged("p50 worse>10%", &base, &new);
            assert!(outcome.broken && outcome.measured.contains(why), "{}", outcome.measured);
        }
    }

    #[test]
    fn what_is_none_is_said() {
        for (text, hint) in [
            ("p98 worse>1%", "'p98' is not compared; there are: rate, errors, mean, p50"),
            ("p99 worse>1", "is written like 'p99 worse>10%'"),
            ("p99 worse", "is written like 'p99 worse>10%'"),
            ("p99 worse>-1%", "is written like 'p99 worse>10%'"),
            ("p99 worse<1%", "is written like 'p99 worse>10%'"),
            ("p99 worse>=1%", "is written like 'p99 worse>10%'"),
            ("worse>1%", "there is no 'worse' to compare"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(matches!(Condition::parse("p99>5ms"), Ok(Condition::Gate(_))));
    }
}
