//! Student's t: how much wider an interval has to be that rests on few parts.

/// The share of replicates beyond each end of the interval. It is 2.5 % in the limit, and less for
/// few parts: Student's t is wider than the normal distribution, and a resampled variance is too
/// small.
pub(super) fn tail(parts: usize) -> f64 {
    let freedom = (parts - 1) as f64;
    let z = quantile(freedom) * (parts as f64 / freedom).sqrt();
    // The upper tail of the normal distribution: Abramowitz and Stegun, 26.2.17.
    let k = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let series = series.iter().fold(0.0, |sum, term| (sum + term) * k);
    series * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The 97.5 % quantile of t. The degrees of freedom need not be whole.
fn quantile(freedom: f64) -> f64 {
    const FEW: [f64; 5] = [12.706_2, 4.302_7, 3.182_4, 2.776_4, 2.570_6];
    let few = FEW.len() as f64;
    if freedom >= few {
        // Cornish and Fisher's expansion.
        return 1.96 + 2.3722 / freedom + 2.8225 / freedom.powi(2) + 2.5558 / freedom.powi(3);
    }
    // Between two of them: linear in 1 / freedom, which is a little too wide.
    let freedom = freedom.max(1.0);
    let below = (freedom.floor() as usize).min(FEW.len() - 1);
    let (from, to) = (1.0 / below as f64, 1.0 / (below + 1) as f64);
    let share = (from - 1.0 / freedom) / (from - to);
    FEW[below - 1] + share * (FEW[below] - FEW[below - 1])
}

/// How a figure of one side varies over replicates, and the number of units that these draw from.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    variance: f64,
    units: usize,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone, units: usize) -> Self {
        let n = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        // Replicates of few units vary less than the population.
        let biased = units as f64 / units.saturating_sub(1).max(1) as f64;
        Self { variance: variance * biased, units }
    }

    /// Half of the 95 % interval of a difference between two sides (B. L. Welch, 1947).
    pub(super) fn reach(self, other: Self) -> f64 {
        let all = self.variance + other.variance;
        let part = |side: Self| side.variance.powi(2) / side.units.saturating_sub(1).max(1) as f64;
        let freedom = all.powi(2) / (part(self) + part(other));
        // Without any variation the degrees of freedom are not defined.
        if all > 0.0 { quantile(freedom) * all.sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_parts_widen_the_interval() {
        // t with 9 degrees of freedom is 2.262; times the root of 10/9, the normal distribution has
        // 0.855 % beyond it.
        assert!((tail(10) - 0.00855).abs() < 0.0001, "{}", tail(10));
        assert!((tail(100_000) - 0.025).abs() < 0.0001, "{}", tail(100_000));
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, want) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042)] {
            assert!((quantile(freedom) - want).abs() < 0.005, "{freedom}: {}", quantile(freedom));
        }
        assert!(quantile(2.5) > 3.182 && quantile(2.5) < 4.303 && quantile(0.5) == quantile(1.0));
    }

    #[test]
    fn two_varying_sides_widen_the_interval_more_than_one() {
        let varies = Spread::of([1.0, 3.0].into_iter(), 2);
        let stands = Spread::of([5.0, 5.0].into_iter(), 2);
        assert_eq!(stands.reach(stands), 0.0);
        // A variance of 1 over two units, which is biased by half, and one degree of freedom.
        assert!((varies.reach(stands) - 12.7062 * 2.0_f64.sqrt()).abs() < 0.001);
        assert!(varies.reach(varies) < varies.reach(stands) * 2.0);
    }
}
