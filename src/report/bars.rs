//! A distribution as bars, for a terminal.

use std::time::Duration;

use resound_load::Latency;

use crate::colour::Colour;
use crate::units;

/// The characters that draw bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Block elements: eighths of a cell.
    Blocks,
    /// For terminals without Unicode.
    Ascii,
}

impl Glyphs {
    /// The characters that the environment's locale allows.
    pub(crate) fn of_environment() -> Self {
        if cfg!(windows) {
            return Self::Blocks;
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.map(|locale| locale.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Blocks } else { Self::Ascii }
    }

    /// The mark in front of a lower bound.
    pub(crate) fn at_least(self) -> &'static str {
        match self {
            Self::Ascii => ">=",
            Self::Blocks => AT_LEAST,
        }
    }

    /// A bar of `share` of `cells` cells.
    pub(crate) fn bar(self, cells: usize, share: f64) -> String {
        match self {
            Self::Ascii => "#".repeat((cells as f64 * share).ceil() as usize),
            Self::Blocks => {
                let eighths = (cells as f64 * 8.0 * share).ceil() as usize;
                let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
                "█".repeat(eighths / 8) + part
            }
        }
    }

    /// A cell filled to the height `share`; a space for 0.
    pub(crate) fn level(self, share: Option<f64>) -> char {
        let Some(share) = share else { return ' ' };
        let of = |levels: &[char]| levels[((share * levels.len() as f64) as usize).min(levels.len() - 1)];
        match self {
            // A full cell would touch the line above.
            Self::Blocks => of(&['▁', '▂', '▃', '▄', '▅', '▆', '▇']),
            Self::Ascii => of(&['_', '.', '-', '=', '#']),
        }
    }
}

/// The mark in front of a lower bound.
pub(crate) const AT_LEAST: &str = "\u{2265}";
/// A narrower bar shows nothing.
const NARROWEST: usize = 10;
/// The limit of rows.
const ROWS: usize = 14;
/// Steps that divide a decade as preferred numbers do (IEC 60063), finest first.
const SERIES: [&[f64]; 4] = [
    &[
        1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5,
        8.2, 9.1,
    ],
    &[1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2],
    &[1.0, 2.0, 5.0],
    &[1.0],
];

/// A line for each bin: its lower end, its bar, its count and its share.
pub(crate) fn render(times: &Latency, width: usize, glyphs: Glyphs, colour: Colour) -> Vec<String> {
    let bins = bins(times);
    let most = bins.iter().map(|bin| bin.1).max().unwrap_or(0);
    let time = |bin: &(u64, u64)| units::latency(Duration::from_nanos(bin.0));
    let times_width = bins.iter().map(|bin| time(bin).len()).max().unwrap_or(0).max(9);
    let counts = bins.iter().map(|bin| units::count(bin.1).len()).max().unwrap_or(0).max(11);
    // Two columns of indentation, the time, the bar's frame and the counts. In a narrow window the
    // bar is left out before the counts.
    let around = 2 + times_width + 3 + 2 + 9;
    let has_counts = width >= around + 2 + counts + NARROWEST;
    let cells = width.saturating_sub(around + if has_counts { 2 + counts } else { 0 }).max(4);
    let share = |count: u64| if most == 0 { 0.0 } else { count as f64 / most as f64 };
    let line = |bin: &(u64, u64)| {
        let (time, count) = (time(bin), bin.1);
        let bar = glyphs.bar(cells, share(count));
        let bar = format!("{bar}{}", " ".repeat(cells.saturating_sub(bar.chars().count())));
        let count_text = if has_counts { format!("  {:>counts$}", units::count(count)) } else { String::new() };
        format!(
            "  {time:>times_width$} {} {}{count_text}  {:>7.3} %",
            if glyphs == Glyphs::Blocks { "│" } else { "|" },
            colour.label(&bar),
            count as f64 * 100.0 / times.count() as f64,
        )
    };
    bins.iter().map(line).collect()
}

/// The lower end of each bin (in ns) and its count. Bins are contiguous; the first and the last are
/// not empty.
fn bins(times: &Latency) -> Vec<(u64, u64)> {
    let (Some(first), Some(last)) = (times.buckets().next(), times.buckets().last()) else { return Vec::new() };
    for series in SERIES {
        let edges: Vec<u64> = edges(series, first.to, last.to).collect();
        if edges.len() <= ROWS || series.len() == 1 {
            let mut bins: Vec<(u64, u64)> = edges.into_iter().map(|edge| (edge, 0)).collect();
            for bucket in times.buckets() {
                let at = bins.partition_point(|bin| bin.0 <= bucket.to).saturating_sub(1);
                bins[at].1 = bins[at].1.saturating_add(bucket.count);
            }
            return bins;
        }
    }
    Vec::new()
}

/// The steps of a series from the last one at or below `from` to the last at or below `to`.
fn edges(series: &'static [f64], from: u64, to: u64) -> impl Iterator<Item = u64> {
    let decade = if from == 0 { 0 } else { from.ilog10() };
    let last = if to == 0 { 0 } else { to.ilog10() };
    let all = (decade..=last)
        .flat_map(move |power| series.iter().map(move |step| (step * 10f64.powi(power as i32)).round() as u64));
    let mut steps: Vec<u64> = std::iter::once(0).filter(|_| from == 0).chain(all).filter(|step| *step <= to).collect();
    steps.dedup();
    let start = steps.partition_point(|step| *step <= from).saturating_sub(1);
    steps.into_iter().skip(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_counts() {
        let times = Latency::of([(11_000, 1), (15_500, 9), (33_000, 99), (47_000, 9)]);
        let lines = render(&times, 60, Glyphs::Ascii, Colour::never());
        let want = [
            "    10.0 us | #                                 1    0.847 %",
            "    12.0 us |                                   0    0.000 %",
            "    15.0 us | ##                                9    7.627 %",
            "    18.0 us |                                   0    0.000 %",
            "    22.0 us |                                   0    0.000 %",
            "    27.0 us |                                   0    0.000 %",
            "    33.0 us | ######################           99   83.898 %",
            "    39.0 us |                                   0    0.000 %",
            "    47.0 us | ##                                9    7.627 %",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn bars_of_any_times_fit() {
        assert!(render(&Latency::default(), 80, Glyphs::Ascii, Colour::never()).is_empty());
        let all = [
            Latency::of([(0, 1)]),
            Latency::of([(0, 1), (u64::MAX, u64::MAX)]),
            Latency::of([(59_000, 5)]),
            Latency::of((0..3_000_000).step_by(1000).map(|n| (n, n + 1))),
        ];
        for times in all {
            for width in [40, 80] {
                let lines = render(&times, width, Glyphs::Blocks, Colour::never());
                assert!((1..=21).contains(&lines.len()), "{lines:?}");
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            }
            let sum = bins(&times).iter().fold(0_u64, |sum, bin| sum.saturating_add(bin.1));
            assert_eq!(sum, times.count());
        }
    }

    #[test]
    fn full_levels_and_bars_fill_their_cells() {
        assert_eq!(
            [None, Some(0.0), Some(0.5), Some(1.0)].map(|share| Glyphs::Blocks.level(share)),
            [' ', '▁', '▄', '▇']
        );
        assert_eq!([0.0, 0.5, 1.0].map(|share| Glyphs::Blocks.bar(3, share)), ["", "█▌", "███"]);
        assert_eq!([0.0, 0.5, 1.0].map(|share| Glyphs::Ascii.bar(4, share)), ["", "##", "####"]);
    }
}
