//! [`compare`]: do two runs differ, or is it chance? A bootstrap over their intervals.

use fastrand::Rng;

use super::latency::rank;
use super::student::{Spread, tail};
use super::{Interval, Latency};

/// The figures of two runs, and their differences.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Messages answered per second; in a run without answers, messages sent.
    pub rate: Difference,
    /// Failures per planned message.
    pub failures: Difference,
    /// The mean time in seconds.
    pub mean: Difference,
    /// The requested percentiles, in order, in seconds.
    pub percentiles: Vec<Difference>,
    /// The number of parts of each side that replicates draw from: the base, the new runs.
    pub parts: (usize, usize),
    /// The number of runs of each side.
    pub runs: (usize, usize),
}

/// One figure of two runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The base's.
    pub base: f64,
    /// The new run's.
    pub new: f64,
    /// The lower end of the 95 % interval of `new - base`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The 95 % interval of `new / base`, from the same replicates. It never falls below 0, and is
    /// infinite if the base may be 0.
    pub ratio: (f64, f64),
}

impl Difference {
    /// Is a difference shown? If an interval includes no difference, it may be chance.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        let (least, most) = self.ratio;
        (self.low > 0.0 || self.high < 0.0) && !(least <= 1.0 && 1.0 <= most)
    }

    /// From replicates of both; the share `tail` of them lies beyond each end of an interval.
    fn of(base: f64, new: f64, drawn: &[(f64, f64)], tail: f64) -> Self {
        let ends = |mut all: Vec<f64>| {
            all.sort_unstable_by(f64::total_cmp);
            [tail, 1.0 - tail].map(|share| all[((share * all.len() as f64) as usize).min(all.len() - 1)])
        };
        let [low, high] = ends(drawn.iter().map(|(base, new)| new - base).collect());
        let [least, most] = ends(drawn.iter().map(|(base, new)| self::ratio(*new, *base)).collect());
        Self { base, new, low, high, ratio: (least, most) }
    }

    /// Widens the intervals for few runs, whose replicates vary too little.
    fn widen(&mut self, drawn: &[(f64, f64)], units: (usize, usize)) {
        let reach = |of: fn(f64) -> f64| {
            let base = Spread::of(drawn.iter().map(|(base, _)| of(*base)), units.0);
            base.reach(Spread::of(drawn.iter().map(|(_, new)| of(*new)), units.1))
        };
        let (difference, by) = (self.new - self.base, reach(|value| value));
        (self.low, self.high) = (self.low.min(difference - by), self.high.max(difference + by));
        // Zero has no logarithm.
        if drawn.iter().all(|(base, new)| *base > 0.0 && *new > 0.0) {
            let (found, by) = (self::ratio(self.new, self.base), reach(f64::ln).exp());
            self.ratio = (self.ratio.0.min(found / by), self.ratio.1.max(found * by));
        }
    }
}

/// Fewer intervals than this do not show how much they vary.
pub const FEWEST: usize = 8;
/// More parts than this do not improve the result. Intervals of longer runs are joined to blocks of
/// neighbours, which keeps disturbances longer than an interval in one piece.
const PARTS: usize = 64;
const REPLICATES: usize = 2000;
/// This many runs show how runs vary.
pub const RUNS: usize = 3;

/// Compares runs: repetitions of a base, and those of a new run. `times` selects the distribution
/// and `percents` the percentiles. The same `seed` gives the same intervals.
///
/// Each replicate draws as many parts from each run as it has, with replacement, pools them, and
/// takes the figures of the pool. So a percentile is one of all messages, never a mean of
/// percentiles. The interval lies between percentiles of the replicates' differences, widened for
/// small samples ("expanded percentile", T. Hesterberg, *What Teachers Should Know About the
/// Bootstrap*, 2015). Its coverage is 95 % if the parts of a run are independent, as the seconds of
/// a steady run are.
///
/// Of repeated runs each replicate draws as many of each side as it has, so the interval includes
/// the variation between runs, which the parts of one run cannot show. With at least [`RUNS`] runs
/// a drawn run is taken whole: drawing from its parts too would count their variation twice (A. C.
/// Davison and D. V. Hinkley, *Bootstrap Methods and their Application*, 1997, 3.8). With fewer
/// runs the parts of a drawn run are drawn next. The interval is at least as wide as Welch's, which
/// allows for few runs.
///
/// Returns `None` if one of the sides has fewer than [`FEWEST`] intervals in all.
#[must_use]
pub fn compare(
    base: &[&[Interval]],
    new: &[&[Interval]],
    times: impl Fn(&Interval) -> &Latency,
    percents: &[f64],
    seed: u64,
) -> Option<Comparison> {
    bootstrap(base, new, times, percents, seed, REPLICATES)
}

fn bootstrap(
    base: &[&[Interval]],
    new: &[&[Interval]],
    times: impl Fn(&Interval) -> &Latency,
    percents: &[f64],
    seed: u64,
    replicates: usize,
) -> Option<Comparison> {
    let count = |runs: &[&[Interval]]| runs.iter().map(|run| run.len()).sum::<usize>();
    if count(base).min(count(new)) < FEWEST {
        return None;
    }
    let all = |runs: &[&[Interval]]| {
        runs.iter().filter(|run| !run.is_empty()).map(|run| Interval::coarser(run, PARTS)).collect()
    };
    let (base, new): (Vec<Vec<Interval>>, Vec<Vec<Interval>>) = (all(base), all(new));
    let mut tops: Vec<u64> =
        base.iter().chain(&new).flatten().flat_map(|part| times(part).buckets().map(|bucket| bucket.to)).collect();
    tops.sort_unstable();
    tops.dedup();
    let base = PooledParts::new(&base, &times, &tops, percents);
    let new = PooledParts::new(&new, &times, &tops, percents);
    let (mut pool, mut random) = (PooledLatency::default(), Rng::with_seed(seed));
    let whole = |table: &PooledParts<'_>, pool: &mut PooledLatency| {
        table.fill(pool, 0..table.parts.len());
        table.figures(pool)
    };
    let (of_base, of_new) = (whole(&base, &mut pool), whole(&new, &mut pool));
    let mut draw = |table: &PooledParts<'_>| {
        table.fill(&mut pool, table.drawn(&mut random).into_iter());
        table.figures(&pool)
    };
    let mut drawn = vec![Vec::with_capacity(replicates); of_base.len()];
    for _ in 0..replicates {
        let (from_base, from_new) = (draw(&base), draw(&new));
        for (all, pair) in drawn.iter_mut().zip(from_base.into_iter().zip(from_new)) {
            all.push(pair);
        }
    }
    let units = (base.units(), new.units());
    let is_repeated = base.runs.len().max(new.runs.len()) > 1;
    let mut figures = drawn.into_iter().zip(of_base.into_iter().zip(of_new)).map(|(drawn, (base, new))| {
        let mut difference = Difference::of(base, new, &drawn, tail(units.0.min(units.1)));
        if is_repeated {
            difference.widen(&drawn, units);
        }
        difference
    });
    let mut next = || figures.next().expect("PooledParts::figures has these three first");
    let (rate, failures, mean) = (next(), next(), next());
    let parts = (base.parts.len(), new.parts.len());
    let runs = (base.runs.len(), new.runs.len());
    Some(Comparison { rate, failures, mean, percentiles: figures.collect(), parts, runs })
}

/// `new / base`; two zeros are equal.
fn ratio(new: f64, base: f64) -> f64 {
    if new == base { 1.0 } else { new / base }
}

/// The parts of one side's runs, in a form that is quick to pool.
struct PooledParts<'a> {
    parts: Vec<RunPart>,
    /// The parts of each run.
    runs: Vec<std::ops::Range<usize>>,
    /// The upper ends of the buckets of both sides, in ns.
    tops: &'a [u64],
    percents: &'a [f64],
}

struct RunPart {
    seconds: f64,
    done: u64,
    planned: u64,
    failures: u64,
    /// The index of a bucket in `tops`, and its count.
    times: Vec<(u32, u64)>,
    sum: f64,
}

#[derive(Default)]
struct PooledLatency {
    seconds: f64,
    done: u64,
    planned: u64,
    failures: u64,
    sum: f64,
    counts: Vec<u64>,
    count: u64,
}

impl<'a> PooledParts<'a> {
    fn new(
        runs: &[Vec<Interval>],
        times: &impl Fn(&Interval) -> &Latency,
        tops: &'a [u64],
        percents: &'a [f64],
    ) -> Self {
        let parts: Vec<&Interval> = runs.iter().flatten().collect();
        let mut end = 0;
        let runs = runs.iter().map(|run| {
            let start = end;
            end += run.len();
            start..end
        });
        let runs = runs.collect();
        // A run without any answer expects none.
        let is_answered = parts.iter().any(|part| part.counts.received > 0);
        let parts = parts.into_iter().map(|part| {
            let place = |top| tops.binary_search(&top).expect("tops has the buckets of all parts") as u32;
            let times = times(part);
            RunPart {
                seconds: part.length.as_secs_f64(),
                done: if is_answered { part.counts.in_time() } else { part.counts.sent },
                planned: part.counts.planned.max(part.counts.sent),
                failures: part.counts.errors(),
                times: times.buckets().map(|bucket| (place(bucket.to), bucket.count)).collect(),
                sum: times.mean().map_or(0.0, |mean| mean.as_secs_f64() * times.count() as f64),
            }
        });
        Self { parts: parts.collect(), runs, tops, percents }
    }

    /// The number of units that a replicate draws from: runs, or the parts of a single run.
    fn units(&self) -> usize {
        if self.runs.len() > 1 { self.runs.len() } else { self.parts.len() }
    }

    /// Draws as many runs as there are: whole, or with few runs as many parts of each.
    fn drawn(&self, random: &mut Rng) -> Vec<usize> {
        let mut drawn = Vec::with_capacity(self.parts.len());
        for _ in 0..self.runs.len() {
            let which = if self.runs.len() > 1 { random.usize(..self.runs.len()) } else { 0 };
            let run = self.runs[which].clone();
            match self.runs.len() < RUNS {
                true => drawn.extend((0..run.len()).map(|_| run.start + random.usize(..run.len()))),
                false => drawn.extend(run),
            }
        }
        drawn
    }

    fn fill(&self, pool: &mut PooledLatency, which: impl Iterator<Item = usize>) {
        let mut counts = std::mem::take(&mut pool.counts);
        counts.clear();
        counts.resize(self.tops.len(), 0);
        *pool = PooledLatency { counts, ..PooledLatency::default() };
        for part in which.map(|at| &self.parts[at]) {
            pool.seconds += part.seconds;
            pool.done = pool.done.saturating_add(part.done);
            pool.planned = pool.planned.saturating_add(part.planned);
            pool.failures = pool.failures.saturating_add(part.failures);
            pool.sum += part.sum;
            for &(at, count) in &part.times {
                pool.counts[at as usize] = pool.counts[at as usize].saturating_add(count);
                pool.count = pool.count.saturating_add(count);
            }
        }
    }

    /// Rate, failures, mean, and then the percentiles.
    fn figures(&self, pool: &PooledLatency) -> Vec<f64> {
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let mut figures = vec![
            ratio(pool.done as f64, pool.seconds),
            ratio(pool.failures as f64, pool.planned as f64),
            ratio(pool.sum, pool.count as f64),
        ];
        figures.extend(self.percents.iter().map(|percent| {
            let rank = rank(*percent, pool.count);
            let mut seen = 0_u64;
            let found = pool.counts.iter().zip(self.tops).find(|&(&count, _)| {
                seen = seen.saturating_add(count);
                seen >= rank
            });
            found.map_or(0.0, |(_, &top)| top as f64 / 1e9)
        }));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counts;
    use std::time::Duration;

    /// A second of about `rate` messages of about `centre` ns; both vary from second to second.
    fn second(n: u64, rate: f64, centre: f64, random: &mut Rng) -> Interval {
        let mut noise = || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let (rate, centre) = (rate * (1.0 + 0.05 * noise()), centre * (1.0 + 0.1 * noise()));
        let messages = rate.round() as u64;
        Interval {
            start: Duration::from_secs(n),
            length: Duration::from_secs(1),
            counts: Counts { sent: messages, received: messages, ..Counts::default() },
            service: Latency::of((0..20).map(|k| ((centre * (0.8 + 0.02 * k as f64)) as u64, messages / 20))),
            ..Interval::default()
        }
    }

    fn run(seconds: u64, rate: f64, centre: f64, random: &mut Rng) -> Vec<Interval> {
        (0..seconds).map(|n| second(n, rate, centre, random)).collect()
    }

    fn service(interval: &Interval) -> &Latency {
        &interval.service
    }

    #[test]
    fn the_interval_covers_the_true_difference_in_95_percent() {
        let trials = 200;
        for seconds in [10, 30] {
            let mut random = Rng::with_seed(7);
            let (mut rate, mut mean, mut ratio) = (0, 0, 0);
            for trial in 0..trials {
                let (base, new) =
                    (run(seconds, 1000.0, 50_000.0, &mut random), run(seconds, 1050.0, 60_000.0, &mut random));
                let found = bootstrap(&[&base], &[&new], service, &[], trial, 400).unwrap();
                let covers = |difference: &Difference, truth| difference.low <= truth && truth <= difference.high;
                rate += usize::from(covers(&found.rate, 50.0));
                // The mean of twenty values from 0.8 to 1.18 of the centre.
                mean += usize::from(covers(&found.mean, 0.99 * 10e-6));
                ratio += usize::from(found.mean.ratio.0 <= 1.2 && 1.2 <= found.mean.ratio.1);
            }
            for covered in [rate, mean, ratio] {
                let share = covered as f64 / trials as f64;
                assert!((0.91..=0.99).contains(&share), "{share} of {trials}, {seconds} s");
            }
        }
    }

    #[test]
    fn a_run_does_not_differ_from_itself_and_does_from_a_slower_one() {
        let mut random = Rng::with_seed(3);
        let base = run(30, 1000.0, 50_000.0, &mut random);
        let same = compare(&[&base], &[&base], service, &[50.0, 99.0], 1).unwrap();
        assert!(!same.rate.is_shown() && !same.mean.is_shown() && !same.failures.is_shown(), "{same:?}");
        assert!(same.percentiles.iter().all(|percentile| !percentile.is_shown()), "{same:?}");
        let slower = run(30, 1000.0, 100_000.0, &mut random);
        let found = compare(&[&base], &[&slower], service, &[50.0, 99.0], 1).unwrap();
        assert!(found.mean.is_shown() && found.mean.low > 0.0, "{found:?}");
        assert!(found.mean.ratio.0 > 1.5 && found.mean.ratio.1 < 2.5, "{found:?}");
        assert!(found.percentiles.iter().all(Difference::is_shown), "{found:?}");
        assert_eq!(found, compare(&[&base], &[&slower], service, &[50.0, 99.0], 1).unwrap());
        assert_ne!(found, compare(&[&base], &[&slower], service, &[50.0, 99.0], 2).unwrap());
    }

    /// Runs that are slower or quicker as a whole.
    fn repeated(runs: u64, seconds: u64, centre: f64, spread: f64, random: &mut Rng) -> Vec<Vec<Interval>> {
        let noise = |random: &mut Rng| (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let run = |_| {
            let centre = centre * (spread * noise(random)).exp();
            run(seconds, 1000.0, centre, random)
        };
        (0..runs).map(run).collect()
    }

    fn all(runs: &[Vec<Interval>]) -> Vec<&[Interval]> {
        runs.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn variation_between_runs_is_no_difference() {
        for runs in [2, 3, 5] {
            let mut random = Rng::with_seed(11);
            let (trials, mut by_run, mut by_interval) = (40, 0, 0);
            for trial in 0..trials {
                let [base, new] = [(); 2].map(|()| repeated(runs, 8, 50_000.0, 0.1, &mut random));
                let shown = |base: &[&[Interval]], new: &[&[Interval]]| {
                    u64::from(bootstrap(base, new, service, &[], trial, 100).unwrap().mean.is_shown())
                };
                by_run += shown(&all(&base), &all(&new));
                by_interval += shown(&[&base.concat()], &[&new.concat()]);
            }
            // An interval of 95 % allows one in twenty.
            assert!(by_run * 10 <= trials, "{runs} runs: {by_run} of {trials}");
            assert!(by_interval * 4 >= trials, "{runs} runs: {by_interval} of {trials}");
        }
    }

    #[test]
    fn a_difference_in_every_run_is_shown() {
        let mut random = Rng::with_seed(13);
        let base = repeated(4, 8, 50_000.0, 0.02, &mut random);
        let mut new = repeated(4, 8, 50_000.0, 0.02, &mut random);
        // In one second of each run a fifth of the messages stall.
        for run in &mut new {
            run[3].service.add(&Latency::of([(400_000_000, 200)]));
        }
        let found = compare(&all(&base), &all(&new), service, &[99.0], 1).unwrap();
        assert_eq!((found.runs, found.parts), ((4, 4), (32, 32)));
        assert!(found.percentiles[0].is_shown() && found.percentiles[0].ratio.0 > 100.0, "{found:?}");
        let one = compare(&[&base[0]], &[&new[0]], service, &[99.0], 1).unwrap();
        assert!(!one.percentiles[0].is_shown() && one.percentiles[0].ratio.1 > 100.0, "{one:?}");
        assert_eq!((one.runs, one.parts), ((1, 1), (8, 8)));
    }

    #[test]
    fn the_figures_are_those_of_the_whole_run() {
        let mut random = Rng::with_seed(5);
        let long = run(200, 1000.0, 50_000.0, &mut random);
        let short = run(FEWEST as u64, 1000.0, 50_000.0, &mut random);
        let found = compare(&[&long], &[&short], service, &[99.0], 1).unwrap();
        let mut whole = long[0].clone();
        long[1..].iter().for_each(|next| whole.join(next));
        assert_eq!(found.rate.base, whole.counts.received as f64 / 200.0);
        assert_eq!(found.percentiles[0].base, whole.service.percentile(99.0).unwrap().as_secs_f64());
        assert_eq!(found.parts, (50, FEWEST));
        assert!(compare(&[&long], &[&short[1..]], service, &[], 1).is_none());
    }

    #[test]
    fn a_percentile_is_the_one_of_the_whole_distribution() {
        // As a float, 99.9 % of 1,000 is a little more than 999.
        let times = Latency::of((0..125).map(|n| (n + 1, 1)));
        let last = Latency::of((0..125).map(|n| (n + 5_000, 1)));
        let second =
            |n: usize| Interval { service: if n == 7 { last.clone() } else { times.clone() }, ..Interval::default() };
        let run: Vec<_> = (0..FEWEST).map(second).collect();
        let mut whole = Latency::default();
        run.iter().for_each(|second| whole.add(&second.service));
        assert_eq!(whole.count(), 1000);
        let percents = [0.1, 12.5, 55.0, 87.5, 99.9];
        let found = compare(&[&run], &[&run], service, &percents, 1).unwrap();
        for (percent, figure) in percents.iter().zip(&found.percentiles) {
            assert_eq!(figure.base, whole.percentile(*percent).unwrap().as_secs_f64(), "{percent}");
        }
    }

    #[test]
    fn late_answers_are_not_in_the_rate() {
        let run: Vec<_> = (0..FEWEST as u64).map(|n| second(n, 1000.0, 50_000.0, &mut Rng::with_seed(1))).collect();
        let mut late = run.clone();
        late[3].counts.add(&Counts { received: 5000, late: 5000, ..Counts::default() });
        let found = compare(&[&run], &[&late], service, &[], 1).unwrap();
        assert_eq!(found.rate.base, found.rate.new);
    }

    #[test]
    fn empty_runs_do_not_differ() {
        let nothing = vec![Interval::default(); FEWEST];
        let found = compare(&[&nothing], &[&nothing], service, &[50.0], 1).unwrap();
        assert_eq!(found.rate, Difference { base: 0.0, new: 0.0, low: 0.0, high: 0.0, ratio: (1.0, 1.0) });
        assert!(!found.percentiles[0].is_shown());
    }
}
