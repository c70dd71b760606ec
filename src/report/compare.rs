//! A comparison of two runs: the differences, and whether they may be chance. The intervals are
//! percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
//! chapter 13).

use std::time::{Duration, SystemTime};

use resound_console::escape;
use resound_load::{Difference, FEWEST, Interval, RUNS, compare};

use super::comparison::{Compared, ComparisonRow};
use super::metric::Metric;
use super::page::{Page, Style};
use super::run::{Run, times};
use super::{PERCENTILES, describe, merge};
use crate::units;

/// The width of a table with all columns.
const TABLE: usize = 78;
/// A fixed seed: the same files give the same intervals.
const SEED: u64 = 0x7265_736f_756e_6421;

impl Compared {
    pub(crate) fn of(base: &Run, new: &Run) -> Self {
        let name = |run: &Run| {
            let files: Vec<_> = run.sources.iter().filter_map(|source| source.file.as_deref()).collect();
            files.join(", ")
        };
        let kind = if base.main().0 == new.main().0 { base.main().0 } else { "service" };
        let same_run = merge::shared(&base.sources, &new.sources).is_some();
        let settings = [&base.record.settings, &new.record.settings];
        let mut differs: Vec<String> = merge::differing(&settings).into_iter().map(Into::into).collect();
        if settings[0].connections != settings[1].connections {
            differs.push("connections".into());
        }
        if settings[0].rate != settings[1].rate {
            differs.push("planned rates".into());
        }
        let compared = Self {
            base: name(base),
            times: kind.into(),
            same_run,
            differs,
            parts: None,
            runs: None,
            unable: None,
            rows: Vec::new(),
            unmeasured: unmeasured(kind, [base, new]),
            has_too_few: false,
        };
        if kind != "connect" && settings[0].timestamps != settings[1].timestamps {
            let [base, new] = settings.map(|settings| settings.timestamps.name());
            let why = format!(
                "The base's times are by another clock ({base}) than those of the new run ({new}), and cannot be \
                 compared: --timestamps {base} repeats \
                 the run with that of the base."
            );
            return Self { unable: Some(why), ..compared };
        }
        let (base_has, new_has) = (together(base), together(new));
        let (base_runs, new_runs) = (each(base, &base_has), each(new, &new_has));
        let found = compare(&base_runs, &new_runs, |interval| times(interval, kind).all, &PERCENTILES, SEED);
        let Some(found) = found else {
            let (base_has, new_has) = (base_has.len(), new_has.len());
            let why = format!(
                "The base has {}, the new run {new_has}: \
                 with fewer than {FEWEST} in each nothing can be said about chance.",
                units::counted(base_has as u64, "interval")
            );
            return Self { has_too_few: true, unable: Some(why), ..compared };
        };
        let row = |metric: &str, unit: &str, factor: f64, it: Difference| {
            let ratio = widened(it.ratio, kind, metric, [base, new]);
            ComparisonRow::of(metric, unit, factor, it, ratio)
        };
        let mut rows = vec![
            row("rate", "messages/s", 1.0, found.rate),
            row("errors", "percent", 100.0, found.failures),
            row("mean", "us", 1e6, found.mean),
        ];
        for (percent, difference) in PERCENTILES.iter().zip(found.percentiles) {
            rows.push(row(&format!("p{percent}"), "us", 1e6, difference));
        }
        let runs = Some(found.runs).filter(|(base, new)| base.max(new) > &1);
        Self { parts: Some(found.parts), runs, rows, ..compared }
    }

    /// `verb` says when the comparison was made.
    pub(crate) fn render(&self, verb: &str, style: Style) -> String {
        let mut page = Page::new(style);
        page.section(&format!("{verb} with {}", escape::text(self.base.as_bytes())));
        if self.unable.is_some() {
            page.wrapped("  ", "  ", &escape::plain(self.conclusion().as_bytes()));
            return page.text;
        }
        let is_narrow = page.width < TABLE;
        let mut heading = format!("  {:<8}{:>12}{:>12}", "", "base", "new");
        if !is_narrow {
            heading += &format!("{:>9}   {:<22}", "change", "95 % of the change");
        }
        page.line(&style.colour.label(&heading));
        for row in &self.rows {
            let verdict = match (row.shown, row.is_better()) {
                (false, _) => style.colour.aside("not shown"),
                (true, true) => style.colour.good("better"),
                (true, false) => style.colour.bad("worse"),
            };
            let (base, new, change) = (row.value(row.base), row.value(row.new), row.change(row.new - row.base));
            if is_narrow {
                // In a narrow window the change goes below the figures.
                page.line(&format!("  {:<8}{base:>12}{new:>12}", row.metric));
                page.wrapped("    ", "    ", &format!("{change}, 95 %: {} {verdict}", row.interval()));
            } else {
                page.line(&format!(
                    "  {:<8}{base:>12}{new:>12}{change:>9}   {:<22} {verdict}",
                    row.metric,
                    row.interval()
                ));
            }
        }
        page.wrapped("  ", "  ", &escape::plain(self.conclusion().as_bytes()));
        page.text
    }

    /// A summary of all rows in a sentence or two.
    pub(crate) fn conclusion(&self) -> String {
        let same = match self.same_run {
            true => "The base and the new run are the same run, or hold one that is the same: that compares nothing. ",
            false => "",
        };
        let differ = match self.differs.is_empty() {
            true => String::new(),
            false => format!("The runs differ in their settings ({}). ", self.differs.join(", ")),
        };
        let Some((base, new)) = self.parts else {
            return format!("{same}{differ}{}", self.unable.as_deref().unwrap_or_default());
        };
        let list = |better| {
            let rows: Vec<_> = self
                .rows
                .iter()
                .filter(|row| row.shown && row.is_better() == better)
                .map(|row| row.metric.as_str())
                .collect();
            rows.join(", ")
        };
        let (better, worse) = (list(true), list(false));
        let found = match (better.is_empty(), worse.is_empty()) {
            (true, true) => "No difference is shown.".into(),
            (false, true) => format!("Better: {better}."),
            (true, false) => format!("Worse: {worse}."),
            (false, false) => format!("Better: {better}. Worse: {worse}."),
        };
        let over = match self.runs {
            Some((base, new)) if base.min(new) >= RUNS => format!("{base} and {new} runs"),
            Some((runs, others)) => format!("{runs} and {others} runs, and over {base} and {new} parts of them"),
            None => format!("{base} and {new} parts of the runs"),
        };
        format!("{same}{differ}{found} ({} times; bootstrap over {over}.)", describe::capital(&self.times))
    }
}

impl ComparisonRow {
    /// `ratio` is the interval of the ratio, widened by the doubts about both sides: a comparison
    /// does not remove them.
    fn of(metric: &str, unit: &str, factor: f64, it: Difference, ratio: (f64, f64)) -> Self {
        let finite = |ratio: f64| Some(ratio).filter(|ratio| ratio.is_finite());
        Self {
            metric: metric.into(),
            unit: unit.into(),
            base: it.base * factor,
            new: it.new * factor,
            low: it.low * factor,
            high: it.high * factor,
            ratio_low: finite(ratio.0),
            ratio_high: finite(ratio.1),
            shown: it.is_shown() && !(ratio.0 <= 1.0 && 1.0 <= ratio.1),
        }
    }

    pub(crate) fn is_better(&self) -> bool {
        (self.new > self.base) == self.more_is_better()
    }

    fn more_is_better(&self) -> bool {
        self.metric == "rate"
    }

    /// By how many per cent of the base the new value is worse: lower bound, measured value and
    /// upper bound. Infinite if the base is 0.
    pub(crate) fn worsening(&self) -> (f64, f64, f64) {
        let measured = if self.new == self.base { 1.0 } else { self.new / self.base };
        let [low, high] = [self.ratio_low, self.ratio_high].map(|ratio| ratio.unwrap_or(f64::INFINITY));
        match self.more_is_better() {
            true => ((1.0 - high) * 100.0, (1.0 - measured) * 100.0, (1.0 - low) * 100.0),
            false => ((low - 1.0) * 100.0, (measured - 1.0) * 100.0, (high - 1.0) * 100.0),
        }
    }

    /// The 95 % interval of the change: of the ratio if the base is not 0, so that no value falls
    /// below 0.
    pub(crate) fn interval(&self) -> String {
        // A ratio beyond this is unknown.
        const ANY: f64 = 1000.0;
        let part = |ratio: Option<f64>| match ratio.filter(|ratio| *ratio <= ANY) {
            Some(ratio) => format!("{:+.1} %", (ratio - 1.0) * 100.0),
            None => "any".into(),
        };
        match self.base > 0.0 && (self.ratio_low.is_some() || self.ratio_high.is_some()) {
            true => format!("{} to {}", part(self.ratio_low), part(self.ratio_high)),
            false => format!("{} to {}", self.change(self.low), self.change(self.high)),
        }
    }

    pub(crate) fn value(&self, value: f64) -> String {
        match self.unit.as_str() {
            "us" => units::latency(Duration::try_from_secs_f64(value.max(0.0) / 1e6).unwrap_or(Duration::MAX)),
            "percent" => format!("{value:.3} %"),
            _ => format!("{}/s", units::rate(value)),
        }
    }

    /// The change relative to the base, if the base is not 0.
    pub(crate) fn change(&self, difference: f64) -> String {
        if self.base > 0.0 {
            format!("{:+.1} %", difference * 100.0 / self.base)
        } else if difference == 0.0 {
            "0".into()
        } else {
            format!("{}{}", if difference < 0.0 { "-" } else { "+" }, self.value(difference.abs()))
        }
    }
}

/// The figures that one of the runs did not measure.
fn unmeasured(kind: &str, runs: [&Run; 2]) -> Vec<String> {
    let is_measured = |metric: &str| match metric {
        "errors" => runs.iter().all(|run| !run.record.elapsed.is_zero()),
        "rate" => runs.iter().all(|run| run.rates.messages > 0.0),
        _ => runs.iter().all(|run| !times(&run.record.total, kind).all.is_empty()),
    };
    super::regression::names().filter(|metric| !is_measured(metric)).collect()
}

/// The interval of a ratio, widened by the bounds of both values.
fn widened(ratio: (f64, f64), kind: &str, metric: &str, runs: [&Run; 2]) -> (f64, f64) {
    let name = match metric {
        "rate" | "errors" => metric.into(),
        times => format!("{kind}.{times}"),
    };
    let metric = Metric::named(&name);
    let factors =
        |run| metric.as_ref().and_then(|it| it.measure_to_compare(run).ok()).map_or((1.0, 1.0), |it| it.factors());
    let [base, new] = runs.map(factors);
    let times = |ratio: f64, by: f64| if ratio == 0.0 || by == 0.0 { 0.0 } else { ratio * by };
    (times(ratio.0, new.0 / base.1), times(ratio.1, if base.0 > 0.0 { new.1 / base.0 } else { f64::INFINITY }))
}

/// The intervals of each repetition.
fn each<'a>(run: &Run, mut intervals: &'a [Interval]) -> Vec<&'a [Interval]> {
    if run.repetitions.iter().sum::<usize>() != intervals.len() {
        return vec![intervals];
    }
    run.repetitions.iter().map(|count| intervals.split_off(..*count).unwrap_or_default()).collect()
}

/// The intervals of a run; of a merged run only those in which all generators ran. Before all have
/// begun it is a different load.
pub(super) fn together(run: &Run) -> Vec<Interval> {
    if !run.repetitions.is_empty() {
        return run.record.intervals.clone();
    }
    let Some((from, to)) = merge::overlap(&run.sources) else { return Vec::new() };
    let offset = |at: SystemTime| at.duration_since(run.record.started).unwrap_or_default();
    let (from, to) = (offset(from), offset(to));
    let is_whole = |interval: &&Interval| interval.start >= from && interval.start + interval.length <= to;
    match run.sources.len() {
        1 => run.record.intervals.clone(),
        _ => run.record.intervals.iter().filter(is_whole).cloned().collect(),
    }
}
