//! What a run shows while it goes: a view that redraws in place on a terminal, lines otherwise; with `--json --interval` also objects on stdout.

mod frame;
mod objects;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use resound_load::{Interval, Phase, Settings};

use self::frame::FrameData;
use self::objects::Objects;
use self::screen::Screen;
use super::Output;
use super::bars::Glyphs;
use super::document::IntervalLine;
use crate::colour::Colour;
use crate::findings::Findings;
use crate::json;
use crate::stdio::StdStream;

pub(crate) use self::screen::columns;

/// The view of a run. Dropping it leaves the terminal as it was found.
pub(crate) struct LiveView {
    view: FrameData,
    progress: Progress,
    /// What becomes objects on stdout.
    objects: Option<Objects>,
}

/// What is shown on stderr.
enum Progress {
    None,
    Screen(Screen),
    Lines(Box<GatheredTicks>),
}

/// Ticks become intervals of this length.
struct GatheredTicks {
    length: Duration,
    interval: Interval,
}

impl LiveView {
    /// How often it wants to be told, at least: what is drawn changes no faster.
    pub(crate) const TICK: Duration = Duration::from_millis(200);

    /// Of a run with these settings, and this long a warm-up before it. Draws nothing yet.
    pub(crate) fn new(output: &Output, settings: &Settings, warm_up: Duration) -> Self {
        let err = io::stderr();
        // A terminal that cannot move its cursor gets lines.
        let is_screen = err.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let progress = match (output.quiet, is_screen) {
            (true, _) => Progress::None,
            (_, true) => Progress::Screen(Screen::new(!io::stdout().is_terminal())),
            _ => Progress::Lines(Box::new(GatheredTicks::new(line_every(output, settings)))),
        };
        Self {
            view: FrameData::new(settings.clone(), warm_up, Colour::of(&err), Glyphs::of_environment()),
            progress,
            objects: output.interval.filter(|_| output.json).map(Objects::new),
        }
    }

    /// What happened since it was told before, about every [`LiveView::TICK`], in any phase.
    pub(crate) fn tick(&mut self, phase: Phase, tick: &Interval) -> Result<()> {
        self.view.tick(phase, tick);
        match &mut self.progress {
            Progress::None => {}
            Progress::Screen(screen) => screen.draw(|columns, rows| self.view.frame(columns, rows)),
            Progress::Lines(gathered) => {
                let line = match phase {
                    Phase::Measuring => gathered.add(tick).map(|interval| self.view.line(&interval)),
                    _ => self.view.news(),
                };
                // Where its reader has left there is nothing more to be done.
                let _ = line.map(|line| StdStream::Stderr.write_all(format!("{line}\n").as_bytes()));
            }
        }
        let ended = self.objects.as_mut().and_then(|objects| objects.add(phase, tick));
        ended.map_or(Ok(()), |interval| write_object(&interval))
    }

    /// The run is over: what has not made an interval yet is one now.
    pub(crate) fn finish(mut self) -> Result<()> {
        let rest = self.objects.take().and_then(Objects::rest);
        drop(self);
        rest.map_or(Ok(()), |rest| write_object(&rest))
    }
}

fn write_object(interval: &Interval) -> Result<()> {
    Ok(Findings.write_all(&json::object(&IntervalLine::of(interval)?))?)
}

/// A line for each interval where one was asked for, otherwise about ten in all.
fn line_every(output: &Output, settings: &Settings) -> Duration {
    let seconds = |duration: Duration| (duration.as_secs() / 10).clamp(1, 30);
    output.interval.unwrap_or_else(|| Duration::from_secs(settings.duration.map_or(1, seconds)))
}

impl GatheredTicks {
    fn new(length: Duration) -> Self {
        Self { length, interval: Interval::default() }
    }

    /// The interval that this tick completes.
    fn add(&mut self, tick: &Interval) -> Option<Interval> {
        if self.interval.length.is_zero() {
            self.interval = tick.clone();
        } else {
            self.interval.join(tick);
        }
        // Ticks are never quite even.
        let is_full = self.interval.length + tick.length / 2 >= self.length;
        is_full.then(|| std::mem::take(&mut self.interval))
    }
}
