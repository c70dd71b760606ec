//! [`Delivery`]: what the peer's system has taken of what was sent, as far as an engine can tell, and since when it takes nothing.

use std::time::{Duration, Instant};

use super::limits::Limits;

/// A timeout is looked after in so many parts, so it acts late by one of them at most.
const PARTS: u32 = 8;
/// No part is shorter than this.
const SHORTEST: Duration = Duration::from_millis(10);
/// A connection that waits for nothing but delivery is looked at after so many milliseconds, then after twice as many, and so on.
const FIRST_WAIT: u32 = 1;
const MOST_DOUBLINGS: u8 = 7;
const NEVER: u32 = u32::MAX;

/// The clock of a stalled write. It runs while something may be on its way, in the engine's queue or in the transport.
///
/// No message pays for a look at the transport: from the first byte that may wait, the engine is asked to look a part of the timeout later, and
/// again as long as there is something. A connection on which all was taken is not looked at any more.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The engine says what the transport still holds; else only what the transport took is known.
    is_reported: bool,
    /// Something was sent, and is not known to have been taken.
    is_open: bool,
    /// At the last look the transport held something.
    held: bool,
    /// While the connection waits for nothing but delivery: how often the wait for the next look has doubled, and one.
    hurries: u8,
    /// When to look next: so many milliseconds after `since`. There is one of these for each connection, so it is small.
    look_after: u32,
    /// When the peer's system last took a byte, or the first began to wait.
    since: Option<Instant>,
    /// Of all bytes sent, those that were taken at the last look. Some transports count more than they were given, so it may be negative.
    taken: i64,
}

impl Delivery {
    /// The engine is going to say what the transport holds.
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
            self.look_after = part(limits);
        }
    }

    /// The transport took bytes. That is progress only where nothing better is known.
    pub(super) fn sent(&mut self, now: Instant) {
        if !self.is_reported {
            self.since = Some(now);
        }
    }

    /// Of `sent` bytes in all the transport still holds so many. Says whether the peer is slow: its system has taken some by and by.
    pub(super) fn report(&mut self, now: Instant, sent: u64, held: usize, unsent: usize) -> bool {
        let taken = (sent as i64).wrapping_sub(held as i64);
        let has_risen = taken > std::mem::replace(&mut self.taken, taken);
        if held == 0 || has_risen {
            // What the engine has not handed on is not for the peer to take.
            self.is_open = held > 0 || unsent > 0;
            self.since = Some(now);
            self.look_after = 0;
        }
        let was_held = std::mem::replace(&mut self.held, held > 0);
        has_risen && (held > 0 || was_held)
    }

    /// Time is up. If that was for a look, there has been one, if there can be any.
    pub(super) fn looked(&mut self, now: Instant, limits: &Limits) {
        if self.look().is_some_and(|at| at <= now) {
            self.look_at(now, part(limits));
        }
    }

    /// From now on the connection waits for nothing but this.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.hurries = 1;
        self.look_at(now, 0);
    }

    /// Does the connection wait for nothing but this?
    pub(super) fn is_in_a_hurry(&self) -> bool {
        self.hurries > 0
    }

    /// As [`Delivery::looked`], where the connection waits for nothing else.
    pub(super) fn looked_in_a_hurry(&mut self, now: Instant) {
        if self.look().is_some_and(|at| at <= now) {
            self.look_at(now, FIRST_WAIT << self.hurries.saturating_sub(1));
            self.hurries = (self.hurries + 1).min(MOST_DOUBLINGS + 1);
        }
    }

    /// Sets the next look, so many milliseconds from now.
    fn look_at(&mut self, now: Instant, wait: u32) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.look_after = if wait == NEVER { NEVER } else { milliseconds(passed).saturating_add(wait) };
    }

    /// Is something on its way? Where the engine does not tell, only what it has not sent itself.
    pub(super) fn is_open(&self, unsent: usize) -> bool {
        if self.is_reported { self.is_open } else { unsent > 0 }
    }

    /// Does the engine tell?
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// When to look; nothing where nothing is on its way.
    pub(super) fn look(&self) -> Option<Instant> {
        if !self.is_open || self.look_after == NEVER {
            return None;
        }
        self.since?.checked_add(Duration::from_millis(self.look_after.into()))
    }

    /// When to see about it: where the engine tells, at its looks, which are never far from when the peer has had its time.
    pub(super) fn deadline(&self, unsent: usize, limit: Option<Duration>) -> Option<Instant> {
        if self.is_reported { self.look() } else { self.stalled_at(unsent, limit) }
    }

    /// When a peer that takes nothing has had its time.
    pub(super) fn stalled_at(&self, unsent: usize, limit: Option<Duration>) -> Option<Instant> {
        // A limit too far away for the clock is no limit.
        self.since.filter(|_| self.is_open(unsent))?.checked_add(limit?)
    }
}

/// How often to look, in milliseconds.
fn part(limits: &Limits) -> u32 {
    let timeouts = [limits.write_timeout, limits.idle_timeout];
    let shortest = timeouts.into_iter().flatten().min();
    shortest.map_or(NEVER, |timeout| milliseconds((timeout / PARTS).max(SHORTEST).min(timeout)).max(1))
}

/// Whole milliseconds, none of them too early.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(NEVER)
}
