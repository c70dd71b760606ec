//! The lines of `--json --interval`: the intervals of the record, each written as soon as it is
//! final.

use std::time::Duration;

use resound_load::{Interval, Phase};

/// Joins ticks into intervals as [`Timeline`](resound_load::Timeline) does, before that joins
/// neighbours.
pub(super) struct Objects {
    length: Duration,
    /// The current interval. Late answers still count in a full one until the next begins.
    pub(super) last: Option<Interval>,
}

impl Objects {
    /// For intervals of the length requested.
    pub(super) fn new(wanted: Duration) -> Self {
        Self { length: wanted, last: None }
    }

    /// The interval that ended before this tick.
    pub(super) fn add(&mut self, phase: Phase, tick: &Interval) -> Option<Interval> {
        match (phase, &mut self.last) {
            (Phase::Connecting { .. } | Phase::WarmUp { .. }, _) => None,
            // Answers after the end belong to messages sent before it.
            (Phase::Finishing { .. }, last) => {
                last.iter_mut().for_each(|last| last.add(tick));
                None
            }
            (Phase::Measuring, Some(last)) if tick.length.is_zero() => {
                last.add(tick);
                None
            }
            // Ticks vary in length.
            (Phase::Measuring, Some(last)) if last.length + tick.length / 2 < self.length => {
                last.join(tick);
                None
            }
            (Phase::Measuring, _) => self.last.replace(tick.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resound_load::{Counts, Timeline};

    #[test]
    fn the_objects_are_the_intervals_of_the_record() {
        let (mut objects, mut timeline) =
            (Objects::new(Duration::from_millis(500)), Timeline::new(Duration::from_millis(500)));
        let mut written = Vec::new();
        let mut start = Duration::ZERO;
        for n in 0..20 {
            // About 166 ms.
            let length = Duration::from_micros(166_000 + n * 7919 % 1333);
            let tick =
                Interval { start, length, counts: Counts { sent: n, ..Counts::default() }, ..Interval::default() };
            written.extend(objects.add(Phase::WarmUp { passed: length }, &tick));
            written.extend(objects.add(Phase::Measuring, &tick));
            timeline.push(&tick);
            start += length;
        }
        let late = Interval { counts: Counts { received: 5, ..Counts::default() }, ..Interval::default() };
        assert_eq!(objects.add(Phase::Finishing { in_flight: 5 }, &late), None);
        assert_eq!(objects.add(Phase::Measuring, &late), None);
        written.extend(objects.last);
        let mut intervals = timeline.finish();
        intervals.last_mut().unwrap().add(&late);
        intervals.last_mut().unwrap().add(&late);
        assert_eq!(intervals.len(), 7);
        assert_eq!(written, intervals);
    }

    #[test]
    fn short_intervals_are_those_of_the_record() {
        let wanted = Duration::from_millis(200);
        let (mut objects, mut timeline) = (Objects::new(wanted), Timeline::new(wanted));
        let (mut written, mut start) = (Vec::new(), Duration::ZERO);
        // The second was due to end at 400 ms and the third at 500 ms; the first was late.
        for length in [254, 147, 99].map(Duration::from_millis) {
            let tick = Interval { start, length, ..Interval::default() };
            written.extend(objects.add(Phase::Measuring, &tick));
            timeline.push(&tick);
            start += length;
        }
        written.extend(objects.last);
        assert_eq!((written.len(), written), (2, timeline.finish()));
    }
}
