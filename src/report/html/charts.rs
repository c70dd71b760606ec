//! The charts of a run, each for a given width.

use resound_load::{Interval, Latency, Shape};

use super::plot::Plot;
use super::scale::AxisScale;
use crate::report::PERCENTILES;
use crate::report::run::{Run, times};
use crate::report::stream::BulkDirection;
use crate::report::text::distributions;
use crate::units;

/// The percentile curve: the longest time of 90 %, 99 %, 99.9 % of the messages.
pub(super) fn percentiles(run: &Run, base: Option<&Run>, width: f64) -> String {
    let curves = distributions(&run.record.total);
    let compared = base.map(|base| base.main().1.all).filter(|times| !times.is_empty());
    let all = || curves.iter().map(|(_, times)| times.all).chain(compared);
    let most = all().map(Latency::count).max().unwrap_or(1);
    let x = AxisScale::Nines { nines: (most as f64).log10().clamp(2.0, 9.0) };
    let y = scale_of(all());
    let mut plot = Plot::new(width, 330.0, x, y);
    plot.axes(&x.percentiles(), &y.times(10), "percentile", "time");
    if let Some(times) = compared {
        plot.line(curve(times), "base");
    }
    for (name, times) in curves.iter().rev() {
        let times = times.all;
        plot.line(curve(times), name);
        for percent in PERCENTILES {
            // With less than one sample beyond it, a percentile is the maximum.
            if let Some(time) =
                times.percentile(percent).filter(|_| (1.0 - percent / 100.0) * times.count() as f64 >= 1.0)
            {
                let what = format!("p{percent} of {name} time: {}", units::latency(time));
                plot.dot(percent / 100.0, time.as_nanos() as f64, name, &what);
            }
        }
    }
    plot.finish("Time by percentile")
}

fn curve(times: &Latency) -> Vec<(f64, f64)> {
    let (mut seen, all) = (0.0, times.count() as f64);
    let mut points = vec![(0.0, times.min().map_or(0.0, |time| time.as_nanos() as f64))];
    for bucket in times.buckets() {
        seen += bucket.count as f64;
        // Nothing is beyond the maximum, so that it has no place on this axis.
        points.push((((seen - 1.0) / all).max(0.0), bucket.to as f64));
    }
    points
}

fn scale_of<'a>(all: impl Iterator<Item = &'a Latency> + Clone) -> AxisScale {
    let least = all.clone().filter_map(|times| times.min()).min().unwrap_or_default();
    let most = all.filter_map(|times| times.max()).max().unwrap_or_default();
    AxisScale::of_times((least.as_nanos() as f64).max(100.0), most.as_nanos() as f64)
}

/// Rows of the heat map.
const ROWS: usize = 40;
/// Shades of the heat map.
const SHADES: usize = 8;

/// A heat map of the times over the run, with percentiles on top.
pub(super) fn heat(run: &Run, width: f64) -> String {
    let kind = |interval| times(interval, run.main().0).all;
    let columns = columns(run, (width / 7.0) as usize);
    let x = time_scale(run);
    let y = scale_of(columns.iter().map(kind));
    let mut plot = Plot::new(width, 330.0, x, y);
    let AxisScale::Log { from, to } = y else { return String::new() };
    let edge = |row: usize| from * (to / from).powf(row as f64 / ROWS as f64);
    let mut cells: Vec<(usize, usize, f64)> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let mut rows = [0_u64; ROWS];
        for bucket in kind(column).buckets() {
            let row = (y.place(bucket.to as f64) * ROWS as f64) as usize;
            let cell = &mut rows[row.min(ROWS - 1)];
            *cell = cell.saturating_add(bucket.count);
        }
        let seconds = column.length.as_secs_f64().max(1e-9);
        cells.extend(rows.iter().enumerate().filter(|(_, n)| **n > 0).map(|(row, n)| (at, row, *n as f64 / seconds)));
    }
    let (least, most) = cells.iter().fold((f64::MAX, 0.0_f64), |(low, high), cell| (low.min(cell.2), high.max(cell.2)));
    for shade in 0..SHADES {
        let of = |n: f64| match most / least {
            range if range > 1.0 => (((n / least).ln() / range.ln()) * (SHADES - 1) as f64).round() as usize,
            _ => SHADES - 1,
        };
        let same = cells.iter().filter(|cell| of(cell.2) == shade).map(|&(at, row, _)| {
            let (start, end) = ends(&columns[at]);
            (start, end, edge(row), edge(row + 1))
        });
        plot.cells(&same.collect::<Vec<_>>(), &format!("heat h{}", shade + 1));
    }
    plot.axes(&x.moments((width / 90.0) as usize), &y.times(10), "time since measuring began", "time of an answer");
    for (percent, class) in [(50.0, "p50"), (99.0, "p99"), (100.0, "max")] {
        let spans: Vec<_> = columns
            .iter()
            .filter_map(|column| {
                let time = kind(column).percentile(percent)?;
                let (start, end) = ends(column);
                Some((start, end, time.as_nanos() as f64))
            })
            .collect();
        // Lines must be visible on the darkest shade.
        plot.steps(&spans, "halo");
        plot.steps(&spans, class);
    }
    plot.finish("Times of answers over the run")
}

/// The quantity of a throughput chart.
pub(super) fn throughput_name(run: &Run) -> &'static str {
    match run.record.settings.shape {
        Shape::Stream => "bits per second",
        Shape::Connect => "connections per second",
        _ => "messages per second",
    }
}

/// The throughput over the run.
pub(super) fn throughput(run: &Run, width: f64) -> String {
    let settings = &run.record.settings;
    let columns = columns(run, (width / 3.0) as usize);
    let value = |interval: &Interval| match settings.shape {
        Shape::Connect => interval.counts.opened,
        _ if run.expects_answers() => interval.counts.in_time(),
        _ => interval.counts.sent,
    };
    let ways = BulkDirection::of(settings);
    let bits = |way: &BulkDirection| (way.name(), spans(&columns, |interval| way.bits(interval).unwrap_or(0.0)));
    let mut lines: Vec<_> = ways.iter().map(bits).collect();
    if ways.is_empty() {
        lines.push(("rate", per_second(&columns, value)));
    }
    let most = lines.iter().flat_map(|(_, spans)| spans).map(|span| span.2).chain(settings.rate).fold(0.0, f64::max);
    let (x, y) = (time_scale(run), AxisScale::from_zero(most * 1.05));
    let mut plot = Plot::new(width, 220.0, x, y);
    let ticks = if ways.is_empty() { y.numbers(5) } else { y.bits(5) };
    plot.axes(&x.moments((width / 90.0) as usize), &ticks, "time since measuring began", throughput_name(run));
    if let [(_, spans)] = lines.as_slice() {
        plot.area(spans, "under");
    }
    lines.iter().for_each(|(class, spans)| plot.steps(spans, class));
    if let Some(rate) = settings.rate.filter(|_| settings.shape != Shape::Ramp) {
        plot.line([(0.0, rate), (run.record.elapsed.as_secs_f64(), rate)], "planned");
    }
    plot.finish(throughput_name(run))
}

/// Failures per second.
pub(super) fn errors(run: &Run, width: f64) -> String {
    let columns = columns(run, (width / 4.0) as usize);
    let spans = per_second(&columns, |interval| interval.counts.errors());
    let most = spans.iter().map(|span| span.2).fold(0.0, f64::max);
    let (x, y) = (time_scale(run), AxisScale::from_zero(most));
    let mut plot = Plot::new(width, 180.0, x, y);
    plot.axes(&x.moments((width / 90.0) as usize), &y.numbers(4), "time since measuring began", "errors per second");
    plot.area(&spans.into_iter().filter(|span| span.2 > 0.0).collect::<Vec<_>>(), "failed");
    plot.finish("errors per second")
}

fn per_second(columns: &[Interval], value: impl Fn(&Interval) -> u64) -> Vec<(f64, f64, f64)> {
    spans(columns, |interval| value(interval) as f64 / interval.length.as_secs_f64().max(1e-9))
}

fn spans(columns: &[Interval], value: impl Fn(&Interval) -> f64) -> Vec<(f64, f64, f64)> {
    let span = |interval: &Interval| {
        let (start, end) = ends(interval);
        (start, end, value(interval))
    };
    columns.iter().map(span).collect()
}

/// The ends of an interval, in s.
fn ends(interval: &Interval) -> (f64, f64) {
    (interval.start.as_secs_f64(), (interval.start + interval.length).as_secs_f64())
}

fn time_scale(run: &Run) -> AxisScale {
    let end = run.record.intervals.last().map(|last| last.start + last.length).unwrap_or_default();
    AxisScale::Linear { from: 0.0, to: end.max(run.record.elapsed).as_secs_f64().max(1e-3) }
}

/// The run's intervals, at most `most`, without a short one at the end.
fn columns(run: &Run, most: usize) -> Vec<Interval> {
    let mut columns = Interval::coarser(&run.record.intervals, most);
    if let [.., before, last] = columns.as_mut_slice()
        && last.length < before.length / 2
    {
        before.join(last);
        columns.pop();
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::super::scale::nines_of;
    use super::*;

    #[test]
    fn the_curve_of_a_thousand_ends_at_three_nines() {
        let curve = curve(&Latency::of((1..=1000).map(|n| (n, 1))));
        let (share, time) = *curve.last().unwrap();
        assert!((nines_of(share) - 3.0).abs() < 1e-9);
        assert_eq!(time, 1000.0);
    }
}
