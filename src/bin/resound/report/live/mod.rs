//! What a run shows while it goes: a view that redraws in place on a terminal, lines otherwise; with `--json --interval` also objects on stdout.

mod frame;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
pub(crate) use resound::load::Phase;
use resound::load::{Interval, Settings};

use self::frame::View;
use self::screen::Screen;
use super::Output;
use super::bars::Glyphs;
use super::document::IntervalLine;
use crate::colour::Colour;
use crate::json;

pub(crate) use self::screen::columns;

/// The view of a run. Dropping it leaves the terminal as it was found.
pub(crate) struct Live {
    view: View,
    progress: Progress,
    /// What happened since the last object on stdout.
    object: Option<Gathered>,
}

/// What is shown on stderr.
enum Progress {
    None,
    Screen(Screen),
    Lines(Box<Gathered>),
}

/// Ticks become intervals of this length.
struct Gathered {
    length: Duration,
    interval: Interval,
}

impl Live {
    /// How often it wants to be told.
    pub(crate) const TICK: Duration = Duration::from_millis(200);

    /// Of a run with these settings, and this long a warm-up before it. Draws nothing yet.
    pub(crate) fn new(output: &Output, settings: &Settings, warm_up: Duration) -> Self {
        let err = io::stderr();
        // A terminal that cannot move its cursor gets lines.
        let is_screen = err.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let progress = match (output.quiet, is_screen) {
            (true, _) => Progress::None,
            (_, true) => Progress::Screen(Screen::new(!io::stdout().is_terminal())),
            _ => Progress::Lines(Box::new(Gathered::new(line_every(output, settings)))),
        };
        Self {
            view: View::new(settings.clone(), warm_up, Colour::of(&err), Glyphs::of_environment()),
            progress,
            object: output.interval.filter(|_| output.json).map(Gathered::new),
        }
    }

    /// What happened since it was told before, about every [`Live::TICK`], in any phase. An error means that stdout is gone.
    pub(crate) fn tick(&mut self, phase: Phase, tick: &Interval) -> Result<()> {
        self.view.tick(phase, tick);
        match &mut self.progress {
            Progress::None => {}
            Progress::Screen(screen) => screen.draw(|columns, rows| self.view.frame(columns, rows)),
            Progress::Lines(gathered) => {
                let line = match phase {
                    Phase::Measuring => gathered.add(tick).map(|interval| frame::line(&interval)),
                    _ => self.view.news(),
                };
                // Where nobody listens any more there is nobody to tell.
                let _ = line.map(|line| io::stderr().write_all(format!("{line}\n").as_bytes()));
            }
        }
        // What comes while the last answers are awaited belongs to the run.
        if matches!(phase, Phase::Measuring | Phase::Finishing { .. })
            && let Some(interval) = self.object.as_mut().and_then(|gathered| gathered.add(tick))
        {
            write_object(&interval)?;
        }
        Ok(())
    }

    /// The run is over: what has not made an interval yet is one now.
    pub(crate) fn finish(mut self) -> Result<()> {
        let rest = self.object.take().and_then(Gathered::rest);
        drop(self);
        rest.map_or(Ok(()), |rest| write_object(&rest))
    }
}

fn write_object(interval: &Interval) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&json::object(&IntervalLine::of(interval)?))?;
    Ok(out.flush()?)
}

/// A line for each interval where one was asked for, otherwise about ten in all.
fn line_every(output: &Output, settings: &Settings) -> Duration {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(30));
    output.interval.unwrap_or_else(|| settings.duration.map_or(least, |duration| (duration / 10).clamp(least, most)))
}

impl Gathered {
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

    fn rest(self) -> Option<Interval> {
        Some(self.interval).filter(|interval| !interval.length.is_zero())
    }
}
