//! `resound top`: what the admin server of another program shows, in a terminal.

mod columns;
mod document;
mod feed;
mod figures;
mod frame;
mod http;
mod input;
mod model;
mod once;
#[cfg(test)]
mod samples;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

pub(crate) use self::columns::TopColumn;
use self::feed::TopEvents;
pub(crate) use self::http::AdminAddress;
use self::model::{FeedNews, ListWanted, TopAction, TopModel};
use self::screen::TopScreen;
use self::view::TopLook;
use crate::client::TerminalSignals;
use crate::colour::{Colour, can_draw};
use crate::exit;
use crate::report::Glyphs;
use crate::result_output::ResultOutput;
use crate::signals::termination;

/// Connections that are printed once.
const PRINTED: usize = 1000;
/// The time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// News that may wait to be shown.
const NEWS: usize = 16;

/// The meaning of the flags.
pub(crate) struct TopPlan {
    pub(crate) admin: AdminAddress,
    pub(crate) once: bool,
    pub(crate) sort: TopColumn,
}

pub(crate) fn run(plan: TopPlan) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        let signal = termination();
        let showing = async {
            let events = TopEvents::open(&plan.admin).await?;
            match !plan.once && can_draw() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                true => show(&plan, events).await,
                false => print(&plan, events).await,
            }
        };
        tokio::select! {
            code = showing => code,
            () = signal => Ok(ExitCode::from(exit::SIGNAL)),
        }
    });
    // A resolver that never answers must not keep the process.
    runtime.shutdown_background();
    result
}

/// Prints all once.
async fn print(plan: &TopPlan, mut events: TopEvents) -> Result<ExitCode> {
    let mut model = TopModel::new(plan.admin.to_string(), plan.sort);
    model.take(FeedNews::Live(Box::new(events.next().await?)));
    let wanted = ListWanted { limit: PRINTED, ..model.wanted() };
    model.take(FeedNews::List(feed::list(&plan.admin, &wanted).await?));
    // A reader that has left does not change the exit code.
    let _ = ResultOutput.write_all(once::text(&model).as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Shows all until a key ends it. When this is dropped, the terminal is as it was.
async fn show(plan: &TopPlan, events: TopEvents) -> Result<ExitCode> {
    let mut model = TopModel::new(plan.admin.to_string(), plan.sort);
    let (tell, mut news) = mpsc::channel(NEWS);
    let (want, wanted) = watch::channel(model.wanted());
    let look = TopLook { has_colours: Colour::of(&std::io::stdout()).is_on(), glyphs: Glyphs::of_environment() };
    let (start, mut signals) = (Instant::now(), TerminalSignals::listen());
    let mut screen = TopScreen::enter().context("cannot start")?;
    let mut keys = input::keys().context("cannot start")?;
    let feed = feed::run(&plan.admin, events, wanted, tell);
    let shown = async {
        let mut ticks = tokio::time::interval(TICK);
        let mut has_changed = true;
        loop {
            if screen.is_broken() {
                return;
            }
            if has_changed && screen.is_idle() {
                has_changed = false;
                screen.draw(|columns, rows| {
                    let (lines, page) = view::draw(&model, look, columns, rows);
                    model.page = page;
                    lines
                });
                model.scroll(model.scrolled);
            }
            let mut action = TopAction::Draw;
            tokio::select! {
                key = keys.recv() => action = key.map_or(TopAction::Quit, |key| model.press(key)),
                what = news.recv() => what.into_iter().for_each(|what| model.take(what)),
                is_continued = signals.next() => action = if is_continued { TopAction::Resume } else { action },
                // What has changed meanwhile can be drawn now.
                () = screen.written() => continue,
                _ = ticks.tick() => {}
            }
            has_changed = true;
            model.tick(start.elapsed());
            match action {
                TopAction::Draw => {}
                TopAction::Redraw => screen.forget(),
                TopAction::Resume => screen.resume(),
                TopAction::Suspend => screen.suspend().await,
                TopAction::Quit => return,
            }
            want.send_if_modified(|before| std::mem::replace(before, model.wanted()) != model.wanted());
        }
    };
    tokio::select! {
        () = shown => {}
        () = feed => {}
    }
    Ok(ExitCode::SUCCESS)
}
