//! [`OwnClock`]: time in which this machine ran, and in which it stalled.

use std::collections::VecDeque;
use std::time::Duration;

/// An instant of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchMoment {
    /// Time since the start of the watch without this machine's stalls: intervals are measured in
    /// it, so that a stall of this machine is no gap of the service.
    pub(super) awake: Duration,
    /// Time since the start of the watch.
    pub(super) at: Duration,
}

impl WatchMoment {
    /// The time between, in which this machine ran.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.awake.saturating_sub(earlier.awake)
    }
}

/// The stalls of this machine: its programs were not woken in time.
#[derive(Debug, Default)]
pub(super) struct OwnClock {
    stalled: Duration,
    /// The latest stalls, in order. Moments are made soon after their time, so that older ones do
    /// not matter.
    recent: VecDeque<(Duration, Duration)>,
}

impl OwnClock {
    /// The most stalls that are kept.
    const MOST: usize = 1024;

    /// This machine did nothing in between.
    pub(super) fn stall(&mut self, from: Duration, to: Duration) {
        let from = self.recent.back().map_or(from, |(_, end)| from.max(*end));
        if from >= to {
            return;
        }
        self.stalled += to - from;
        if self.recent.len() == Self::MOST {
            self.recent.pop_front();
        }
        self.recent.push_back((from, to));
    }

    /// The moment at this time since the start.
    pub(super) fn moment(&self, at: Duration) -> WatchMoment {
        let later = |(from, to): &(Duration, Duration)| to.saturating_sub(at.max(*from));
        let later: Duration = self.recent.iter().rev().take_while(|(_, to)| *to > at).map(later).sum();
        WatchMoment { awake: (at + later).saturating_sub(self.stalled), at }
    }

    /// The stall at this time.
    pub(super) fn stall_at(&self, at: Duration) -> Option<(Duration, Duration)> {
        self.recent.iter().rev().find(|(from, to)| (*from..*to).contains(&at)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn intervals_leave_the_stalls_of_this_machine_out() {
        let mut clock = OwnClock::default();
        let before = clock.moment(ms(900));
        clock.stall(ms(1000), ms(4000));
        clock.stall(ms(5000), ms(5500));
        assert_eq!(clock.moment(ms(900)), before);
        assert_eq!(clock.moment(ms(4100)).since(before), ms(200));
        assert_eq!(clock.moment(ms(2500)).since(before), ms(100), "inside a stall no time passes");
        assert_eq!(clock.moment(ms(6000)).since(clock.moment(ms(2500))), ms(1500));
        assert_eq!((clock.stall_at(ms(999)), clock.stall_at(ms(4000))), (None, None));
        assert_eq!(clock.stall_at(ms(1000)), Some((ms(1000), ms(4000))));
    }

    #[test]
    fn stalls_that_overlap_count_once_and_their_number_is_bounded() {
        let mut clock = OwnClock::default();
        clock.stall(ms(100), ms(200));
        clock.stall(ms(150), ms(300));
        clock.stall(ms(120), ms(180));
        assert_eq!(clock.moment(ms(400)).awake, ms(200));
        for n in 1..=10_000 {
            clock.stall(ms(n * 1000), ms(n * 1000 + 1));
        }
        assert_eq!(clock.recent.len(), OwnClock::MOST);
        assert_eq!(clock.moment(ms(10_001_000)).awake, ms(10_001_000 - 200 - 10_000));
    }
}
