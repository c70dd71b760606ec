//! [`Schedule`]: when the messages of an open loop are due, in nanoseconds from the start of the
//! run. It reads no clock, so tests can run it.

use std::time::Duration;

use super::Arrivals;
use super::hash::mix;

/// Messages per second, over time: `from` during the `first` seconds, then `by` more with every
/// `every` seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RateCurve {
    from: f64,
    by: f64,
    first: f64,
    every: f64,
}

impl RateCurve {
    /// A rate that never rises: its first step has no end.
    pub(super) fn constant(rate: f64) -> Self {
        Self { from: rate, by: 0.0, first: f64::INFINITY, every: 0.0 }
    }

    pub(super) fn steps(from: f64, by: f64, first: Duration, every: Duration) -> Self {
        Self { from, by, first: first.as_secs_f64(), every: every.as_secs_f64() }
    }

    /// When message number `n`, counted from 0, is due; a fraction lies between two messages.
    fn due(&self, n: f64) -> f64 {
        let Self { from, by, first, every } = *self;
        if n < from * first {
            return n / from * 1e9;
        }
        // The first k higher steps have b k + a k² messages: solved for k.
        let (a, b, beyond) = (by * every / 2.0, (from + by / 2.0) * every, n - from * first);
        let mut step = (2.0 * beyond / (b + (b * b + 4.0 * a * beyond).max(0.0).sqrt())).floor();
        // Rounding may move a message at the edge of a step into its neighbour.
        if self.before_step(step + 1.0) <= n {
            step += 1.0;
        } else if step > 0.0 && self.before_step(step) > n {
            step -= 1.0;
        }
        let rate = from + (step + 1.0) * by;
        (self.step_start(step) + (n - self.before_step(step)) / rate) * 1e9
    }

    /// How many messages are due before this time, in nanoseconds; the inverse of `due`.
    fn number(&self, time: f64) -> f64 {
        let seconds = time / 1e9;
        if seconds < self.first {
            return seconds * self.from;
        }
        let step = ((seconds - self.first) / self.every).floor();
        self.before_step(step) + (seconds - self.step_start(step)) * (self.from + (step + 1.0) * self.by)
    }

    /// When a step begins, in seconds. Step 0 is the first that is higher than `from`.
    fn step_start(&self, step: f64) -> f64 {
        self.first + step * self.every
    }

    /// How many messages are due before a step.
    fn before_step(&self, step: f64) -> f64 {
        self.from * self.first + self.every * step * (self.from + self.by * (step + 1.0) / 2.0)
    }
}

/// The planned times of one of several connections that share a rate. A connection that is late
/// takes times that have passed, so no message is left out.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate: RateCurve,
    /// The number of connections.
    of: f64,
    /// The random gaps of Poisson arrivals.
    poisson: Option<fastrand::Rng>,
    /// The number of the next message, over all connections.
    number: f64,
    taken: u64,
    /// When it is due.
    due: u64,
}

impl Schedule {
    /// The schedule of connection `index` of `of`.
    pub(super) fn new(rate: RateCurve, arrivals: Arrivals, index: u64, of: u64, seed: u64) -> Self {
        let poisson = match arrivals {
            Arrivals::Fixed => None,
            Arrivals::Poisson => Some(fastrand::Rng::with_seed(mix(seed ^ mix(index)))),
        };
        let mut schedule = Self { rate, of: of as f64, poisson, number: index as f64, taken: 0, due: 0 };
        if schedule.poisson.is_some() {
            // The sum of independent Poisson processes is one again, with the sum of their rates.
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

    /// Takes all messages that are due before `until`, and emits them in order, in a limited number
    /// of groups: the latest due time of a group, and its size.
    pub(super) fn take_each(&mut self, until: u64, mut emit: impl FnMut(u64, u64)) {
        const GROUPS: u64 = 1024;
        let width = until.saturating_sub(self.due).div_ceil(GROUPS).max(1);
        while self.due < until {
            let (due, next) = (self.due, self.due.saturating_add(width).min(until));
            let taken = self.take_until(next);
            emit(if taken == 1 { due } else { next - 1 }, taken);
        }
    }

    /// Takes all messages that are due before `until`, and returns their number. Of a great many it
    /// skips most at once: with random gaps their average number.
    pub(super) fn take_until(&mut self, until: u64) -> u64 {
        const ONE_BY_ONE: u64 = 10_000;
        let before = self.taken;
        while self.due < until && self.taken - before < ONE_BY_ONE {
            self.take();
        }
        // The last few are taken one by one, since rounding could skip too many.
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

    /// The distance to this connection's next message, in messages of all connections.
    fn gap(&mut self) -> f64 {
        match &mut self.poisson {
            None => self.of,
            // Exponentially distributed, with a mean of one message of this connection.
            Some(random) => -self.of * (1.0 - random.f64()).ln(),
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
            let all = plan(RateCurve::constant(rate), Arrivals::Fixed, of, Duration::from_secs(seconds));
            assert_eq!(all.len() as u64, rate as u64 * seconds, "{rate} {of}");
            let gap = 1e9 / rate;
            for pair in all.windows(2) {
                assert!(((pair[1] - pair[0]) as f64 - gap).abs() < 2.0, "{pair:?} at {rate}");
            }
        }
    }

    #[test]
    fn a_long_schedule_does_not_drift() {
        let mut schedule = Schedule::new(RateCurve::constant(30_000.0), Arrivals::Fixed, 0, 1, 0);
        (0..30_000_u64 * 3600).step_by(30_000).for_each(|_| {
            schedule.number += 30_000.0 - 1.0;
            schedule.take();
        });
        assert_eq!(schedule.due(), 3600 * 1_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let all = plan(RateCurve::constant(1000.0), Arrivals::Poisson, 16, Duration::from_secs(100));
        assert!((all.len() as f64 - 100_000.0).abs() < 1_500.0, "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The standard deviation of exponentially distributed gaps is their mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{mean} {}", variance.sqrt());
    }

    #[test]
    fn a_ramp_has_each_steps_rate() {
        let every = Duration::from_secs(2);
        let all = plan(RateCurve::steps(100.0, 50.0, every, every), Arrivals::Fixed, 5, every * 3);
        let of_step = |step: u64| all.iter().filter(|&&due| due / 2_000_000_000 == step).count();
        assert_eq!([0, 1, 2].map(of_step), [200, 300, 400]);
    }

    #[test]
    fn the_warm_up_of_a_ramp_has_the_first_steps_rate() {
        let [every, first] = [2, 5].map(Duration::from_secs);
        let all = plan(RateCurve::steps(100.0, 50.0, first, every), Arrivals::Fixed, 5, every * 2 + first);
        let between = |from, to| all.iter().filter(|&&due| (from..to).contains(&(due / 1_000_000_000))).count();
        assert_eq!([between(0, 5), between(5, 7), between(7, 9)], [500, 300, 400]);
    }

    #[test]
    fn a_time_of_a_long_ramp_is_computed_directly() {
        let every = Duration::from_millis(1);
        let rate = RateCurve::steps(1000.0, 1000.0, every, every);
        // One message in the first step, two in the next, and so on: triangular numbers.
        for step in [1_u32, 2, 3, 10, 999, 99_999] {
            let before = f64::from(step) * f64::from(step + 1) / 2.0;
            assert_eq!((rate.due(before) / 1e6).round(), f64::from(step), "{step}");
            assert!((rate.number(f64::from(step) * 1e6) - before).abs() < 1e-3, "{step}");
            // The next message follows at that step's rate.
            let gap = rate.due(before + 1.0) / 1e6 - f64::from(step);
            assert!((gap * (f64::from(step) + 1.0) - 1.0).abs() < 1e-3, "{step}");
        }
    }

    #[test]
    fn a_long_schedule_is_counted_at_once() {
        let (year, rate) = (365 * 24 * 3600 * 1_000_000_000, 1e9);
        for arrivals in [Arrivals::Fixed, Arrivals::Poisson] {
            let mut schedule = Schedule::new(RateCurve::constant(rate), arrivals, 0, 1, 3);
            let taken = schedule.take_until(year);
            assert!((taken as f64 / year as f64 - 1.0).abs() < 1e-6, "{taken} of {year}");
        }
        // With fixed gaps the number is exact.
        let mut schedule = Schedule::new(RateCurve::constant(30_000.0), Arrivals::Fixed, 1, 3, 0);
        assert_eq!(schedule.take_until(3600 * 1_000_000_000), 10_000 * 3600);
    }

    #[test]
    fn messages_taken_at_once_keep_their_times() {
        for (rate, arrivals) in [(1000.0, Arrivals::Fixed), (1e6, Arrivals::Fixed), (5000.0, Arrivals::Poisson)] {
            let mut one_by_one = Schedule::new(RateCurve::constant(rate), arrivals, 0, 1, 3);
            let mut at_once = one_by_one.clone();
            let second = 1_000_000_000;
            at_once.take_until(second);
            one_by_one.take_until(second);
            let (mut taken, mut groups) = (0, 0);
            at_once.take_each(2 * second, |since, count| {
                groups += 1;
                taken += count;
                for _ in 0..count {
                    // No wait is longer than the real one, and none is much shorter.
                    assert!((0..=second / 1024 + 1).contains(&(since - one_by_one.due())), "{rate}");
                    one_by_one.take();
                }
            });
            assert!(groups <= 1025 && one_by_one.due() >= 2 * second, "{groups} {taken}");
        }
    }

    #[test]
    fn a_late_connection_takes_the_planned_times() {
        let mut schedule = Schedule::new(RateCurve::constant(1000.0), Arrivals::Fixed, 0, 1, 0);
        (0..100).for_each(|_| schedule.take());
        // A second passes; the planned times stay.
        assert_eq!(schedule.due(), 100_000_000);
        assert_eq!(schedule.take_until(1_100_000_000), 1000);
        assert_eq!(schedule.due(), 1_100_000_000);
    }
}
