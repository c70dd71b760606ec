//! The output of a running load: a view that redraws in place on a terminal, otherwise lines; with
//! `--json --interval` also objects on stdout.

mod frame;
mod objects;
mod screen;
mod ticks;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use resound_console::json;
use resound_load::{Interval, Phase, Settings};

use self::frame::FrameData;
use self::objects::Objects;
use self::ticks::GatheredTicks;
pub(crate) use self::ticks::tick;
use super::Output;
use super::bars::Glyphs;
use super::document::IntervalLine;
use crate::colour::{Colour, can_draw};
use crate::result_output::ResultOutput;
use crate::stdio::StdStream;

pub(crate) use self::screen::{Screen, columns};

/// The view of a run. A drop leaves the terminal as it was before.
pub(crate) struct LiveView {
    view: FrameData,
    progress: ProgressView,
    /// The source of the objects on stdout.
    objects: Option<Objects>,
}

/// The output on stderr.
enum ProgressView {
    None,
    Screen(Screen),
    Lines(Box<GatheredTicks>),
}

impl LiveView {
    /// A view for a run with these settings and this warm-up. It draws nothing yet.
    pub(crate) fn new(output: &Output, settings: &Settings, warm_up: Duration) -> Self {
        let err = io::stderr();
        // A terminal that cannot move its cursor gets lines.
        let is_screen = err.is_terminal() && can_draw();
        let progress = match (output.quiet, is_screen) {
            (true, _) => ProgressView::None,
            (_, true) => ProgressView::Screen(Screen::new(!io::stdout().is_terminal())),
            _ => ProgressView::Lines(Box::new(GatheredTicks::new(line_every(output, settings)))),
        };
        Self {
            view: FrameData::new(settings.clone(), warm_up, Colour::of(&err), Glyphs::of_environment()),
            progress,
            objects: output.interval.filter(|_| output.prints_json).map(Objects::new),
        }
    }

    /// Takes the counts since the last tick, about every [`tick`], in any phase.
    pub(crate) fn tick(&mut self, phase: Phase, tick: &Interval) -> Result<()> {
        self.view.tick(phase, tick);
        match &mut self.progress {
            ProgressView::None => {}
            ProgressView::Screen(screen) => screen.draw(|columns, rows| self.view.frame(columns, rows)),
            ProgressView::Lines(gathered) => {
                let line = match phase {
                    Phase::Measuring => gathered.add(tick).map(|interval| self.view.line(&interval)),
                    _ => self.view.announcement(),
                };
                // With its reader gone there is nothing left to write.
                let _ = line.map(|line| StdStream::Stderr.write_all(format!("{line}\n").as_bytes()));
            }
        }
        let ended = self.objects.as_mut().and_then(|objects| objects.add(phase, tick));
        ended.map_or(Ok(()), |interval| write_object(&interval))
    }

    /// Ends the view and the last interval.
    pub(crate) fn finish(mut self) -> Result<()> {
        let rest = self.objects.take().and_then(|objects| objects.last);
        drop(self);
        rest.map_or(Ok(()), |rest| write_object(&rest))
    }
}

fn write_object(interval: &Interval) -> Result<()> {
    Ok(ResultOutput.write_all(&json::object(&IntervalLine::of(interval)?))?)
}

/// Prints a line for each interval if one was requested, otherwise about ten in all.
fn line_every(output: &Output, settings: &Settings) -> Duration {
    let seconds = |duration: Duration| (duration.as_secs() / 10).clamp(1, 30);
    output.interval.unwrap_or_else(|| Duration::from_secs(settings.duration.map_or(1, seconds)))
}
