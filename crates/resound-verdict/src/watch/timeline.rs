//! [`WatchEpisode`]: a time in which something went wrong, and all that went wrong in it.

use std::time::Duration;

use super::counts::WatchCounts;

/// An episode ends after this long without an event.
const QUIET: Duration = Duration::from_secs(1);

/// A time in which something went wrong, from the first event to the last, without a quiet second
/// between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchEpisode {
    /// Its beginning, since the start of the watch.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// What happened in it.
    pub counts: WatchCounts,
}

/// The episodes so far.
#[derive(Debug, Default)]
pub(super) struct WatchTimeline {
    open: Option<WatchEpisode>,
    pub(super) ended: Vec<WatchEpisode>,
    /// Further ones that were not kept.
    pub(super) more: u64,
}

impl WatchTimeline {
    /// The most episodes that are kept.
    const MOST: usize = 1000;

    /// Something went wrong between these two times.
    pub(super) fn extend_episode(&mut self, from: Duration, to: Duration) {
        let open = self.open.get_or_insert(WatchEpisode { from, to, ..WatchEpisode::default() });
        open.from = open.from.min(from);
        open.to = open.to.max(to);
    }

    /// The counts of the episode, where there is one.
    pub(super) fn counts(&mut self) -> Option<&mut WatchCounts> {
        self.open.as_mut().map(|open| &mut open.counts)
    }

    /// Ends the episode if it has been quiet for long enough.
    pub(super) fn settle(&mut self, now: Duration) {
        if self.open.is_some_and(|open| open.to + QUIET <= now) {
            self.end();
        }
    }

    /// Ends the episode.
    pub(super) fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.ended.len() < Self::MOST {
            self.ended.push(open);
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn events_close_to_each_other_are_one_episode() {
        let mut timeline = WatchTimeline::default();
        timeline.extend_episode(ms(1000), ms(1500));
        timeline.settle(ms(2400));
        timeline.extend_episode(ms(800), ms(2400));
        timeline.settle(ms(3300));
        assert!(timeline.ended.is_empty());
        timeline.settle(ms(3400));
        assert_eq!((timeline.ended[0].from, timeline.ended[0].to), (ms(800), ms(2400)));
        assert!(timeline.counts().is_none());
    }

    #[test]
    fn their_number_is_bounded() {
        let mut timeline = WatchTimeline::default();
        for n in 0..1010 {
            timeline.extend_episode(ms(n), ms(n));
            timeline.end();
        }
        assert_eq!((timeline.ended.len(), timeline.more), (WatchTimeline::MOST, 10));
    }
}
