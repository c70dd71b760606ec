//! How fast bytes leave, and in which segments.

use std::time::{Duration, Instant};

use super::stamps::later;
use crate::direction::StreamDirection;
use crate::draws::{Draws, below};
use crate::effect::{Effect, EffectValue};
use crate::kind::FaultKind;

/// What a rate may give at once.
const QUANTUM: Duration = Duration::from_millis(10);
/// How much of its time a late poll catches up on.
const CATCH_UP: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Pacer {
    bytes: u64,
    each: Duration,
    /// In whole portions, rather than evenly.
    drips: bool,
    /// From then on more may leave.
    next: Instant,
    /// What is left of the last drop.
    left: u64,
}

#[derive(Debug)]
struct Segments {
    /// Of the rule in the specification.
    index: usize,
    from: u64,
    to: u64,
    /// Bytes that left when the present segment is whole.
    cut: u64,
}

#[derive(Debug)]
pub(super) struct Outlet {
    draws: Draws,
    direction: StreamDirection,
    pacers: Vec<Pacer>,
    segments: Option<Segments>,
    /// Bytes that left.
    sent: u64,
    /// Nothing leaves before.
    stalled: Option<Instant>,
    /// What arrives is taken all the same.
    takes: bool,
}

impl Outlet {
    pub(super) fn new(draws: Draws, direction: StreamDirection) -> Self {
        Self { draws, direction, pacers: Vec::new(), segments: None, sent: 0, stalled: None, takes: false }
    }

    pub(super) fn begin(&mut self, index: usize, effect: Effect, now: Instant) {
        match (effect.kind, effect.value) {
            (FaultKind::Rate | FaultKind::Drip, EffectValue::Pace { bytes, each }) => {
                let drips = effect.kind == FaultKind::Drip;
                self.pacers.push(Pacer { bytes, each, drips, next: now, left: 0 });
            }
            (FaultKind::Slice, EffectValue::Range(from, to)) => {
                self.segments = Some(Segments { index, from, to, cut: self.sent });
                self.next_segment();
            }
            (FaultKind::Stall | FaultKind::StallThenBurst, EffectValue::Time(time)) => {
                self.stalled = Some(self.stalled.map_or(later(now, time), |until| until.max(later(now, time))));
                self.takes = effect.kind == FaultKind::StallThenBurst;
            }
            _ => {}
        }
    }

    pub(super) fn stalled_until(&self, now: Instant) -> Option<Instant> {
        self.stalled.filter(|until| *until > now)
    }

    /// Does a stall keep bytes from being taken?
    pub(super) fn takes_nothing(&self, now: Instant) -> bool {
        !self.takes && self.stalled_until(now).is_some()
    }

    /// How many bytes may leave at once; and when none may, from when.
    pub(super) fn allowed(&self, now: Instant) -> Result<usize, Instant> {
        if let Some(until) = self.stalled_until(now) {
            return Err(until);
        }
        let mut most = match &self.segments {
            Some(segments) => segments.cut.saturating_sub(self.sent).max(1),
            None => u64::MAX,
        };
        for pacer in &self.pacers {
            if pacer.left == 0 && pacer.next > now {
                return Err(pacer.next);
            }
            most = most.min(pacer.portion());
        }
        Ok(usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// Takes note of `bytes` bytes that left; returns whether they complete a segment.
    pub(super) fn left(&mut self, bytes: usize, now: Instant) -> bool {
        let bytes = bytes as u64;
        self.sent += bytes;
        for pacer in &mut self.pacers {
            pacer.left_with(bytes, now);
        }
        let is_whole = self.segments.as_ref().is_some_and(|segments| segments.cut <= self.sent);
        if is_whole {
            self.next_segment();
        }
        is_whole
    }

    fn next_segment(&mut self) {
        let Some(segments) = &mut self.segments else { return };
        let bits = self.draws.bits(Some(self.direction), segments.index, segments.cut);
        let length = segments.from + below(bits, segments.to - segments.from + 1);
        segments.cut = segments.cut.saturating_add(length);
    }
}

impl Pacer {
    fn portion(&self) -> u64 {
        match self.drips {
            true if self.left > 0 => self.left,
            true => self.bytes,
            false => {
                let quantum = u128::from(self.bytes) * QUANTUM.as_nanos() / self.each.as_nanos().max(1);
                u64::try_from(quantum).unwrap_or(u64::MAX).max(1)
            }
        }
    }

    fn left_with(&mut self, bytes: u64, now: Instant) {
        if self.drips {
            if self.left == 0 {
                // Late by less than one time, the next drop is on time again.
                let is_late = now.saturating_duration_since(self.next) >= self.each;
                self.next = later(if is_late { now } else { self.next }, self.each);
                self.left = self.bytes;
            }
            self.left = self.left.saturating_sub(bytes);
            return;
        }
        let begins = now.checked_sub(CATCH_UP).unwrap_or(now);
        let time = (u128::from(bytes) * self.each.as_nanos()).div_ceil(u128::from(self.bytes.max(1)));
        self.next = later(self.next.max(begins), Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX)));
    }
}
