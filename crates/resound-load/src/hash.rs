//! The hash behind messages. It gives random bits for any number at once, where a generator would
//! have to be advanced to it.

/// An odd number without a pattern: the golden ratio in 64 bits, as splitmix64 uses it.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The last step of splitmix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
/// Generators*, 2014): each bit of the input changes half of the output.
#[inline]
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `0.0..1.0`, from random bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of splitmix64 with the seed 0: a seed gives the same messages for ever.
    #[test]
    fn the_hash_is_that_of_splitmix64() {
        let numbers = [1, 2, 3].map(|n: u64| mix(n.wrapping_mul(GOLDEN)));
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn a_unit_is_below_one() {
        assert!((0..1000).map(|n| unit(mix(n))).all(|x| (0.0..1.0).contains(&x)));
        assert!(unit(u64::MAX) < 1.0);
    }
}
