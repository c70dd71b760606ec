//! When messages are due: the plan of an open loop, in nanoseconds from its beginning. No clock is read here, so that tests can run it.

use std::time::Duration;

use super::Arrivals;
use super::payload::{mix, unit};

/// Messages per second, over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RateCurve {
    Constant(f64),
    /// It is `from` for as long as `first`, and then `by` higher every `every`.
    Steps {
        from: f64,
        by: f64,
        first: Duration,
        every: Duration,
    },
}

impl RateCurve {
    /// When message number `n`, counted from 0, is due; a fraction is a message of that much less than the next.
    fn due(&self, n: f64) -> f64 {
        match *self {
            Self::Constant(rate) => n / rate * 1e9,
            Self::Steps { from, by, every, .. } => {
                // Counted from the first step that is higher, whose messages up to a step are b k + a k²: solved for k.
                let (a, b) = (by * every.as_secs_f64() / 2.0, (from + by / 2.0) * every.as_secs_f64());
                let beyond = (n - self.before_step(0.0)).max(0.0);
                let mut step = (2.0 * beyond / (b + (b * b + 4.0 * a * beyond).max(0.0).sqrt())).floor();
                // Where rounding puts one that is due with a step into its neighbour.
                if self.before_step(step + 1.0) <= n {
                    step += 1.0;
                } else if step > 0.0 && self.before_step(step) > n {
                    step -= 1.0;
                }
                if n < self.before_step(0.0) {
                    return n / from * 1e9;
                }
                let rate = from + (step + 1.0) * by;
                (self.step_start(step) + (n - self.before_step(step)) / rate) * 1e9
            }
        }
    }

    /// How many messages are due before this time, in nanoseconds; the inverse of `due`.
    fn number(&self, time: f64) -> f64 {
        let seconds = time / 1e9;
        match *self {
            Self::Constant(rate) => seconds * rate,
            Self::Steps { from, by, first, every } => {
                if seconds < first.as_secs_f64() {
                    return seconds * from;
                }
                let step = ((seconds - first.as_secs_f64()) / every.as_secs_f64()).floor();
                self.before_step(step) + (seconds - self.step_start(step)) * (from + (step + 1.0) * by)
            }
        }
    }

    /// When a step begins, in seconds. Steps are counted from the first that is higher.
    fn step_start(&self, step: f64) -> f64 {
        match self {
            Self::Constant(_) => 0.0,
            Self::Steps { first, every, .. } => first.as_secs_f64() + step * every.as_secs_f64(),
        }
    }

    /// How many messages are due before it.
    fn before_step(&self, step: f64) -> f64 {
        match *self {
            Self::Constant(_) => 0.0,
            Self::Steps { from, by, first, every } => {
                from * first.as_secs_f64() + every.as_secs_f64() * step * (from + by * (step + 1.0) / 2.0)
            }
        }
    }
}

/// The planned instants of one connection of many that share a rate. What was missed stays in the plan: who is late asks for instants
/// that have passed, and no message is left out.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate: RateCurve,
    /// How many share it.
    of: f64,
    poisson: Option<u64>,
    /// The number of the next message, over all connections.
    number: f64,
    taken: u64,
    /// When it is due.
    due: u64,
}

impl Schedule {
    /// The plan of connection `index` of `of`.
    pub(super) fn new(rate: RateCurve, arrivals: Arrivals, index: u64, of: u64, seed: u64) -> Self {
        let poisson = match arrivals {
            Arrivals::Fixed => None,
            Arrivals::Poisson => Some(mix(seed ^ mix(index))),
        };
        let mut schedule = Self { rate, of: of as f64, poisson, number: index as f64, taken: 0, due: 0 };
        if poisson.is_some() {
            // Several independent streams of arrivals are together such a stream again, of their summed rate.
            schedule.number = schedule.gap();
        }
        schedule.due = rate.due(schedule.number) as u64;
        schedule
    }

    /// When the next message is due.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) {
        self.taken += 1;
        self.number += self.gap();
        self.due = self.rate.due(self.number) as u64;
    }

    /// Takes all that is due before `until`, and tells of it in order: since when, at the latest,
    /// how many have waited. One alone since it was due; many in a few thousand groups, however
    /// many they are.
    pub(super) fn take_each(&mut self, until: u64, mut tell: impl FnMut(u64, u64)) {
        const GROUPS: u64 = 1024;
        let width = until.saturating_sub(self.due).div_ceil(GROUPS).max(1);
        while self.due < until {
            let (due, next) = (self.due, self.due.saturating_add(width).min(until));
            let taken = self.take_until(next);
            tell(if taken == 1 { due } else { next - 1 }, taken);
        }
    }

    /// Takes all that is due before `until`, and says how many that were. Of a plan with random gaps it takes so many by one, and for
    /// the others, if there are more, what there are on average.
    pub(super) fn take_until(&mut self, until: u64) -> u64 {
        const ONE_BY_ONE: u64 = 10_000;
        let before = self.taken;
        while self.due < until && self.taken - before < ONE_BY_ONE {
            self.take();
        }
        // Up to a few before the end, which are taken one by one again: there rounding would decide.
        let left = ((self.rate.number(until as f64) - self.number) / self.of - 2.0).max(0.0) as u64;
        if self.due < until && left > 0 {
            self.taken = self.taken.saturating_add(left);
            self.number += left as f64 * self.of;
            self.due = self.rate.due(self.number) as u64;
        }
        for _ in 0..ONE_BY_ONE {
            if self.due >= until {
                break;
            }
            self.take();
        }
        self.taken - before
    }

    /// From one message of this connection to its next, counted in messages of all.
    fn gap(&self) -> f64 {
        match self.poisson {
            None => self.of,
            // Exponentially distributed, with a mean of one message of its own.
            Some(seed) => {
                -self.of * (1.0 - unit(mix(seed.wrapping_add(self.taken.wrapping_mul(0x9e37_79b9_7f4a_7c15))))).ln()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: RateCurve, arrivals: Arrivals, of: u64, until: Duration) -> Vec<u64> {
        let until = until.as_nanos() as u64;
        let mut all = Vec::new();
        for index in 0..of {
            let mut schedule = Schedule::new(rate, arrivals, index, of, 42);
            while schedule.due() < until {
                all.push(schedule.due());
                schedule.take();
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn connections_take_turns_and_together_keep_the_rate() {
        for (rate, of) in [(10.0, 1), (10.0, 3), (1_000.0, 64), (50_000.0, 7)] {
            let seconds = 10;
            let all = plan(RateCurve::Constant(rate), Arrivals::Fixed, of, Duration::from_secs(seconds));
            assert_eq!(all.len() as u64, rate as u64 * seconds, "{rate} {of}");
            let gap = 1e9 / rate;
            for pair in all.windows(2) {
                assert!(((pair[1] - pair[0]) as f64 - gap).abs() < 2.0, "{pair:?} at {rate}");
            }
        }
    }

    #[test]
    fn a_long_plan_does_not_drift() {
        let mut schedule = Schedule::new(RateCurve::Constant(30_000.0), Arrivals::Fixed, 0, 1, 0);
        (0..30_000_u64 * 3600).step_by(30_000).for_each(|_| {
            schedule.number += 30_000.0 - 1.0;
            schedule.take();
        });
        assert_eq!(schedule.due(), 3600 * 1_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let all = plan(RateCurve::Constant(1000.0), Arrivals::Poisson, 16, Duration::from_secs(100));
        assert!((all.len() as f64 - 100_000.0).abs() < 1_500.0, "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of exponentially distributed gaps the standard deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{mean} {}", variance.sqrt());
    }

    #[test]
    fn a_ramp_has_each_steps_rate() {
        let every = Duration::from_secs(2);
        let all = plan(RateCurve::Steps { from: 100.0, by: 50.0, first: every, every }, Arrivals::Fixed, 5, every * 3);
        let of_step = |step: u64| all.iter().filter(|&&due| due / 2_000_000_000 == step).count();
        assert_eq!([0, 1, 2].map(of_step), [200, 300, 400]);
    }

    #[test]
    fn the_warm_up_of_a_ramp_has_the_first_steps_rate() {
        let [every, first] = [2, 5].map(Duration::from_secs);
        let all = plan(RateCurve::Steps { from: 100.0, by: 50.0, first, every }, Arrivals::Fixed, 5, every * 2 + first);
        let between = |from, to| all.iter().filter(|&&due| (from..to).contains(&(due / 1_000_000_000))).count();
        assert_eq!([between(0, 5), between(5, 7), between(7, 9)], [500, 300, 400]);
    }

    #[test]
    fn a_long_ramp_is_planned_without_walking_it() {
        let every = Duration::from_millis(1);
        let rate = RateCurve::Steps { from: 1000.0, by: 1000.0, first: every, every };
        // One message in the first step, two in the next, and so on: those before a step are a triangle.
        for step in [1_u32, 2, 3, 10, 999, 99_999] {
            let before = f64::from(step) * f64::from(step + 1) / 2.0;
            assert_eq!((rate.due(before) / 1e6).round(), f64::from(step), "{step}");
            assert!((rate.number(f64::from(step) * 1e6) - before).abs() < 1e-3, "{step}");
            // And one message takes what it takes at that step's rate.
            let gap = rate.due(before + 1.0) / 1e6 - f64::from(step);
            assert!((gap * (f64::from(step) + 1.0) - 1.0).abs() < 1e-3, "{step}");
        }
    }

    #[test]
    fn a_plan_without_end_is_counted_at_once() {
        let (year, rate) = (365 * 24 * 3600 * 1_000_000_000, 1e9);
        for arrivals in [Arrivals::Fixed, Arrivals::Poisson] {
            let mut schedule = Schedule::new(RateCurve::Constant(rate), arrivals, 0, 1, 3);
            let taken = schedule.take_until(year);
            assert!((taken as f64 / year as f64 - 1.0).abs() < 1e-6, "{taken} of {year}");
        }
        // And as exactly as one by one.
        let mut schedule = Schedule::new(RateCurve::Constant(30_000.0), Arrivals::Fixed, 1, 3, 0);
        assert_eq!(schedule.take_until(3600 * 1_000_000_000), 10_000 * 3600);
    }

    #[test]
    fn what_is_taken_at_once_is_told_with_its_time() {
        for (rate, arrivals) in [(1000.0, Arrivals::Fixed), (1e6, Arrivals::Fixed), (5000.0, Arrivals::Poisson)] {
            let mut one_by_one = Schedule::new(RateCurve::Constant(rate), arrivals, 0, 1, 3);
            let mut at_once = one_by_one.clone();
            let second = 1_000_000_000;
            at_once.take_until(second);
            one_by_one.take_until(second);
            let (mut taken, mut groups) = (0, 0);
            at_once.take_each(2 * second, |since, count| {
                groups += 1;
                taken += count;
                for _ in 0..count {
                    // No wait is said to be longer than it was, and none is far shorter.
                    assert!((0..=second / 1024 + 1).contains(&(since - one_by_one.due())), "{rate}");
                    one_by_one.take();
                }
            });
            assert!(groups <= 1025 && one_by_one.due() >= 2 * second, "{groups} {taken}");
        }
    }

    #[test]
    fn who_is_late_finds_the_plan_as_it_was() {
        let mut schedule = Schedule::new(RateCurve::Constant(1000.0), Arrivals::Fixed, 0, 1, 0);
        (0..100).for_each(|_| schedule.take());
        // A second passes; the next instants are those of then.
        assert_eq!(schedule.due(), 100_000_000);
        assert_eq!(schedule.take_until(1_100_000_000), 1000);
        assert_eq!(schedule.due(), 1_100_000_000);
    }
}
