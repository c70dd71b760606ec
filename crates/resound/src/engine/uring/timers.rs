//! [`Timers`]: the alarms of a worker's connections.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::engine::sys::Key;

/// At most one alarm for each connection. Deadlines mostly move later, so an alarm moves only to an
/// earlier time. An alarm that rings too early is set again.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Key)>);

impl Timers {
    /// Replaces the alarm of `key`, which is set for `before`.
    pub(super) fn set(&mut self, key: Key, before: Option<Instant>, at: Option<Instant>) {
        if let Some(before) = before {
            self.0.remove(&(before, key));
        }
        if let Some(at) = at {
            self.0.insert((at, key));
        }
    }

    /// How long until the next alarm.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        self.0.first().map(|(at, _)| at.saturating_duration_since(now))
    }

    /// Removes an alarm that rings at `now`, and returns its connection.
    pub(super) fn ringing(&mut self, now: Instant) -> Option<Key> {
        if self.0.first()?.0 > now {
            return None;
        }
        self.0.pop_first().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_ring_in_order_and_once() {
        let (now, mut timers) = (Instant::now(), Timers::default());
        let at = |ms| now + Duration::from_millis(ms);
        let [a, b, c] = [0, 1, 2].map(Key::first);
        timers.set(a, None, Some(at(30)));
        timers.set(b, None, Some(at(20)));
        timers.set(c, None, Some(at(20)));
        timers.set(a, Some(at(30)), Some(at(10)));
        timers.set(c, Some(at(20)), None);
        assert_eq!(timers.next(now), Some(Duration::from_millis(10)));
        assert_eq!(timers.ringing(now), None);
        assert_eq!([(); 3].map(|()| timers.ringing(at(40))), [Some(a), Some(b), None]);
        assert_eq!(timers.next(now), None);
    }
}
