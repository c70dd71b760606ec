//! The lines of `--json --interval`: the intervals of the record, each as soon as nothing can be added to it any more.

use std::time::Duration;

use resound_load::{Interval, Phase};

use super::LiveView;

/// Ticks become intervals as they do in [`Timeline`](resound_load::Timeline), before it joins any.
pub(super) struct Objects {
    length: Duration,
    /// The one that goes on. Even a full one may get answers that come late, until the next begins.
    last: Option<Interval>,
}

impl Objects {
    /// For intervals that were wanted to be so long. A record's are no shorter than a tick either.
    pub(super) fn new(wanted: Duration) -> Self {
        Self { length: wanted.max(LiveView::TICK), last: None }
    }

    /// The interval that ended before this tick.
    pub(super) fn add(&mut self, phase: Phase, tick: &Interval) -> Option<Interval> {
        match (phase, &mut self.last) {
            (Phase::Connecting { .. } | Phase::WarmUp { .. }, _) => None,
            // What comes behind the end belongs to what was sent before it.
            (Phase::Finishing { .. }, last) => {
                last.iter_mut().for_each(|last| last.add(tick));
                None
            }
            (Phase::Measuring, Some(last)) if tick.length.is_zero() => {
                last.add(tick);
                None
            }
            // Ticks are never quite even.
            (Phase::Measuring, Some(last)) if last.length + tick.length / 2 < self.length => {
                last.join(tick);
                None
            }
            (Phase::Measuring, _) => self.last.replace(tick.clone()),
        }
    }

    pub(super) fn rest(self) -> Option<Interval> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resound_load::{Counts, Timeline};

    #[test]
    fn they_are_those_of_the_record() {
        let (mut objects, mut timeline) =
            (Objects::new(Duration::from_millis(500)), Timeline::new(Duration::from_millis(500)));
        let mut written = Vec::new();
        let mut start = Duration::ZERO;
        for n in 0..20 {
            // 166 ms, more or less.
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
        written.extend(objects.rest());
        let mut intervals = timeline.finish();
        intervals.last_mut().unwrap().add(&late);
        intervals.last_mut().unwrap().add(&late);
        assert_eq!(intervals.len(), 7);
        assert_eq!(written, intervals);
    }

    #[test]
    fn intervals_that_are_shorter_than_a_tick_are_those_of_the_record_too() {
        let wanted = Duration::from_millis(100);
        let (mut objects, mut timeline) = (Objects::new(wanted), Timeline::new(wanted.max(LiveView::TICK)));
        let (mut written, mut start) = (Vec::new(), Duration::ZERO);
        // The second was to end at 400 ms and the third at 500 ms, and the first came late.
        for length in [254, 147, 99].map(Duration::from_millis) {
            let tick = Interval { start, length, ..Interval::default() };
            written.extend(objects.add(Phase::Measuring, &tick));
            timeline.push(&tick);
            start += length;
        }
        written.extend(objects.rest());
        assert_eq!((written.len(), written), (2, timeline.finish()));
    }
}
