//! How late the router was with packets that were due.

use std::time::Duration;

/// The width of a bin, and the last one takes all that is later.
const BIN: Duration = Duration::from_micros(5);
const BINS: usize = 2000;

/// A histogram of delays.
#[derive(Debug)]
pub(super) struct Lateness {
    bins: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { bins: vec![0; BINS], count: 0, max: Duration::ZERO }
    }
}

impl Lateness {
    pub(super) fn record(&mut self, late: Duration) {
        let bin = (late.as_nanos() / BIN.as_nanos()) as usize;
        self.bins[bin.min(BINS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(late);
    }

    /// A delay that this part of all is not above, to the width of a bin.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.bins.iter().enumerate() {
            seen += count;
            if seen >= wanted && at + 1 < BINS {
                return (BIN * (at as u32 + 1)).min(self.max);
            }
        }
        self.max
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_bin() {
        let mut late = Lateness::default();
        assert_eq!(late.quantile(0.99), Duration::ZERO);
        for us in 1..=100 {
            late.record(Duration::from_micros(us));
        }
        late.record(Duration::from_secs(1));
        assert_eq!(late.quantile(0.5), Duration::from_micros(55));
        assert_eq!(late.quantile(1.0), Duration::from_secs(1));
        assert_eq!(late.max(), Duration::from_secs(1));
    }
}
