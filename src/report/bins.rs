//! The intervals of several generators on one timeline: intervals of the same second on several
//! machines become one.

use std::collections::BTreeMap;
use std::time::Duration;

use resound_load::{Interval, Timeline};

/// The shortest bin worth showing.
const SHORTEST: Duration = Duration::from_millis(1);

/// The intervals of a generator, and its start, counted from the earliest start.
pub(super) struct GeneratorTrack<'a> {
    pub(super) offset: Duration,
    pub(super) intervals: &'a [Interval],
}

/// The counts of a bin, and the spans measured in it (from, to), in the order they were added.
#[derive(Default)]
struct Bin {
    sum: Interval,
    spans: Vec<(Duration, Duration)>,
}

/// Merges the tracks. An interval that covers several bins is divided among them by time. The
/// length of a bin is the time measured in it, so that rates stay right.
pub(super) fn merge(tracks: &[GeneratorTrack<'_>]) -> Vec<Interval> {
    let end =
        tracks.iter().flat_map(|track| track.intervals.iter().map(|it| track.offset + it.start + it.length)).max();
    // The gap between runs has no limit.
    let coarsest = end.unwrap_or_default() / Timeline::MOST as u32 + Duration::from_nanos(1);
    let usual = tracks.iter().map(|track| usual(track.intervals)).max().unwrap_or_default();
    let width = if usual >= coarsest { usual } else { coarsest }.max(SHORTEST);
    let mut bins: BTreeMap<u128, Bin> = BTreeMap::new();
    for track in tracks {
        let mut free = Duration::ZERO;
        for interval in track.intervals {
            let until = track.offset + interval.start + interval.length;
            // A file may hold any times: the bins only move forward.
            let from = (track.offset + interval.start).max(free);
            free = until.max(free);
            let mut rest = Interval { start: from, length: until.saturating_sub(from), ..interval.clone() };
            loop {
                let number = rest.start.as_nanos() / width.as_nanos();
                let room = width - Duration::from_nanos_u128(rest.start.as_nanos() % width.as_nanos());
                let (part, next) = rest.split(room);
                let bin = bins.entry(number).or_default();
                bin.sum.add(&part);
                bin.spans.push((part.start, part.start + part.length));
                if next.length.is_zero() {
                    break;
                }
                rest = next;
            }
        }
    }
    bins.into_values().map(Bin::finish).collect()
}

impl Bin {
    fn finish(mut self) -> Interval {
        self.spans.sort_unstable();
        let start = self.spans.first().map(|span| span.0).unwrap_or_default();
        let (mut length, mut seen) = (Duration::ZERO, start);
        for (from, to) in self.spans {
            length += to.saturating_sub(from.max(seen));
            seen = seen.max(to);
        }
        Interval { start, length, ..self.sum }
    }
}

/// The median length of the intervals. A single long one, of a machine that was suspended, must not
/// decide.
fn usual(intervals: &[Interval]) -> Duration {
    let mut lengths: Vec<_> = intervals.iter().map(|interval| interval.length).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use resound_load::{Counts, Latency};

    /// Seconds with this many messages each, the last one shorter.
    fn track(seconds: u64, rate: u64) -> Vec<Interval> {
        let of = |start: u64, ms: u64| Interval {
            start: Duration::from_secs(start),
            length: Duration::from_millis(ms),
            counts: Counts { received: rate * ms / 1000, ..Counts::default() },
            service: Latency::of([(1000, rate * ms / 1000)]),
            ..Interval::default()
        };
        (0..seconds).map(|start| of(start, 1000)).chain([of(seconds, 400)]).collect()
    }

    fn per_second(interval: &Interval) -> f64 {
        interval.counts.received as f64 / interval.length.as_secs_f64()
    }

    #[test]
    fn divided_intervals_keep_their_counts_and_times() {
        let (a, b) = (track(10, 1000), track(10, 1000));
        let offset = Duration::from_millis(550);
        let merged = merge(&[
            GeneratorTrack { offset: Duration::ZERO, intervals: &a },
            GeneratorTrack { offset, intervals: &b },
        ]);
        assert_eq!(merged.iter().map(|bin| bin.counts.received).sum::<u64>(), 20_800);
        assert_eq!(merged.iter().map(|bin| bin.service.count()).sum::<u64>(), 20_800);
        let rates: Vec<_> = merged.iter().map(per_second).collect();
        assert_eq!(rates[0], 1450.0);
        assert!(rates[1..10].iter().all(|rate| *rate == 2000.0), "{rates:?}");
        // Both measure until 10.4 s, one of them until 10.95 s.
        let last = merged.last().unwrap();
        assert_eq!((last.start, last.length), (Duration::from_secs(10), Duration::from_millis(950)));
        assert_eq!(last.counts.received, 1350);
    }

    #[test]
    fn a_gap_in_measuring_shortens_a_bin() {
        let second = |ms| Interval { length: Duration::from_millis(ms), ..track(0, 1000)[0].clone() };
        let (a, b) = ([second(200)], [second(300)]);
        let offset = Duration::from_millis(2100);
        let runs = [GeneratorTrack { offset: Duration::ZERO, intervals: &a }, GeneratorTrack { offset, intervals: &b }];
        let lengths: Vec<_> = merge(&runs).iter().map(|bin| bin.length.as_millis()).collect();
        assert_eq!(lengths, [200, 300]);
    }

    #[test]
    fn a_merge_of_any_times_ends() {
        let years = Duration::from_secs(10 * 365 * 86_400);
        let strange = |start, length| Interval { start, length, ..track(0, 1000)[0].clone() };
        let overlapping: Vec<_> = (0..1000).map(|_| strange(Duration::ZERO, years)).collect();
        let backwards: Vec<_> = (0..1000).rev().map(|n| strange(Duration::from_secs(n), Duration::ZERO)).collect();
        let runs = [
            GeneratorTrack { offset: years, intervals: &overlapping },
            GeneratorTrack { offset: Duration::ZERO, intervals: &backwards },
        ];
        let merged = merge(&runs);
        assert!(merged.len() <= Timeline::MOST + 1, "{}", merged.len());
        assert_eq!(merged.iter().map(|bin| bin.counts.received).sum::<u64>(), 2000 * 400);
        assert!(merge(&[]).is_empty());
    }
}
