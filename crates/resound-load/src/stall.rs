//! How long the connections of a closed loop waited for answers, and which of these waits were
//! stalls.
//!
//! A closed loop sends nothing while it waits. The messages that it would have sent have no times,
//! so a stall hides most of what it delays. The length of all stalls shows how much that is.

use std::time::Duration;

use super::nanos::nanos;
use super::run_config::{Pace, RunConfig, TrafficPattern};
use super::slot::ConnectionSlot;
use super::tally::Tally;
use super::{Interval, Latency};

/// A shorter wait is never a stall: another process on this machine delays as much.
const SHORTEST: Duration = Duration::from_millis(10);
/// A stall is this many times as long as the median.
const TIMES: u32 = 10;
/// A connection that has waited for less than this at the end of the run may just have sent.
const SILENT: u64 = 100_000_000;
/// A generated stream pauses for less than this, unless something is wrong.
const PAUSE: u64 = 1_000_000_000;

/// Records that a slot of a closed loop waited for an answer. With `is_outage` the wait is recorded
/// as an outage already. A slot that waits at the end of the run, and had no answer in the measured
/// time or in the last second of a stream, is counted once.
pub(super) fn record_wait(
    config: &RunConfig,
    slot: &mut ConnectionSlot,
    since: u64,
    now: u64,
    is_outage: bool,
    tally: &mut Tally,
) {
    if config.traffic == TrafficPattern::Swallowed || matches!(config.pace, Pace::Open { .. }) {
        return;
    }
    let wait = now.min(config.end()).saturating_sub(since.max(config.measure_from));
    let is_stream = config.traffic == TrafficPattern::Pattern;
    if !is_outage && wait >= if is_stream { PAUSE } else { nanos(SHORTEST) } {
        tally.waits.record(wait);
        config.keep_silence(since, now.min(config.end()), false, tally);
    }
    // A stream that has stopped may have brought bytes before.
    let has_answered = slot.has_answered && !(is_stream && wait >= PAUSE);
    if now >= config.end() && wait >= SILENT && !has_answered {
        tally.counts.silent += 1;
        slot.has_answered = true;
    }
}

impl Interval {
    /// The shortest wait for an answer that is a stall: ten times the median service time, and at
    /// least 10 ms.
    #[must_use]
    pub fn stall_from(&self) -> Duration {
        let median = self.service.without(&self.bounds.service).percentile(50.0).unwrap_or_default();
        median.saturating_mul(TIMES).max(SHORTEST)
    }

    /// The service times that are longer than [`Interval::stall_from`].
    #[must_use]
    pub fn stalls(&self) -> Latency {
        let from = self.stall_from();
        let is_stall = |time: u64| Duration::from_nanos(time) > from;
        Latency::of(
            self.service.buckets().filter(|bucket| is_stall(bucket.from)).map(|bucket| (bucket.to, bucket.count)),
        )
    }
}

/// The total length of the stalls among these waits: those longer than `from`.
pub(super) fn stalled(waits: &Latency, from: Duration) -> Duration {
    let stalls = waits.buckets().filter(|bucket| Duration::from_nanos(bucket.to) > from);
    stalls.fold(Duration::ZERO, |sum, bucket| {
        let count = u32::try_from(bucket.count).unwrap_or(u32::MAX);
        sum.saturating_add(Duration::from_nanos(bucket.from).saturating_mul(count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stall_is_ten_times_the_median_and_ten_milliseconds() {
        let of =
            |usual: u64, long: u64| Interval { service: Latency::of([(usual, 100), (long, 3)]), ..Interval::default() };
        for (usual, long, count) in
            [(20_000, 9 * MS, 0), (20_000, 11 * MS, 3), (5 * MS, 45 * MS, 0), (5 * MS, 60 * MS, 3)]
        {
            assert_eq!(of(usual, long).stalls().count(), count, "{usual} {long}");
        }
        // If most waits are long, none of them is a stall.
        assert!(of(3000 * MS, 3100 * MS).stalls().is_empty());
    }

    #[test]
    fn only_waits_that_are_stalls_count() {
        let waits = Latency::of([(12 * MS, 5), (15 * MS, 1), (600 * MS, 2)]);
        let all = stalled(&waits, Duration::from_millis(20));
        assert!(all.abs_diff(Duration::from_millis(1200)) < Duration::from_millis(3), "{all:?}");
    }
}
