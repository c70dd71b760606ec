//! The flags of `resound test --watch`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use resound_verdict::watch::Watch;

use crate::client::{Connect, RetryPolicy};
use crate::units;
use crate::watch::{WatchGate, WatchPlan};

/// A heading in the help.
const WATCH: &str = "Watching";
/// Flags that have no meaning in a watch. Each of its flags names them: beside one of these, clap
/// does not ask for --watch.
const UNWATCHED: [&str; 5] = ["timeout", "retry", "source_port", "keepalive", "nagle"];

#[derive(Args)]
pub(super) struct WatchArgs {
    /// Watch the server through a deploy or a failover, until Ctrl+C
    ///
    /// Held connections send numbered lines, and new connections send one each. Needs a server that
    /// echoes lines or replies with them. Flags of the checks have no meaning here, but --json has.
    #[arg(help_heading = WATCH, long, conflicts_with_all = UNWATCHED)]
    watch: bool,
    /// End after this long
    #[arg(
        help_heading = WATCH, long = "for", value_name = "DURATION", value_parser = units::duration,
        requires = "watch", conflicts_with_all = UNWATCHED
    )]
    length: Option<Duration>,
    /// Hold N connections
    #[arg(
        help_heading = WATCH, long, value_name = "N", value_parser = held, default_value = "10", requires = "watch",
        conflicts_with_all = UNWATCHED
    )]
    held: usize,
    /// Send a line on each held connection this often
    #[arg(
        help_heading = WATCH, long, value_name = "DURATION", value_parser = heartbeat, default_value = "100ms",
        requires = "watch", conflicts_with_all = UNWATCHED
    )]
    heartbeat: Duration,
    /// Make N new connections a second; 0 makes none
    #[arg(
        help_heading = WATCH, long = "new", value_name = "N/s", value_parser = new_per_second, default_value = "10/s",
        requires = "watch", conflicts_with_all = UNWATCHED
    )]
    new_per_second: u32,
    /// A line without an answer for this long is lost
    ///
    /// A connection on which nothing arrives for this long is given up, and replaced.
    #[arg(
        help_heading = WATCH, long, value_name = "DURATION", value_parser = units::duration, default_value = "10s",
        requires = "watch", conflicts_with_all = UNWATCHED
    )]
    lost_after: Duration,
    /// Gate: exit with 3 if the condition is true, such as 'gap>2s', 'lost>0' or 'reconnect>5s'
    /// (repeatable)
    ///
    /// With a gate, nothing else fails the watch.
    #[arg(
        help_heading = WATCH, long, value_name = "CONDITION", value_parser = WatchGate::parse, requires = "watch",
        conflicts_with_all = UNWATCHED
    )]
    fail_if: Vec<WatchGate>,
}

fn held(text: &str) -> Result<usize, String> {
    match units::positive(text)?.get() {
        count if count <= Watch::MOST_HELD => Ok(count),
        _ => Err(format!("at most {} connections are held", units::count(Watch::MOST_HELD as u64))),
    }
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        interval if interval >= Watch::SHORTEST_HEARTBEAT => Ok(interval),
        _ => Err("at least 1ms lies between two heartbeats".into()),
    }
}

/// `10`, `10/s`.
fn new_per_second(text: &str) -> Result<u32, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        Ok(count) if count <= Watch::MOST_NEW => Ok(count),
        _ => Err(format!(
            "'{text}' is not a rate from 0 to {}; write it like 10/s",
            units::count(Watch::MOST_NEW.into())
        )),
    }
}

impl WatchArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.watch
    }

    pub(super) fn meaning(self, connect: Connect, json: bool) -> Result<WatchPlan> {
        if self.length.is_some_and(|length| length > Duration::from_secs(365 * 24 * 60 * 60)) {
            bail!("--for takes a year at most");
        }
        Ok(WatchPlan {
            waits: connect.patience == RetryPolicy::Wait,
            connect,
            length: self.length,
            held: self.held,
            heartbeat: self.heartbeat,
            new_per_second: self.new_per_second,
            lost_after: self.lost_after,
            gates: self.fail_if,
            json,
        })
    }
}
