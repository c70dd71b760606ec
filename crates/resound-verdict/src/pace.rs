//! [`ConnectPace`]: no more connections a second than the path answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep_until;

/// The time between the starts of two connections: none, or the same for all clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectPace(Option<Arc<PacedStarts>>);

#[derive(Debug)]
struct PacedStarts {
    interval: Duration,
    next: Mutex<Instant>,
}

impl ConnectPace {
    pub(crate) fn every(interval: Duration) -> Self {
        Self(Some(Arc::new(PacedStarts { interval, next: Mutex::new(Instant::now() + interval) })))
    }

    /// Waits until the next connection may start.
    pub(crate) async fn turn(&self) {
        if let Some(starts) = &self.0 {
            sleep_until(starts.take(Instant::now()).into()).await;
        }
    }
}

impl PacedStarts {
    /// The next free start. One that is given up stays unused.
    fn take(&self, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let start = (*next).max(now);
        *next = start + self.interval;
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_an_interval_apart_and_missed_ones_are_not_made_up_for() {
        let begun = Instant::now();
        let interval = Duration::from_millis(200);
        let starts = PacedStarts { interval, next: Mutex::new(begun + interval) };
        assert_eq!([0, 1, 2].map(|_| starts.take(begun) - begun), [1, 2, 3].map(|n| n * interval));
        let later = begun + 50 * interval;
        assert_eq!([0, 1].map(|_| starts.take(later) - later), [0, 1].map(|n| n * interval));
    }
}
