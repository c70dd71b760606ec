//! The lines of the live view.

use std::collections::VecDeque;
use std::time::Duration;

use resound_load::{Interval, Latency, Phase, Settings, Shape};

use super::ticks::GatheredTicks;
use crate::colour::Colour;
use crate::report::bars::Glyphs;
use crate::report::describe;
use crate::report::run::times;
use crate::report::stream::BulkDirection;
use crate::units;

/// Seconds kept: more than a line has columns.
const REMEMBERED: usize = 240;
/// The width of the first column, and of columns of figures.
const LABEL: usize = 8;
const CELL: usize = 12;
/// A narrower chart shows nothing.
const NARROWEST: usize = 8;

/// The data behind the view.
pub(super) struct FrameData {
    settings: Settings,
    warm_up: Duration,
    colour: Colour,
    glyphs: Glyphs,
    phase: Phase,
    /// Everything measured so far.
    total: Interval,
    second: GatheredTicks,
    seconds: VecDeque<Interval>,
    announced: Option<Phase>,
}

/// A name, a figure, and its format.
type FrameRow<'a> = (&'a str, FrameFigure<'a>, fn(f64) -> String);
/// A figure of an interval; `None` if it was not measured.
type FrameFigure<'a> = Box<dyn Fn(&Interval) -> Option<f64> + 'a>;

impl FrameData {
    pub(super) fn new(settings: Settings, warm_up: Duration, colour: Colour, glyphs: Glyphs) -> Self {
        Self {
            settings,
            warm_up,
            colour,
            glyphs,
            phase: Phase::Connecting { open: 0 },
            total: Interval::default(),
            second: GatheredTicks::new(Duration::from_secs(1)),
            seconds: VecDeque::new(),
            announced: None,
        }
    }

    pub(super) fn tick(&mut self, phase: Phase, tick: &Interval) {
        let was_measuring = self.phase == Phase::Measuring;
        self.phase = phase;
        if phase == Phase::Measuring && !was_measuring {
            // The warm-up is no part of the run.
            self.seconds.clear();
            self.second = GatheredTicks::new(Duration::from_secs(1));
        }
        match phase {
            Phase::Measuring => {
                self.total.add(tick);
                self.total.length += tick.length;
            }
            // Late answers belong to messages of the last interval.
            Phase::Finishing { .. } => self.total.add(tick),
            Phase::Connecting { .. } | Phase::WarmUp { .. } => {}
        }
        if let Some(second) = self.second.add(tick) {
            if self.seconds.len() == REMEMBERED {
                self.seconds.pop_front();
            }
            self.seconds.push_back(second);
        }
    }

    /// The line that announces a new phase, if the view prints lines.
    pub(super) fn announcement(&mut self) -> Option<String> {
        let is_new = self.announced.as_ref().map(std::mem::discriminant) != Some(std::mem::discriminant(&self.phase));
        self.announced = Some(self.phase);
        let is_skipped = matches!(self.phase, Phase::WarmUp { .. }) && self.warm_up.is_zero();
        (is_new && !is_skipped).then(|| format!("{}: {}", self.title(), self.status()))
    }

    /// An interval as a line, if the view prints lines.
    pub(super) fn line(&self, interval: &Interval) -> String {
        let seconds = interval.length.as_secs_f64();
        let counts = &interval.counts;
        let done = if counts.received > 0 { counts.in_time() } else { counts.sent };
        let times = if interval.response.is_empty() { &interval.service } else { &interval.response };
        let shown = |time: Option<Duration>| time.map_or_else(|| "-".into(), units::latency);
        let mut line = format!("{:>8}", clock(interval.start + interval.length));
        let ways = BulkDirection::of(&self.settings);
        for way in ways {
            let rate = way.bits(interval).map_or_else(|| "-".into(), units::bits);
            line += &format!("  {} {rate:>11}", way.name());
        }
        match ways.len() {
            0 => {
                line += &format!(
                    "  {:>11} msg/s  p50 {:>8}  p99 {:>8}  max {:>8}",
                    units::rate(if seconds > 0.0 { done as f64 / seconds } else { 0.0 }),
                    shown(times.percentile(50.0)),
                    shown(times.percentile(99.0)),
                    shown(times.max()),
                );
            }
            1 => {}
            _ => line += &format!("  p99 {:>8}", shown(times.percentile(99.0))),
        }
        line + "  " + &units::counted(counts.errors(), "error")
    }

    fn title(&self) -> String {
        let pace = describe::pace(&self.settings).join(", ");
        format!("{}: {}, {pace}", describe::target(&self.settings), describe::shape(&self.settings))
    }

    /// The phase of the run and its length.
    fn status(&self) -> String {
        match self.phase {
            Phase::Connecting { open } => {
                format!("connecting, {} of {} open", units::count(open), units::count(self.settings.connections))
            }
            Phase::WarmUp { passed } => {
                format!("warming up, {} left", clock(self.warm_up.saturating_sub(passed)))
            }
            Phase::Measuring => match self.left() {
                Some(left) => format!("{} done, {} left", clock(self.total.length), clock(left)),
                None => format!("{} done", clock(self.total.length)),
            },
            Phase::Finishing { in_flight: 0 } => "finishing".into(),
            Phase::Finishing { in_flight } => format!("waiting for {}", units::counted(in_flight, "answer")),
        }
    }

    /// The progress from 0 to 1, by time or by messages, whichever is further.
    fn share(&self) -> Option<f64> {
        match self.phase {
            Phase::Connecting { .. } => return Some(0.0),
            Phase::WarmUp { passed } => return Some(passed.as_secs_f64() / self.warm_up.as_secs_f64().max(1e-9)),
            Phase::Finishing { .. } => return Some(1.0),
            Phase::Measuring => {}
        }
        let ramp = self.settings.ramp.as_ref().map(|ramp| ramp.every.saturating_mul(ramp.count()));
        let duration = self.settings.duration.or(ramp);
        let time = duration.map(|all| self.total.length.as_secs_f64() / all.as_secs_f64().max(1e-9));
        let messages = self.settings.messages.map(|all| self.total.counts.sent as f64 / all.max(1) as f64);
        let share = time.unwrap_or(0.0).max(messages.unwrap_or(0.0)).min(1.0);
        (time.is_some() || messages.is_some()).then_some(share)
    }

    fn left(&self) -> Option<Duration> {
        let share = self.share().filter(|share| *share > 0.0)?;
        let passed = self.total.length.as_secs_f64();
        Duration::try_from_secs_f64(passed / share - passed).ok()
    }

    /// The lines, none wider than `columns`; with few rows only the first.
    pub(super) fn frame(&self, columns: usize, rows: usize) -> Vec<String> {
        // Some terminals wrap after a full last column.
        let width = columns.saturating_sub(1).clamp(1, 120);
        let mut lines = vec![self.colour.strong(&cut(&self.title(), width)), self.bar(width)];
        let chart = width.saturating_sub(LABEL + 2 * CELL + 3);
        let chart = if chart < NARROWEST { 0 } else { chart };
        let figures = ((width.saturating_sub(LABEL)) / CELL).min(2);
        lines.push(self.heading(figures, chart, width));
        let per_second = |interval: &Interval| {
            let seconds = interval.length.as_secs_f64();
            (seconds > 0.0).then(|| self.done(interval) as f64 / seconds)
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let percentile = |percent| move |interval: &Interval| seconds(self.times(interval).percentile(percent));
        let latency = |value| units::latency(Duration::from_secs_f64(value));
        let ways = BulkDirection::of(&self.settings);
        let of_way = |way: &BulkDirection| -> FrameRow<'_> {
            let way = *way;
            (way.name(), Box::new(move |interval| way.bits(interval)), units::bits)
        };
        let mut rows_of: Vec<FrameRow<'_>> = ways.iter().map(of_way).collect();
        if ways.is_empty() {
            rows_of.push(("rate/s", Box::new(per_second), units::rate));
        }
        // A stream in one direction has no answers.
        if ways.len() != 1 {
            rows_of.push(("p50", Box::new(percentile(50.0)), latency));
            rows_of.push(("p99", Box::new(percentile(99.0)), latency));
            rows_of.push(("max", Box::new(|interval| seconds(self.times(interval).max())), latency));
        }
        rows_of
            .push(("errors", Box::new(|interval| Some(interval.counts.errors() as f64)), |n| units::count(n as u64)));
        for (name, figure, shown) in rows_of {
            let last = self.seconds.back().and_then(&figure);
            let cells = [last, figure(&self.total)].map(|value| value.map_or_else(|| "-".into(), shown));
            let mut text = format!("{name:<LABEL$}");
            for cell in cells.iter().take(figures) {
                text += &format!("{cell:>CELL$}");
            }
            let text = cut(&text, width);
            let is_bad = name == "errors" && self.total.counts.errors() > 0;
            let text = if is_bad { self.colour.bad(&text) } else { text };
            let chart = self.sparkline(&figure, chart);
            lines.push(format!("{text}   {}", self.colour.label(&chart)).trim_end().to_string());
        }
        lines.truncate(rows.max(1));
        lines
    }

    fn heading(&self, figures: usize, chart: usize, width: usize) -> String {
        let name = if BulkDirection::of(&self.settings).len() == 1 { "stream" } else { self.kind() };
        let mut text = format!("{name:<LABEL$}");
        for name in ["last second", "whole run"].iter().take(figures) {
            text += &format!("{name:>CELL$}");
        }
        if chart > 0 {
            let seconds = self.seconds.len().min(chart);
            text += &format!("   the last {seconds} s, each from 0 to its highest");
        }
        self.colour.aside(&cut(&text, width))
    }

    fn bar(&self, width: usize) -> String {
        let status = self.status();
        let cells = width.saturating_sub(status.chars().count() + 2).min(50);
        let Some(share) = self.share().filter(|_| cells >= NARROWEST) else { return cut(&status, width) };
        let done = ((cells as f64 * share).round() as usize).min(cells);
        let (full, rest) = match self.glyphs {
            Glyphs::Blocks => ("\u{2501}", "\u{2500}"),
            Glyphs::Ascii => ("#", "."),
        };
        let (full, rest) = (full.repeat(done), rest.repeat(cells - done));
        format!("{}{}  {status}", self.colour.good(&full), self.colour.aside(&rest))
    }

    /// A column a second, the newest at the right.
    fn sparkline(&self, figure: &FrameFigure<'_>, cells: usize) -> String {
        let values: Vec<_> = self.seconds.iter().rev().take(cells).rev().map(figure).collect();
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        let share = |value: f64| if most > 0.0 { value / most } else { 0.0 };
        values.iter().map(|value| self.glyphs.level(value.map(share))).collect()
    }

    fn done(&self, interval: &Interval) -> u64 {
        match self.settings.shape {
            Shape::Connect => interval.counts.opened,
            _ if interval.counts.received > 0 => interval.counts.in_time(),
            _ if self.total.counts.received > 0 => 0,
            _ => interval.counts.sent,
        }
    }

    fn times<'a>(&self, interval: &'a Interval) -> &'a Latency {
        times(interval, self.kind()).all
    }

    /// Response times with a plan, otherwise service times.
    fn kind(&self) -> &'static str {
        match self.settings.shape {
            Shape::Connect => "connect",
            _ if self.settings.is_open() => "response",
            _ => "service",
        }
    }
}

/// `3.2 s`, `59 s`, `1:05`, `2:03:04`
fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::visible;
    use crate::report::samples;
    use resound_load::{Counts, Direction};

    fn tick(start: f64, rate: u64, us: u64, errors: u64) -> Interval {
        let mut counts = Counts { sent: rate, received: rate, planned: rate, ..Counts::default() };
        counts.failures[3] = errors;
        Interval {
            start: Duration::from_secs_f64(start),
            length: Duration::from_secs(1),
            counts,
            response: Latency::of([(us * 1000, rate)]),
            ..Interval::default()
        }
    }

    fn view() -> FrameData {
        FrameData::new(samples::settings(), Duration::from_secs(2), Colour::never(), Glyphs::Blocks)
    }

    fn measured() -> FrameData {
        let mut view = view();
        for n in 0..12 {
            let stall = n == 7;
            let us = if stall { 900 } else { 50 };
            view.tick(Phase::Measuring, &tick(f64::from(n), if stall { 5_000 } else { 10_000 }, us, u64::from(stall)));
        }
        view
    }

    #[test]
    fn the_view_shows_figures_and_charts() {
        let want = "\
127.0.0.1:8888: open loop, 10,000 msg/s, 64 connections
━━━━━━━━━━━━━━━━━━━━──────────────────────────────  12 s done, 18 s left
response last second   whole run   the last 12 s, each from 0 to its highest
rate/s        10,000       9,583   ▇▇▇▇▇▇▇▄▇▇▇▇
p50          50.0 us     50.0 us   ▁▁▁▁▁▁▁▇▁▁▁▁
p99          50.0 us      900 us   ▁▁▁▁▁▁▁▇▁▁▁▁
max          50.0 us      900 us   ▁▁▁▁▁▁▁▇▁▁▁▁
errors             0           1   ▁▁▁▁▁▁▁▇▁▁▁▁";
        let lines = measured().frame(80, 24);
        assert_eq!(lines.join("\n"), want);
    }

    #[test]
    fn a_ramp_of_rates_has_response_times_and_an_end() {
        let mut settings = Settings { shape: Shape::Ramp, rate: None, duration: None, ..samples::settings() };
        settings.ramp = Some(resound_load::RampSteps {
            of: resound_load::RampVariable::Rate,
            from: 1000.0,
            to: 4000.0,
            by: 1000.0,
            every: Duration::from_secs(2),
            until: Vec::new(),
        });
        let mut view = FrameData::new(settings, Duration::ZERO, Colour::never(), Glyphs::Blocks);
        view.tick(Phase::Measuring, &tick(0.0, 1000, 50, 0));
        view.tick(Phase::Measuring, &tick(1.0, 1000, 50, 0));
        let lines = view.frame(100, 24);
        assert_eq!(lines[0], "127.0.0.1:8888: ramp, 1,000 to 4,000 msg/s by 1,000, 64 connections");
        assert!(lines[1].ends_with("2.0 s done, 6.0 s left"), "{}", lines[1]);
        assert!(lines[2].starts_with("response ") && lines[4].starts_with("p50          50.0 us"), "{lines:#?}");
    }

    #[test]
    fn a_frame_fits_any_window() {
        let views = [measured(), view()];
        for view in &views {
            for columns in 1..200 {
                for rows in [1, 3, 8, 50] {
                    let lines = view.frame(columns, rows);
                    assert!(lines.len() <= rows && !lines.is_empty());
                    let widest = lines.iter().map(|line| visible(line)).max().unwrap();
                    assert!(widest < columns.max(2), "{widest} of {columns}: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn each_phase_names_its_end() {
        let mut view = view();
        let mut after = |phase| {
            view.tick(phase, &Interval { length: Duration::from_millis(200), ..Interval::default() });
            view.frame(100, 24)[1].clone()
        };
        assert!(after(Phase::Connecting { open: 3 }).ends_with("connecting, 3 of 64 open"));
        assert!(after(Phase::WarmUp { passed: Duration::from_millis(500) }).ends_with("warming up, 1.5 s left"));
        assert!(after(Phase::Finishing { in_flight: 1 }).ends_with("waiting for 1 answer"));
        assert_eq!(after(Phase::Finishing { in_flight: 0 }).matches('━').count(), 50);
    }

    #[test]
    fn the_warm_up_disappears_after_its_end() {
        let mut view = view();
        view.tick(Phase::WarmUp { passed: Duration::from_secs(1) }, &tick(0.0, 777, 1, 5));
        assert!(view.frame(80, 24).join("\n").contains("777"));
        view.tick(Phase::Measuring, &tick(0.0, 10_000, 50, 0));
        let frame = view.frame(80, 24).join("\n");
        assert!(!frame.contains("777") && frame.contains("10,000      10,000   ▇"), "{frame}");
    }

    #[test]
    fn an_interval_as_a_line() {
        let got = view().line(&tick(11.0, 9_583, 50, 1));
        assert_eq!(got, "    12 s        9,583 msg/s  p50  50.0 us  p99  50.0 us  max  50.0 us  1 error");
        let mut view = view();
        view.tick(Phase::WarmUp { passed: Duration::ZERO }, &Interval::default());
        assert!(view.announcement().unwrap().ends_with("64 connections: warming up, 2.0 s left"));
        assert_eq!(view.announcement(), None);
    }

    fn bulk(direction: Direction) -> Settings {
        Settings { shape: Shape::Stream, rate: None, direction: Some(direction), ..samples::settings() }
    }

    fn second_of_bulk() -> Interval {
        let counts = Counts {
            bytes_sent: 3_125_000_000,
            bytes_received: 3_100_000_000,
            bytes_late: 100_000_000,
            ..Counts::default()
        };
        let service = Latency::of([(1_230_000, 50)]);
        Interval { length: Duration::from_secs(1), counts, service, ..Interval::default() }
    }

    #[test]
    fn a_stream_shows_bits_per_second_each_way() {
        let frame = |direction| {
            let mut view = FrameData::new(bulk(direction), Duration::ZERO, Colour::never(), Glyphs::Blocks);
            view.tick(Phase::Measuring, &second_of_bulk());
            view.frame(80, 24)[2..].join("\n")
        };
        assert_eq!(
            frame(Direction::Both),
            "\
service  last second   whole run   the last 1 s, each from 0 to its highest
sent     25.0 Gbit/s 25.0 Gbit/s   ▇
received 24.0 Gbit/s 24.0 Gbit/s   ▇
p50          1.23 ms     1.23 ms   ▇
p99          1.23 ms     1.23 ms   ▇
max          1.23 ms     1.23 ms   ▇
errors             0           0   ▁"
        );
        assert_eq!(
            frame(Direction::Send),
            "\
stream   last second   whole run   the last 1 s, each from 0 to its highest
sent     25.0 Gbit/s 25.0 Gbit/s   ▇
errors             0           0   ▁"
        );
        assert!(frame(Direction::Receive).contains("received 24.0 Gbit/s"));
        let line = |direction| FrameData { settings: bulk(direction), ..view() }.line(&second_of_bulk());
        let both = "   1.0 s  sent 25.0 Gbit/s  received 24.0 Gbit/s  p99  1.23 ms  0 errors";
        assert_eq!(line(Direction::Both), both);
        assert_eq!(line(Direction::Send), "   1.0 s  sent 25.0 Gbit/s  0 errors");
        assert_eq!(line(Direction::Receive), "   1.0 s  received 24.0 Gbit/s  0 errors");
    }

    #[test]
    fn clocks() {
        for (seconds, want) in
            [(0.0, "0.0 s"), (9.4, "9.4 s"), (9.96, "10 s"), (59.4, "59 s"), (65.0, "1:05"), (7384.0, "2:03:04")]
        {
            assert_eq!(clock(Duration::from_secs_f64(seconds)), want);
        }
    }
}
