//! `--fail-if 'p99 worse>10%'`: a condition on the comparison of a run with its base.

use super::PERCENTILES;
use super::comparison::{Compared, ComparisonRow};
use super::gate::Gate;
use super::outcome::{GateOutcome, Judgement};

/// A condition of `--fail-if`.
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

/// A limit for how much worse than the base's a figure may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Regression {
    /// The text as typed.
    pub(crate) text: String,
    metric: String,
    /// The limit in per cent of the base.
    limit: f64,
}

impl Regression {
    /// Parses `METRIC worse>PERCENT`; `None` for any other text.
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
            None => Err(format!("'{text}' is written like 'p99 worse>10%': a limit in percent of the base")),
        })
    }

    /// Fails if the whole 95 % interval is beyond the limit, passes if none of it is, and otherwise
    /// cannot tell. A figure that was not measured, or is compared with itself, proves nothing and
    /// fails.
    pub(crate) fn judge(&self, compared: &Compared) -> GateOutcome {
        let row = compared.rows.iter().find(|row| row.metric == self.metric);
        let is_unmeasured = compared.unmeasured.contains(&self.metric) || row.is_some_and(|row| !is_measured(row));
        let fails = |why: &str| (Judgement::Fail, format!("{why}, so nothing was proved"), None);
        let (judgement, measured, value) = match (row, &compared.unable) {
            _ if compared.same_run => fails("the base is this very run"),
            _ if is_unmeasured => fails("it was not measured in both runs"),
            (Some(row), _) => {
                let (least, found, most) = row.worsening();
                let judgement = Judgement::of(least > self.limit, most > self.limit);
                let measured = format!("{}, with 95 % confidence {}", worse(found), between(least, most));
                (judgement, measured, Some(found))
            }
            (None, Some(why)) => (Judgement::CannotTell, why.trim_end_matches('.').into(), None),
            (None, None) => fails("it was not measured in both runs"),
        };
        let is_open = judgement == Judgement::CannotTell;
        GateOutcome {
            gate: self.text.clone(),
            judgement,
            measured,
            value: value.filter(|value| value.is_finite()),
            unit: "percent".into(),
            // The error names the figures that can be compared.
            settled_by: (is_open && (row.is_some() || compared.has_too_few)).then(|| self.settled_by(compared)),
            forgives: Vec::new(),
        }
    }

    fn settled_by(&self, compared: &Compared) -> String {
        let absolute = match self.metric.as_str() {
            "rate" => "'rate<10k'",
            "errors" => "'errors>0'",
            "mean" => "'mean>5ms'",
            _ => &format!("'{}>5ms'", self.metric),
        };
        let repeated = match compared.runs {
            Some(_) => "more repetitions",
            None => "repeated runs of both (--repeated)",
        };
        format!(
            "longer runs, more intervals (--interval), {repeated}, or a gate on the figure itself such as {absolute}"
        )
    }
}

/// The figures that can be compared.
pub(super) fn names() -> impl Iterator<Item = String> {
    ["rate", "errors", "mean"]
        .map(String::from)
        .into_iter()
        .chain(PERCENTILES.iter().map(|percent| format!("p{percent}")))
}

/// Zero failures are a value; a time of zero is none.
fn is_measured(row: &ComparisonRow) -> bool {
    match row.metric.as_str() {
        "errors" => true,
        "rate" => row.base > 0.0,
        _ => row.base > 0.0 && row.new > 0.0,
    }
}

fn worse(percent: f64) -> String {
    match percent {
        percent if percent.is_infinite() => "worse than a base of 0".into(),
        percent if percent >= 0.0 => format!("{percent:.1} % worse"),
        percent => format!("{:.1} % better", -percent),
    }
}

fn between(least: f64, most: f64) -> String {
    match (least.is_finite(), most.is_finite()) {
        (true, true) if least == most => worse(least),
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
    use resound_load::Latency;

    /// A second run with each response time scaled to `hundredths` of it.
    fn slower(hundredths: u64) -> Run {
        let mut record = samples::record(1_000, 5, false);
        for interval in &mut record.intervals {
            let times = interval.response.buckets().map(|bucket| (bucket.to * hundredths / 100, bucket.count));
            interval.response = Latency::of(times);
        }
        Run::of(record)
    }

    fn judged(text: &str, base: &Run, new: &Run) -> GateOutcome {
        let Ok(Condition::Regression(regression)) = Condition::parse(text) else { panic!("{text}") };
        regression.judge(&Compared::of(base, new))
    }

    #[test]
    fn a_regression_needs_the_whole_interval() {
        let base = Run::of(samples::record(1_000, 1, false));
        let compared = [50, 100, 200].map(|hundredths| (hundredths, Compared::of(&base, &slower(hundredths))));
        for (text, hundredths, judgement) in [
            ("p50 worse>10%", 200, Judgement::Fail),
            ("p50 worse>10%", 100, Judgement::Pass),
            // A second in thirty has a stall, which may or may not come again.
            ("mean worse > 0.5%", 100, Judgement::CannotTell),
            ("p99 worse>10%", 100, Judgement::CannotTell),
            // The value is twice the base, but the interval is wide.
            ("p50 worse>100%", 200, Judgement::CannotTell),
            ("p50 worse>0%", 50, Judgement::Pass),
            ("rate worse>0%", 200, Judgement::Pass),
            ("errors worse>0%", 200, Judgement::Pass),
        ] {
            let Ok(Condition::Regression(regression)) = Condition::parse(text) else { panic!("{text}") };
            let (_, compared) = compared.iter().find(|(of, _)| *of == hundredths).unwrap();
            let outcome = regression.judge(compared);
            assert_eq!(outcome.judgement, judgement, "{text}: {}", outcome.measured);
            let settled_by = outcome.settled_by.unwrap_or_default();
            let says = |what: &str| settled_by.contains(what);
            assert_eq!(
                says("(--repeated)") && says("(--interval)"),
                judgement == Judgement::CannotTell,
                "{settled_by}"
            );
        }
        let outcome = judged("p50 worse>10%", &base, &slower(200));
        assert!(outcome.measured.contains(" % worse, with 95 % confidence from "), "{}", outcome.measured);
        let half = Run::of(samples::record(500, 5, false));
        let outcome = judged("rate worse>40%", &base, &half);
        assert!(outcome.is_broken() && outcome.measured.starts_with("50.0 % worse"), "{}", outcome.measured);
        assert_eq!(judged("rate worse>50%", &half, &base).judgement, Judgement::Pass);
    }

    #[test]
    fn missing_figures_fail_and_short_runs_cannot_tell() {
        let base = Run::of(samples::record(1_000, 1, false));
        let mut short = samples::record(1_000, 5, false);
        short.intervals.truncate(3);
        let mut silent = samples::record(1_000, 5, false);
        silent.intervals.iter_mut().for_each(|interval| interval.response = Latency::default());
        let mut nothing = short.clone();
        for interval in nothing.intervals.iter_mut().chain([&mut nothing.total]) {
            (interval.response, interval.service) = Default::default();
        }
        let mut kernels = samples::record(1_000, 5, false);
        kernels.settings.timestamps = resound_load::Timestamps::Kernel;
        for (new, judgement, why) in [
            (Run::of(short), Judgement::CannotTell, "nothing can be said about chance"),
            (base.clone(), Judgement::Fail, "the base is this very run"),
            (Run::of(silent), Judgement::Fail, "it was not measured in both runs, so nothing was proved"),
            (Run::of(nothing), Judgement::Fail, "it was not measured in both runs, so nothing was proved"),
            (Run::of(kernels), Judgement::CannotTell, "by another clock"),
        ] {
            let outcome = judged("p50 worse>10%", &base, &new);
            assert_eq!(outcome.judgement, judgement, "{}", outcome.measured);
            assert!(outcome.measured.contains(why), "{}", outcome.measured);
        }
    }

    /// Repetitions of a run, each with its own seed.
    fn repeated(seeds: std::ops::Range<u64>, change: impl Fn(u64, &mut resound_load::Record)) -> Run {
        let run = |seed| {
            let mut record = samples::record(200, seed, false);
            record.started += std::time::Duration::from_secs(60 * seed);
            record.intervals.truncate(10);
            change(seed, &mut record);
            Run::of(record)
        };
        super::super::repeat::repeat(seeds.map(run).collect()).unwrap()
    }

    #[test]
    fn repetitions_settle_a_doubtful_comparison() {
        let scaled = |by: u64, record: &mut resound_load::Record| {
            for interval in record.intervals.iter_mut().chain([&mut record.total]) {
                let times = interval.response.buckets().map(|bucket| (bucket.to * by / 100, bucket.count));
                interval.response = Latency::of(times);
            }
        };
        let base = repeated(1..6, |_, _| {});
        for (new, judgement) in [
            (repeated(6..11, |_, _| {}), Judgement::Pass),
            (repeated(6..11, |_, record| scaled(150, record)), Judgement::Fail),
            // Each run is steady in itself, but the runs differ.
            (repeated(6..11, |seed, record| scaled(80 + 20 * (seed - 6), record)), Judgement::CannotTell),
        ] {
            let compared = Compared::of(&base, &new);
            assert_eq!((compared.runs, compared.parts), (Some((5, 5)), Some((50, 50))));
            let Ok(Condition::Regression(regression)) = Condition::parse("p50 worse>15%") else { panic!() };
            let outcome = regression.judge(&compared);
            assert_eq!(outcome.judgement, judgement, "{}", outcome.measured);
        }
        // As intervals of one run they would have given a verdict.
        let mut new = repeated(6..11, |seed, record| scaled(80 + 40 * (seed - 6), record));
        let judge = |new: &Run| judged("p50 worse>15%", &base, new).judgement;
        assert_eq!(judge(&new), Judgement::CannotTell);
        new.repetitions.clear();
        new.sources.truncate(1);
        assert_eq!(Compared::of(&base, &new).runs, Some((5, 1)));
    }

    #[test]
    fn other_conditions_and_mistakes_are_told_apart() {
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
