//! [`Idleness`]: the limit on a connection without traffic.

use std::time::Duration;

use anyhow::Result;
use resound::Stream;
use resound::client::FailureClass;
use tokio::time::Instant;

use super::failure::ClientFailure;
use super::limits::until;

/// The limit is checked this many times, so it acts late by one part at most.
const PARTS: u32 = 8;
/// The shortest part.
const SHORTEST: Duration = Duration::from_millis(10);

/// Watches a connection for traffic: bytes into or out of this system, or acknowledgements from the
/// peer. Acknowledgements cause no event, so they are polled.
pub(super) struct Idleness {
    limit: Option<Duration>,
    /// The time of the next check.
    at: Option<Instant>,
    /// The time when the peer last acknowledged bytes that had waited.
    taken: Option<Instant>,
    /// The state at the last check.
    seen: SendState,
}

/// The state of the sending direction.
#[derive(Clone, Copy, Default)]
struct SendState {
    /// Acknowledged bytes.
    acknowledged: u64,
    /// Other bytes wait for an acknowledgement.
    waits: bool,
}

impl Idleness {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        let mut new = Self { limit, at: None, taken: None, seen: SendState::default() };
        new.schedule(Instant::now(), Duration::MAX);
        new
    }

    /// Waits for the next check.
    pub(super) async fn due(&self) {
        until(self.at).await;
    }

    /// Checks a connection whose last bytes moved at `moved`. An error if the limit has passed.
    pub(super) fn check(&mut self, moved: Instant, stream: &Stream) -> Result<()> {
        let shown = stream.tcp_info().map(|info| SendState {
            acknowledged: info.acknowledged,
            waits: info.unacknowledged > 0 || info.unsent > 0,
        });
        if !self.is_over(Instant::now(), moved, shown) {
            return Ok(());
        }
        let limit = humantime::format_duration(self.limit.unwrap_or_default());
        let what = format!("nothing was sent or received for {limit}");
        Err(ClientFailure::new(FailureClass::Timeout, what).into())
    }

    /// Has the limit passed? If not, schedules the next check.
    fn is_over(&mut self, now: Instant, moved: Instant, shown: Option<SendState>) -> bool {
        let Some(limit) = self.limit else { return false };
        if let Some(shown) = shown {
            let before = std::mem::replace(&mut self.seen, shown);
            // Bytes sent and acknowledged between two checks are no news.
            if shown.acknowledged > before.acknowledged && (shown.waits || before.waits) {
                self.taken = Some(now);
            }
        }
        let idle = now - self.taken.map_or(moved, |taken| taken.max(moved));
        if idle < limit {
            self.schedule(now, limit - idle);
        }
        idle >= limit
    }

    /// Schedules the next check: at the limit, and once in each part of it.
    fn schedule(&mut self, now: Instant, left: Duration) {
        let part = |limit: Duration| (limit / PARTS).max(SHORTEST).min(left);
        self.at = self.limit.and_then(|limit| now.checked_add(part(limit)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// Checks until the limit has passed, or for this long; `shown` is the state at each time.
    /// Returns the time that passed.
    fn run(idleness: &mut Idleness, moved: Instant, most: Duration, shown: impl Fn(Duration) -> SendState) -> Duration {
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
        let shown = |acknowledged, waits| SendState { acknowledged, waits };
        let watch = || Idleness { limit: Some(LIMIT), at: Some(start + LIMIT / 8), taken: None, seen: shown(0, false) };
        let hour = Duration::from_secs(3600);
        // Nothing waits, or everything has arrived.
        assert_eq!(run(&mut watch(), start, hour, |_| shown(0, false)), LIMIT);
        assert_eq!(run(&mut watch(), start, hour, |_| shown(100, false)), LIMIT);
        // The peer acknowledges a part at once, and the rest never.
        let stalled = run(&mut watch(), start, hour, |_| shown(100, true));
        assert!((LIMIT..=LIMIT + LIMIT / 8).contains(&stalled), "{stalled:?}");
        // The peer acknowledges a byte now and then, and then no more.
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
