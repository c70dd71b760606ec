//! Two runs beside each other: what differs, and what may be chance.

use std::time::{Duration, SystemTime};

use resound::load::{FEWEST, Interval, Latency, compare};
use serde::{Deserialize, Serialize};

use super::run::Run;
use super::text::{Page, Style};
use super::{PERCENTILES, merge, text};
use crate::{escape, units};

/// The same files give the same intervals.
const SEED: u64 = 0x7265_736f_756e_6421;

/// How a run compares with a base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    /// The file, or files, of the base.
    pub(crate) base: String,
    /// Which time the times are of.
    pub(crate) times: String,
    /// Is a run of one of them a run of the other as well?
    #[serde(default)]
    pub(crate) same_run: bool,
    /// In which settings the two differ.
    #[serde(default)]
    pub(crate) differs: Vec<String>,
    /// Parts of the base and of the new run that the bootstrap drew from.
    pub(crate) parts: Option<(usize, usize)>,
    /// Why nothing can be said, where that is so.
    pub(crate) unable: Option<String>,
    pub(crate) rows: Vec<Row>,
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) base: f64,
    pub(crate) new: f64,
    /// The 95 % interval of the difference.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// That of `new / base`; nothing where it has no such end, since the base may be nothing.
    #[serde(default)]
    pub(crate) ratio_low: Option<f64>,
    #[serde(default)]
    pub(crate) ratio_high: Option<f64>,
    /// Does the interval leave out zero?
    pub(crate) shown: bool,
}

impl Compared {
    pub(crate) fn of(base: &Run, new: &Run) -> Self {
        let name = |run: &Run| {
            let files: Vec<_> = run.sources.iter().filter_map(|source| source.file.as_deref()).collect();
            files.join(", ")
        };
        let (kind, times): (_, fn(&Interval) -> &Latency) = match (base.main().0, new.main().0) {
            ("response", "response") => ("response", |interval| &interval.response),
            ("connect", "connect") => ("connect", |interval| &interval.connect),
            _ => ("service", |interval| &interval.service),
        };
        let same_run = merge::shared(&base.sources, &new.sources).is_some();
        let settings = [&base.record.settings, &new.record.settings];
        let mut differs: Vec<String> = merge::differing(&settings).into_iter().map(Into::into).collect();
        if settings[0].connections != settings[1].connections {
            differs.push("connections".into());
        }
        if settings[0].rate != settings[1].rate {
            differs.push("planned rates".into());
        }
        let unable = |why: String| Self {
            base: name(base),
            times: kind.into(),
            same_run,
            differs: differs.clone(),
            parts: None,
            unable: Some(why),
            rows: Vec::new(),
        };
        if kind != "connect" && settings[0].timestamps != settings[1].timestamps {
            let [base, new] = settings.map(|settings| settings.timestamps.name());
            return unable(format!(
                "The base's times are by another clock ({base}) than those of the new run ({new}), and cannot be compared: --timestamps {base} repeats \
                 the run with that of the base."
            ));
        }
        let (base_has, new_has) = (together(base), together(new));
        let found = compare(&base_has, &new_has, times, &PERCENTILES, SEED);
        let Some(found) = found else {
            let (base_has, new_has) = (base_has.len(), new_has.len());
            return unable(format!(
                "The base has {}, the new run {new_has}: with fewer than {FEWEST} in each nothing can be said about chance.",
                units::counted(base_has as u64, "interval")
            ));
        };
        let finite = |ratio: f64| Some(ratio).filter(|ratio| ratio.is_finite());
        let row = |metric: &str, unit: &str, factor: f64, it: resound::load::Difference| Row {
            metric: metric.into(),
            unit: unit.into(),
            base: it.base * factor,
            new: it.new * factor,
            low: it.low * factor,
            high: it.high * factor,
            ratio_low: finite(it.ratio.0),
            ratio_high: finite(it.ratio.1),
            shown: it.is_shown(),
        };
        let mut rows = vec![
            row("rate", "messages/s", 1.0, found.rate),
            row("errors", "percent", 100.0, found.failures),
            row("mean", "us", 1e6, found.mean),
        ];
        for (percent, difference) in PERCENTILES.iter().zip(found.percentiles) {
            rows.push(row(&format!("p{percent}"), "us", 1e6, difference));
        }
        Self { base: name(base), times: kind.into(), same_run, differs, parts: Some(found.parts), unable: None, rows }
    }

    /// `verb` says when it was compared.
    pub(crate) fn render(&self, verb: &str, style: Style) -> String {
        let mut page = Page { text: String::new(), style, width: style.width.clamp(40, 80) };
        page.section(&format!("{verb} with {}", escape::text(self.base.as_bytes())));
        if self.unable.is_some() {
            page.wrapped("  ", "  ", &escape::plain(self.conclusion().as_bytes()));
            return page.text;
        }
        let heading = format!("  {:<8}{:>12}{:>12}{:>9}   {:<22}", "", "base", "new", "change", "95 % of the change");
        page.line(&style.colour.label(&heading));
        for row in &self.rows {
            let verdict = match (row.shown, row.is_better()) {
                (false, _) => style.colour.aside("not shown"),
                (true, true) => style.colour.good("better"),
                (true, false) => style.colour.bad("worse"),
            };
            page.line(&format!(
                "  {:<8}{:>12}{:>12}{:>9}   {:<22} {verdict}",
                row.metric,
                row.value(row.base),
                row.value(row.new),
                row.change(row.new - row.base),
                row.interval(),
            ));
        }
        page.wrapped("  ", "  ", &escape::plain(self.conclusion().as_bytes()));
        page.text
    }

    /// What all rows come to, in a sentence or two.
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
        format!(
            "{same}{differ}{found} ({} times; bootstrap over {base} and {new} parts of the runs.)",
            capital(&self.times)
        )
    }
}

impl Row {
    pub(crate) fn is_better(&self) -> bool {
        (self.new > self.base) == self.more_is_better()
    }

    fn more_is_better(&self) -> bool {
        self.metric == "rate"
    }

    /// By how many per cent of the base it is worse: at least, as measured, and at most. Infinite where the base is nothing.
    pub(crate) fn worsening(&self) -> (f64, f64, f64) {
        let measured = if self.new == self.base { 1.0 } else { self.new / self.base };
        let [low, high] = [self.ratio_low, self.ratio_high].map(|ratio| ratio.unwrap_or(f64::INFINITY));
        match self.more_is_better() {
            true => ((1.0 - high) * 100.0, (1.0 - measured) * 100.0, (1.0 - low) * 100.0),
            false => ((low - 1.0) * 100.0, (measured - 1.0) * 100.0, (high - 1.0) * 100.0),
        }
    }

    /// The 95 % interval of the change: of the ratio where the base has a value, so that nothing becomes less than nothing.
    pub(crate) fn interval(&self) -> String {
        let part =
            |ratio: Option<f64>| ratio.map_or_else(|| "any".into(), |ratio| format!("{:+.1} %", (ratio - 1.0) * 100.0));
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

    /// Relative to the base, where it has a value.
    pub(crate) fn change(&self, difference: f64) -> String {
        if self.base > 0.0 {
            format!("{:+.1} %", difference * 100.0 / self.base)
        } else if difference == 0.0 {
            "0".into()
        } else {
            text::signed(difference, |value| self.value(value))
        }
    }
}

/// The intervals of a run; of a merged one those in which all generators ran. What one of them does before the others have begun is not that load.
fn together(run: &Run) -> Vec<Interval> {
    let Some((from, to)) = merge::overlap(&run.sources) else { return Vec::new() };
    let offset = |at: SystemTime| at.duration_since(run.record.started).unwrap_or_default();
    let (from, to) = (offset(from), offset(to));
    let is_whole = |interval: &&Interval| interval.start >= from && interval.start + interval.length <= to;
    match run.sources.len() {
        1 => run.record.intervals.clone(),
        _ => run.record.intervals.iter().filter(is_whole).cloned().collect(),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
