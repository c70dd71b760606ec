//! [`Idleness`]: when a connection on which nothing moves has had its time.

use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::FailureClass;
use tokio::time::Instant;

use super::failure::ClientFailure;
use super::limits::until;

/// A limit is looked after in so many parts: it acts late by one of them at most.
const PARTS: u32 = 8;
/// No part is shorter than this.
const SHORTEST: Duration = Duration::from_millis(10);

/// Watches over a connection on which something must move: bytes into or out of our system, or acknowledgements from the other, which come
/// without a word and have to be looked for.
pub(super) struct Idleness {
    limit: Option<Duration>,
    /// When to look again.
    at: Option<Instant>,
    /// When the other system last acknowledged something that had waited for it.
    taken: Option<Instant>,
    /// What the last look has shown.
    seen: Shown,
}

/// What our system says of the way to the other.
#[derive(Clone, Copy, Default)]
struct Shown {
    /// Bytes that the other has acknowledged.
    acknowledged: u64,
    /// There are others that it has not.
    waits: bool,
}

impl Idleness {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        let mut new = Self { limit, at: None, taken: None, seen: Shown::default() };
        new.look_after(Instant::now(), Duration::MAX);
        new
    }

    /// Waits until it is time to look.
    pub(super) async fn due(&self) {
        until(self.at).await;
    }

    /// Looks at a connection on which we last moved something at `moved`. It fails where nothing else moved either.
    pub(super) fn look(&mut self, moved: Instant, stream: &Stream) -> Result<()> {
        let shown = stream
            .tcp_info()
            .map(|info| Shown { acknowledged: info.acknowledged, waits: info.unacknowledged > 0 || info.unsent > 0 });
        if !self.is_over(Instant::now(), moved, shown) {
            return Ok(());
        }
        let limit = humantime::format_duration(self.limit.unwrap_or_default());
        let what = format!("nothing was sent or received for {limit}");
        Err(ClientFailure::new(FailureClass::Timeout, what).into())
    }

    /// Is it to be given up? If not, sees to it that it is looked at again.
    fn is_over(&mut self, now: Instant, moved: Instant, shown: Option<Shown>) -> bool {
        let Some(limit) = self.limit else { return false };
        if let Some(shown) = shown {
            let before = std::mem::replace(&mut self.seen, shown);
            // What was sent and acknowledged at once is no news.
            if shown.acknowledged > before.acknowledged && (shown.waits || before.waits) {
                self.taken = Some(now);
            }
        }
        let idle = now - self.taken.map_or(moved, |taken| taken.max(moved));
        if idle < limit {
            self.look_after(now, limit - idle);
        }
        idle >= limit
    }

    /// Looks again when the time may be over, and once in each part of it.
    fn look_after(&mut self, now: Instant, left: Duration) {
        let part = |limit: Duration| (limit / PARTS).max(SHORTEST).min(left);
        self.at = self.limit.and_then(|limit| now.checked_add(part(limit)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// Looks when it is time, until it is over, or for so long; `shown` says what there is to see then. Says how long that was.
    fn run(idleness: &mut Idleness, moved: Instant, most: Duration, shown: impl Fn(Duration) -> Shown) -> Duration {
        loop {
            let now = idleness.at.expect("it looks again");
            if now - moved >= most || idleness.is_over(now, moved, Some(shown(now - moved))) {
                return now - moved;
            }
        }
    }

    #[test]
    fn idleness_counts_from_the_last_thing_that_moved() {
        let start = Instant::now();
        let shown = |acknowledged, waits| Shown { acknowledged, waits };
        let watch = || Idleness { limit: Some(LIMIT), at: Some(start + LIMIT / 8), taken: None, seen: shown(0, false) };
        let hour = Duration::from_secs(3600);
        // Nothing is on its way, or what was has arrived.
        assert_eq!(run(&mut watch(), start, hour, |_| shown(0, false)), LIMIT);
        assert_eq!(run(&mut watch(), start, hour, |_| shown(100, false)), LIMIT);
        // A part is taken at once, and the rest never.
        let stalled = run(&mut watch(), start, hour, |_| shown(100, true));
        assert!((LIMIT..=LIMIT + LIMIT / 8).contains(&stalled), "{stalled:?}");
        // A byte is taken now and then, and then no more.
        let slow = |at: Duration| shown((at.as_secs() / 7).min(10), at.as_secs() < 70);
        let ended = run(&mut watch(), start, hour, slow) - Duration::from_secs(70);
        assert!((LIMIT..=LIMIT + LIMIT / 8).contains(&ended), "{ended:?}");
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_look_at() {
        let mut idleness = Idleness::new(None);
        assert_eq!(idleness.at, None);
        assert!(!idleness.is_over(Instant::now() + LIMIT, Instant::now(), None));
    }
}
