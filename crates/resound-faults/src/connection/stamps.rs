//! When bytes may leave: delays, and bytes of a short time that leave together.

use std::time::{Duration, Instant};

use crate::direction::StreamDirection;
use crate::draws::Draws;
use crate::effect::{DelayShape, Effect, EffectValue};
use crate::kind::FaultKind;

/// The bytes that share one draw: about a short message. A block, so that it does not matter how
/// reads fell.
pub(super) const BLOCK: u64 = 64;

#[derive(Debug)]
struct DelayRule {
    /// In the specification.
    index: usize,
    middle: Duration,
    by: Duration,
    shape: DelayShape,
}

#[derive(Debug)]
pub(super) struct Stamps {
    draws: Draws,
    direction: StreamDirection,
    delays: Vec<DelayRule>,
    coalesce: Duration,
    /// Bytes up to this time leave at this time.
    window: Option<Instant>,
}

impl Stamps {
    pub(super) fn new(draws: Draws, direction: StreamDirection) -> Self {
        Self { draws, direction, delays: Vec::new(), coalesce: Duration::ZERO, window: None }
    }

    pub(super) fn begin(&mut self, index: usize, effect: Effect) {
        match (effect.kind, effect.value) {
            (FaultKind::Delay, EffectValue::Varied { middle, by, shape }) => {
                self.delays.push(DelayRule { index, middle, by, shape });
            }
            (FaultKind::Coalesce, EffectValue::Time(time)) => self.coalesce = self.coalesce.max(time),
            _ => {}
        }
    }

    /// How many of the bytes from this offset on have one time.
    pub(super) fn run(&self, offset: u64) -> u64 {
        let varies = self.delays.iter().any(|delay| !delay.by.is_zero());
        if varies { BLOCK - offset % BLOCK } else { u64::MAX }
    }

    /// The time of what arrived `now` at this offset, without the wait for more.
    pub(super) fn delayed(&self, now: Instant, offset: u64) -> Instant {
        self.delays.iter().fold(now, |ready, delay| {
            let bits = self.draws.bits(Some(self.direction), delay.index, offset / BLOCK * BLOCK);
            later(ready, delay.drawn(bits))
        })
    }

    /// The time of a byte that arrived `now` at this offset.
    pub(super) fn ready(&mut self, now: Instant, offset: u64) -> Instant {
        let ready = self.delayed(now, offset);
        if self.coalesce.is_zero() {
            return ready;
        }
        match self.window {
            Some(end) if ready <= end => end,
            _ => *self.window.insert(later(ready, self.coalesce)),
        }
    }
}

impl DelayRule {
    fn drawn(&self, bits: u64) -> Duration {
        self.shape.drawn(self.middle, self.by, bits)
    }
}

/// `time` plus `by`; the same time where the clock has no later one.
pub(super) fn later(time: Instant, by: Duration) -> Instant {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(shape: DelayShape) -> (f64, f64, f64, f64) {
        let delay = DelayRule { index: 0, middle: Duration::from_millis(20), by: Duration::from_millis(5), shape };
        let draws = Draws { seed: 3, number: 1 };
        let all: Vec<f64> =
            (0..40_000).map(|n| delay.drawn(draws.bits(None, 0, n * BLOCK)).as_secs_f64() * 1e3).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let deviation = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        (mean, deviation, all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max))
    }

    #[test]
    fn delays_vary_as_their_shapes_promise() {
        let (mean, _, least, most) = moments(DelayShape::Uniform);
        assert!((19.9..20.1).contains(&mean) && (15.0..15.1).contains(&least) && (24.9..=25.0).contains(&most));
        let (mean, deviation, least, most) = moments(DelayShape::Normal);
        assert!((19.9..20.1).contains(&mean) && (4.9..5.1).contains(&deviation), "{mean} {deviation}");
        assert!(least < 8.0 && most > 32.0, "{least} {most}");
        let (mean, _, least, most) = moments(DelayShape::Pareto);
        assert!((19.8..20.2).contains(&mean) && (17.0..17.2).contains(&least) && most > 80.0, "{mean} {least} {most}");
    }

    #[test]
    fn one_draw_holds_for_a_block() {
        let draws = Draws { seed: 3, number: 1 };
        let mut stamps = Stamps::new(draws, StreamDirection::Up);
        let effect = Effect {
            kind: FaultKind::Delay,
            value: EffectValue::Varied {
                middle: Duration::from_millis(20),
                by: Duration::from_millis(5),
                shape: DelayShape::Uniform,
            },
        };
        stamps.begin(0, effect);
        let now = Instant::now();
        assert_eq!((stamps.run(0), stamps.run(63), stamps.run(64)), (64, 1, 64));
        assert_eq!(stamps.ready(now, 0), stamps.ready(now, 63));
        assert_ne!(stamps.ready(now, 63), stamps.ready(now, 64));
    }
}
