//! Do two runs differ, or is it chance? A bootstrap over their intervals.

use super::latency::rank;
use super::{Interval, Latency};

/// What is compared, and how it came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Messages answered (or sent, where nothing is answered) per second.
    pub rate: Difference,
    /// Failures per message sent.
    pub failures: Difference,
    /// The mean time, in seconds.
    pub mean: Difference,
    /// Percentiles, in the order in which they were asked for, in seconds.
    pub percentiles: Vec<Difference>,
    /// How many parts of each run were drawn from: the base's, and the new one's.
    pub parts: (usize, usize),
}

/// One figure of two runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Of the base.
    pub base: f64,
    /// Of the new run.
    pub new: f64,
    /// The lower end of the 95 % interval of `new - base`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The 95 % interval of `new / base`, from the same replicates: never below 0, and on the same side of 1 as that of the difference is of
    /// 0. It is infinite where the base may be nothing.
    pub ratio: (f64, f64),
}

impl Difference {
    /// Is a difference shown? Where the interval holds zero, chance may be all there is.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Fewer intervals than this say nothing about how much they vary.
pub const FEWEST: usize = 8;
/// More parts than this make nothing more exact. Longer runs are drawn from in blocks of neighbours, which also keeps what lasts longer than an
/// interval in one piece.
const PARTS: usize = 64;
const REPLICATES: usize = 2000;

/// Compares two runs. `times` picks the distribution, `percents` the percentiles; the same `seed` gives the same intervals.
///
/// Each replicate draws as many parts from each run as it has, with replacement, pools them, and takes the figures of the pool: a percentile is
/// always one of all its messages, never a mean of percentiles. The interval runs between percentiles of the replicates' differences, widened for
/// small samples ("expanded percentile", T. Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015). It holds what it promises when
/// the parts of a run are independent of each other, as seconds of a steady run are.
///
/// `None` where one of the runs has fewer than [`FEWEST`] intervals.
#[must_use]
pub fn compare(
    base: &[Interval],
    new: &[Interval],
    times: fn(&Interval) -> &Latency,
    percents: &[f64],
    seed: u64,
) -> Option<Comparison> {
    bootstrap(base, new, times, percents, seed, REPLICATES)
}

fn bootstrap(
    base: &[Interval],
    new: &[Interval],
    times: fn(&Interval) -> &Latency,
    percents: &[f64],
    seed: u64,
    replicates: usize,
) -> Option<Comparison> {
    if base.len().min(new.len()) < FEWEST {
        return None;
    }
    let (base, new) = (parts(base), parts(new));
    let mut tops: Vec<u64> =
        base.iter().chain(&new).flat_map(|part| times(part).buckets().map(|bucket| bucket.to)).collect();
    tops.sort_unstable();
    tops.dedup();
    let base = Table::new(&base, times, &tops, percents);
    let new = Table::new(&new, times, &tops, percents);
    let (mut pool, mut random) = (Pool::default(), Random(seed));
    let whole = |table: &Table<'_>, pool: &mut Pool| {
        table.fill(pool, 0..table.parts.len());
        table.figures(pool)
    };
    let (of_base, of_new) = (whole(&base, &mut pool), whole(&new, &mut pool));
    let mut draw = |table: &Table<'_>| {
        let parts = table.parts.len();
        table.fill(&mut pool, (0..parts).map(|_| random.below(parts)));
        table.figures(&pool)
    };
    let mut differences = vec![Vec::with_capacity(replicates); of_base.len()];
    for _ in 0..replicates {
        let (from_base, from_new) = (draw(&base), draw(&new));
        for (all, (base, new)) in differences.iter_mut().zip(from_base.iter().zip(&from_new)) {
            all.push((new - base, ratio(*new, *base)));
        }
    }
    let tail = tail(base.parts.len().min(new.parts.len()));
    let mut figures = differences.into_iter().zip(of_base.into_iter().zip(of_new)).map(|(mut all, (base, new))| {
        let ends = |all: &[(f64, f64)]| [tail, 1.0 - tail].map(|share| all[place(share, all.len())]);
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let [(low, _), (high, _)] = ends(&all);
        all.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
        let [(_, least), (_, most)] = ends(&all);
        Difference { base, new, low, high, ratio: (least, most) }
    });
    let mut next = || figures.next().expect("as many as Table::figures makes");
    let (rate, failures, mean) = (next(), next(), next());
    let parts = (base.parts.len(), new.parts.len());
    Some(Comparison { rate, failures, mean, percentiles: figures.collect(), parts })
}

/// The ends of an interval of ratios are those of their logarithms, whose order is the same.
fn ratio(new: f64, base: f64) -> f64 {
    if new == base { 1.0 } else { new / base }
}

/// Which of so many in order.
fn place(share: f64, of: usize) -> usize {
    ((share * of as f64) as usize).min(of - 1)
}

/// At most [`PARTS`], each of as many neighbours as the next.
fn parts(intervals: &[Interval]) -> Vec<Interval> {
    let block = intervals.len().div_ceil(PARTS);
    let joined = intervals.chunks(block).map(|block| {
        let mut part = block[0].clone();
        block[1..].iter().for_each(|next| part.join(next));
        part
    });
    joined.collect()
}

/// A run's parts, in a form that is quick to pool.
struct Table<'a> {
    parts: Vec<Part>,
    /// The tops of the buckets of both runs, in ns.
    tops: &'a [u64],
    percents: &'a [f64],
}

struct Part {
    seconds: f64,
    done: u64,
    sent: u64,
    failures: u64,
    /// Bucket and count.
    times: Vec<(u32, u64)>,
    sum: f64,
}

#[derive(Default)]
struct Pool {
    seconds: f64,
    done: u64,
    sent: u64,
    failures: u64,
    sum: f64,
    counts: Vec<u64>,
    count: u64,
}

impl<'a> Table<'a> {
    fn new(parts: &[Interval], times: fn(&Interval) -> &Latency, tops: &'a [u64], percents: &'a [f64]) -> Self {
        // Where nothing comes back in the whole run, nothing is answered.
        let is_answered = parts.iter().any(|part| part.counts.received > 0);
        let parts = parts.iter().map(|part| {
            let place = |top| tops.binary_search(&top).expect("all tops are there") as u32;
            let times = times(part);
            Part {
                seconds: part.length.as_secs_f64(),
                done: if is_answered { part.counts.in_time() } else { part.counts.sent },
                sent: part.counts.sent,
                failures: part.counts.errors(),
                times: times.buckets().map(|bucket| (place(bucket.to), bucket.count)).collect(),
                sum: times.mean().map_or(0.0, |mean| mean.as_secs_f64() * times.count() as f64),
            }
        });
        Self { parts: parts.collect(), tops, percents }
    }

    fn fill(&self, pool: &mut Pool, which: impl Iterator<Item = usize>) {
        let mut counts = std::mem::take(&mut pool.counts);
        counts.clear();
        counts.resize(self.tops.len(), 0);
        *pool = Pool { counts, ..Pool::default() };
        for part in which.map(|at| &self.parts[at]) {
            pool.seconds += part.seconds;
            pool.done = pool.done.saturating_add(part.done);
            pool.sent = pool.sent.saturating_add(part.sent);
            pool.failures = pool.failures.saturating_add(part.failures);
            pool.sum += part.sum;
            for &(at, count) in &part.times {
                pool.counts[at as usize] = pool.counts[at as usize].saturating_add(count);
                pool.count = pool.count.saturating_add(count);
            }
        }
    }

    /// Rate, failures, mean, and the percentiles.
    fn figures(&self, pool: &Pool) -> Vec<f64> {
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let mut figures = vec![
            ratio(pool.done as f64, pool.seconds),
            ratio(pool.failures as f64, pool.sent as f64),
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

/// The share of replicates beyond each end of the interval: 2.5 % in the limit, less for few parts, by as much as Student's t is wider than the
/// normal distribution, and by the bias of a resampled variance.
fn tail(parts: usize) -> f64 {
    let freedom = (parts - 1) as f64;
    // Cornish and Fisher's expansion of the 97.5 % quantile of t.
    let t = 1.96 + 2.3722 / freedom + 2.8225 / freedom.powi(2) + 2.5558 / freedom.powi(3);
    let z = t * (parts as f64 / freedom).sqrt();
    // The upper tail of the normal distribution: Abramowitz and Stegun, 26.2.17.
    let k = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let series = series.iter().fold(0.0, |sum, term| (sum + term) * k);
    series * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Counts;
    use std::time::Duration;

    /// A second of about `rate` messages of about `centre` ns, which varies from second to second.
    fn second(n: u64, rate: f64, centre: f64, random: &mut Random) -> Interval {
        let mut noise = || (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
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

    fn run(seconds: u64, rate: f64, centre: f64, random: &mut Random) -> Vec<Interval> {
        (0..seconds).map(|n| second(n, rate, centre, random)).collect()
    }

    fn service(interval: &Interval) -> &Latency {
        &interval.service
    }

    #[test]
    fn the_interval_covers_the_true_difference_as_often_as_it_says() {
        let trials = 200;
        for seconds in [10, 30] {
            let mut random = Random(7);
            let (mut rate, mut mean, mut ratio) = (0, 0, 0);
            for trial in 0..trials {
                let (base, new) =
                    (run(seconds, 1000.0, 50_000.0, &mut random), run(seconds, 1050.0, 60_000.0, &mut random));
                let found = bootstrap(&base, &new, service, &[], trial, 400).unwrap();
                let covers = |difference: &Difference, truth| difference.low <= truth && truth <= difference.high;
                rate += usize::from(covers(&found.rate, 50.0));
                // The middle of twenty values from 0.8 to 1.18 of the centre.
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
        let mut random = Random(3);
        let base = run(30, 1000.0, 50_000.0, &mut random);
        let same = compare(&base, &base, service, &[50.0, 99.0], 1).unwrap();
        assert!(!same.rate.is_shown() && !same.mean.is_shown() && !same.failures.is_shown(), "{same:?}");
        assert!(same.percentiles.iter().all(|percentile| !percentile.is_shown()), "{same:?}");
        let slower = run(30, 1000.0, 100_000.0, &mut random);
        let found = compare(&base, &slower, service, &[50.0, 99.0], 1).unwrap();
        assert!(found.mean.is_shown() && found.mean.low > 0.0, "{found:?}");
        assert!(found.mean.ratio.0 > 1.5 && found.mean.ratio.1 < 2.5, "{found:?}");
        assert!(found.percentiles.iter().all(Difference::is_shown), "{found:?}");
        assert_eq!(found, compare(&base, &slower, service, &[50.0, 99.0], 1).unwrap());
        assert_ne!(found, compare(&base, &slower, service, &[50.0, 99.0], 2).unwrap());
    }

    #[test]
    fn the_figures_are_those_of_the_whole_run_however_long_it_was() {
        let mut random = Random(5);
        let long = run(200, 1000.0, 50_000.0, &mut random);
        let short = run(FEWEST as u64, 1000.0, 50_000.0, &mut random);
        let found = compare(&long, &short, service, &[99.0], 1).unwrap();
        let mut whole = long[0].clone();
        long[1..].iter().for_each(|next| whole.join(next));
        assert_eq!(found.rate.base, whole.counts.received as f64 / 200.0);
        assert_eq!(found.percentiles[0].base, whole.service.percentile(99.0).unwrap().as_secs_f64());
        assert_eq!(found.parts, (50, FEWEST));
        assert!(compare(&long, &short[1..], service, &[], 1).is_none());
    }

    #[test]
    fn a_percentile_is_the_one_that_the_distribution_says() {
        // 99.9 % of 1,000 as a float is a little more than 999.
        let times = Latency::of((0..125).map(|n| (n + 1, 1)));
        let last = Latency::of((0..125).map(|n| (n + 5_000, 1)));
        let second =
            |n: usize| Interval { service: if n == 7 { last.clone() } else { times.clone() }, ..Interval::default() };
        let run: Vec<_> = (0..FEWEST).map(second).collect();
        let mut whole = Latency::default();
        run.iter().for_each(|second| whole.add(&second.service));
        assert_eq!(whole.count(), 1000);
        let percents = [0.1, 12.5, 55.0, 87.5, 99.9];
        let found = compare(&run, &run, service, &percents, 1).unwrap();
        for (percent, figure) in percents.iter().zip(&found.percentiles) {
            assert_eq!(figure.base, whole.percentile(*percent).unwrap().as_secs_f64(), "{percent}");
        }
    }

    #[test]
    fn what_came_late_is_in_no_rate() {
        let run: Vec<_> = (0..FEWEST as u64).map(|n| second(n, 1000.0, 50_000.0, &mut Random(1))).collect();
        let mut late = run.clone();
        late[3].counts.add(&Counts { received: 5000, late: 5000, ..Counts::default() });
        let found = compare(&run, &late, service, &[], 1).unwrap();
        assert_eq!(found.rate.base, found.rate.new);
    }

    #[test]
    fn nothing_measured_is_no_difference() {
        let nothing = vec![Interval::default(); FEWEST];
        let found = compare(&nothing, &nothing, service, &[50.0], 1).unwrap();
        assert_eq!(found.rate, Difference { base: 0.0, new: 0.0, low: 0.0, high: 0.0, ratio: (1.0, 1.0) });
        assert!(!found.percentiles[0].is_shown());
    }

    #[test]
    fn few_parts_widen_the_interval() {
        // t with 9 degrees of freedom is 2.262; times the root of 10/9, the normal distribution has 0.855 % beyond it.
        assert!((tail(10) - 0.00855).abs() < 0.0001, "{}", tail(10));
        assert!((tail(100_000) - 0.025).abs() < 0.0001, "{}", tail(100_000));
    }
}
