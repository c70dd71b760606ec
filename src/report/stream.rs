//! The throughput of bulk transfers: bits per second in each direction.

use resound_load::{Direction, Interval, Settings, Shape};

use super::rates::Rates;
use super::run::Run;
use crate::units;

/// The limit of lines in the table over the run.
const LINES: usize = 10;

/// A direction of bulk transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BulkDirection {
    Sent,
    Received,
}

impl BulkDirection {
    /// The directions of a stream; empty for any other shape.
    pub(crate) fn of(settings: &Settings) -> &'static [Self] {
        match (settings.shape, settings.direction) {
            (Shape::Stream, Some(Direction::Send)) => &[Self::Sent],
            (Shape::Stream, Some(Direction::Receive)) => &[Self::Received],
            (Shape::Stream, _) => &[Self::Sent, Self::Received],
            _ => &[],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }

    /// Bits per second in an interval; `None` if its length is 0.
    pub(crate) fn bits(self, interval: &Interval) -> Option<f64> {
        let seconds = interval.length.as_secs_f64();
        let bytes = match self {
            Self::Sent => interval.counts.bytes_sent,
            Self::Received => interval.counts.bytes_in_time(),
        };
        (seconds > 0.0).then(|| bytes as f64 * 8.0 / seconds)
    }

    /// Bits per second of the whole run.
    pub(crate) fn rate(self, rates: &Rates) -> f64 {
        8.0 * match self {
            Self::Sent => rates.bytes_sent,
            Self::Received => rates.bytes_received,
        }
    }
}

/// The throughput of a load with these settings: `25.1 Gbit/s sent, 24.9 Gbit/s received` of a
/// stream, otherwise `10,000 msg/s`.
pub(crate) fn rate(settings: &Settings, rates: &Rates) -> String {
    let way = |way: &BulkDirection| format!("{} {}", units::bits(way.rate(rates)), way.name());
    let ways: Vec<_> = BulkDirection::of(settings).iter().map(way).collect();
    if ways.is_empty() { format!("{} msg/s", units::rate(rates.messages)) } else { ways.join(", ") }
}

/// The run in a few parts of equal length: the end of each, and its throughput in each direction.
pub(crate) fn over_time(run: &Run) -> Vec<(std::time::Duration, Vec<String>)> {
    let intervals = &run.record.intervals;
    let ways = BulkDirection::of(&run.record.settings);
    if ways.is_empty() || intervals.len() < 2 {
        return Vec::new();
    }
    let parts = Interval::coarser(intervals, LINES).into_iter().map(|part| {
        let shown = |way: &BulkDirection| way.bits(&part).map_or_else(|| "-".into(), units::bits);
        (part.start.saturating_add(part.length), ways.iter().map(shown).collect())
    });
    parts.collect()
}
