//! [`Delivery`]: how much of the sent data the peer's system has acknowledged, as far as an engine
//! can report it, and since when nothing more.

use std::time::{Duration, Instant};

use super::limits::Limits;

/// A timeout is checked eight times, so it acts late by one eighth at most.
const PARTS: u32 = 8;
/// No part is shorter than this.
const SHORTEST: Duration = Duration::from_millis(10);
/// A connection that waits for nothing but delivery is checked after 1 ms, then after 2 ms, and so
/// on; the interval doubles up to 128 ms.
const FIRST_WAIT: u32 = 1;
const MOST_DOUBLINGS: u8 = 7;
const NEVER: u32 = u32::MAX;

/// The clock of a stalled write. It runs while something may be on its way, in the engine's queue
/// or in the transport.
///
/// No message costs a poll of the transport. From the first byte that may wait, the engine is asked
/// to poll it after each part of the timeout, for as long as bytes are on their way. A connection
/// without such bytes is not checked any more.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The engine reports what the transport still holds; else only what the transport took is
    /// known.
    is_reported: bool,
    /// Bytes were sent, and are not known to be acknowledged.
    is_open: bool,
    /// At the last poll the transport held bytes.
    held: bool,
    /// One more than the number of times that the wait for a poll has doubled; 0 unless the
    /// connection waits only for delivery.
    doublings: u8,
    /// When to poll next, in milliseconds after `since`. There is one of these for each
    /// connection, so it is small.
    poll_after_ms: u32,
    /// When the peer's system last acknowledged a byte, or the first began to wait.
    since: Option<Instant>,
    /// Of all bytes sent, those that were acknowledged at the last poll. Some transports count more
    /// than they were given, so it may be negative.
    taken: i64,
}

impl Delivery {
    /// The engine is going to report what the transport holds.
    pub(super) fn expect_reports(&mut self) {
        self.is_reported = true;
    }

    /// Bytes are handed to an engine that had nothing unsent.
    pub(super) fn begins(&mut self, now: Instant, limits: &Limits) {
        if !self.is_reported {
            self.since = Some(now);
        } else if !self.is_open {
            self.is_open = true;
            self.held = false;
            self.since = Some(now);
            self.poll_after_ms = part(limits);
        }
    }

    /// The transport took bytes. That is progress only where the engine reports nothing better.
    pub(super) fn sent(&mut self, now: Instant) {
        if !self.is_reported {
            self.since = Some(now);
        }
    }

    /// The transport still holds `held` of all `sent` bytes. Returns whether the peer is slow: its
    /// system has acknowledged some since the last poll.
    pub(super) fn report(&mut self, now: Instant, sent: u64, held: usize, unsent: usize) -> bool {
        let taken = (sent as i64).wrapping_sub(held as i64);
        let has_risen = taken > std::mem::replace(&mut self.taken, taken);
        if held == 0 || has_risen {
            // The peer cannot acknowledge what the engine has not handed on.
            self.is_open = held > 0 || unsent > 0;
            self.since = Some(now);
            self.poll_after_ms = 0;
        }
        let was_held = std::mem::replace(&mut self.held, held > 0);
        has_risen && (held > 0 || was_held)
    }

    /// A deadline has passed. If it was that of a poll, the engine has polled: the next is set.
    pub(super) fn polled(&mut self, now: Instant, limits: &Limits) {
        if self.next_poll().is_some_and(|at| at <= now) {
            self.set_poll(now, part(limits));
        }
    }

    /// From now on the connection waits only for delivery.
    pub(super) fn limit(&mut self, now: Instant) {
        self.doublings = 1;
        self.set_poll(now, 0);
    }

    /// The peer takes nothing more.
    pub(super) fn give_up(&mut self) {
        self.is_open = false;
    }

    /// Whether the connection waits for nothing but this.
    pub(super) fn is_limited(&self) -> bool {
        self.doublings > 0
    }

    /// As [`Delivery::polled`], where the connection waits for nothing else.
    pub(super) fn looked_while_limited(&mut self, now: Instant) {
        if self.next_poll().is_some_and(|at| at <= now) {
            self.set_poll(now, FIRST_WAIT << self.doublings.saturating_sub(1));
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS + 1);
        }
    }

    /// Sets the next poll, `wait` milliseconds from now.
    fn set_poll(&mut self, now: Instant, wait: u32) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.poll_after_ms = if wait == NEVER { NEVER } else { milliseconds(passed).saturating_add(wait) };
    }

    /// Whether bytes are on their way. Where the engine reports nothing, only its own unsent ones
    /// count.
    pub(super) fn is_open(&self, unsent: usize) -> bool {
        if self.is_reported { self.is_open } else { unsent > 0 }
    }

    /// Whether the engine reports what the transport holds.
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// When to poll; `None` while no bytes are on their way.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        if !self.is_open || self.poll_after_ms == NEVER {
            return None;
        }
        self.since?.checked_add(Duration::from_millis(self.poll_after_ms.into()))
    }

    /// When to check: where the engine reports, at its looks, which are never far from the end of
    /// the peer's time.
    pub(super) fn deadline(&self, unsent: usize, limit: Option<Duration>) -> Option<Instant> {
        if self.is_reported { self.next_poll() } else { self.stalled_at(unsent, limit) }
    }

    /// When the time of a peer that acknowledges nothing is over.
    pub(super) fn stalled_at(&self, unsent: usize, limit: Option<Duration>) -> Option<Instant> {
        // A limit too far away for the clock is no limit.
        self.since.filter(|_| self.is_open(unsent))?.checked_add(limit?)
    }
}

/// The time between two looks, in milliseconds.
fn part(limits: &Limits) -> u32 {
    let timeouts = [limits.write_timeout, limits.idle_timeout];
    let shortest = timeouts.into_iter().flatten().min();
    shortest.map_or(NEVER, |timeout| milliseconds((timeout / PARTS).max(SHORTEST).min(timeout)).max(1))
}

/// Whole milliseconds, rounded up.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(NEVER)
}
