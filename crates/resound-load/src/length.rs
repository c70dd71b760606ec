//! [`Lengths`]: the length of a message is a function of its key, as its bytes are.

use super::Sizes;
use super::hash::{mix, unit};

/// [`Sizes`], in a form that is quick to evaluate for each message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lengths {
    Fixed(usize),
    /// The shortest length, and the number of lengths.
    Range(usize, u64),
    /// Each length with the sum of the weights up to it; the last sum is 1.
    Weighted(Vec<(f64, usize)>),
}

impl Lengths {
    pub(super) fn new(sizes: &Sizes) -> Self {
        let length = |size: u64| usize::try_from(size).unwrap_or(usize::MAX).max(1);
        match sizes {
            Sizes::Fixed(size) => Self::Fixed(length(*size)),
            Sizes::Range(from, to) => Self::Range(length(*from), to.saturating_sub(*from) + 1),
            Sizes::Weighted(weights) => {
                let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
                let mut up_to = 0.0;
                let summed = |&(size, weight): &(u64, f64)| {
                    up_to += weight / sum;
                    (up_to, length(size))
                };
                let mut table: Vec<_> = weights.iter().map(summed).collect();
                if let Some(last) = table.last_mut() {
                    last.0 = 1.0;
                }
                Self::Weighted(table)
            }
        }
    }

    /// The length of the message with this key.
    pub(super) fn of(&self, key: u64) -> usize {
        match self {
            Self::Fixed(length) => *length,
            Self::Range(least, count) => least + (mix(!key) % count) as usize,
            Self::Weighted(table) => {
                let at = unit(mix(!key));
                table.iter().find(|(up_to, _)| at < *up_to).map_or(1, |(_, length)| *length)
            }
        }
    }

    /// The longest length.
    pub(super) fn longest(&self) -> usize {
        match self {
            Self::Fixed(length) => *length,
            Self::Range(least, count) => least + (count - 1) as usize,
            Self::Weighted(table) => table.iter().map(|(_, length)| *length).max().unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_requested_ones_and_depend_on_the_key_alone() {
        assert_eq!(Lengths::new(&Sizes::Fixed(7)).of(99), 7);
        let range = Lengths::new(&Sizes::Range(10, 13));
        let seen: std::collections::BTreeSet<_> = (0..1000).map(|key| range.of(key)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 11, 12, 13]);
        assert_eq!((range.of(5), range.longest()), (range.of(5), 13));
        let weighted = Lengths::new(&Sizes::Weighted(vec![(1, 3.0), (100, 1.0)]));
        let short = (0..10_000).filter(|&key| weighted.of(key) == 1).count();
        assert!((7_200..7_800).contains(&short), "{short}");
        assert_eq!(weighted.longest(), 100);
    }
}
