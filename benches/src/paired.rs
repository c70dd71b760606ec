//! Ratios of values that were measured in the same round, and how far they can be trusted.

use std::fmt;

use crate::report::median;

/// How often the ratios are drawn anew.
const DRAWS: usize = 2_000;

/// xorshift64: the same order and the same intervals in every run.
pub(crate) struct Lots(u64);

impl Lots {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize * limit) >> 32
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at + 1));
        }
    }
}

/// The median of paired ratios, and its 95 % interval (bootstrap).
pub(crate) struct PairedRatio {
    median: f64,
    low: f64,
    high: f64,
}

impl PairedRatio {
    /// Nothing if fewer than three rounds have a ratio.
    pub(crate) fn of(values: impl Iterator<Item = f64>, bases: impl Iterator<Item = f64>) -> Option<Self> {
        let ratios: Vec<f64> = values
            .zip(bases)
            .filter(|(_, base)| *base > 0.0)
            .map(|(value, base)| value / base)
            .collect();
        if ratios.len() < 3 || ratios.iter().any(|ratio| ratio.is_nan()) {
            return None;
        }
        let mut lots = Lots::new();
        let mut medians: Vec<f64> = (0..DRAWS)
            .map(|_| median(ratios.iter().map(|_| ratios[lots.below(ratios.len())])))
            .collect();
        medians.sort_by(f64::total_cmp);
        let [low, high] = [DRAWS / 40, DRAWS - DRAWS / 40].map(|at| medians[at]);
        Some(Self {
            median: median(ratios.into_iter()),
            low,
            high,
        })
    }
}

impl fmt::Display for PairedRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.low, self.high)
    }
}
