//! [`WatchRecord`]: what a watch has seen.

use std::time::Duration;

use super::counts::WatchCounts;
use super::timeline::WatchEpisode;

/// A second of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSecond {
    /// Its beginning, since the start of the watch.
    pub from: Duration,
    /// Its end: later than a second where this machine stalled.
    pub to: Duration,
    /// What happened in it. Heartbeats count in the second in which their fate is known.
    pub counts: WatchCounts,
    /// The held connections that were open and had answered, at its end.
    pub open: u64,
}

/// What a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRecord {
    /// How long it lasted.
    pub length: Duration,
    /// All that happened.
    pub total: WatchCounts,
    /// The times in which something went wrong, the first thousand.
    pub episodes: Vec<WatchEpisode>,
    /// Further ones.
    pub further_episodes: u64,
    /// The last seconds, an hour at most.
    pub seconds: Vec<WatchSecond>,
    /// The first failure that is counted as `failed`, or as one of this machine, in words.
    pub first_failure: Option<String>,
}
