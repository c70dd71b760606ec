//! What chance decides. A draw depends on the seed, the connection's number, the direction, the
//! rule's index and an offset, and on nothing else: not on time, and not on how reads fell. So a
//! seed repeats a run.

use crate::direction::StreamDirection;

/// The odd constant of splitmix64: 2^64 over the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The draws of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// That of the run.
    pub seed: u64,
    /// That of the connection.
    pub number: u64,
}

/// The output function of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, 2014).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draws {
    /// 64 bits: the seed is mixed, and then each of the four others is added and mixed in turn.
    pub fn bits(self, direction: Option<StreamDirection>, rule: usize, offset: u64) -> u64 {
        let direction = direction.map_or(0, |direction| 1 + direction as u64);
        [self.number, direction, rule as u64, offset]
            .into_iter()
            .fold(mixed(self.seed.wrapping_add(GAMMA)), |state, part| {
                mixed((state ^ part.wrapping_mul(GAMMA)).wrapping_add(GAMMA))
            })
    }
}

/// Further bits after some that were drawn.
pub fn sequel(bits: u64, nth: u64) -> u64 {
    mixed(bits.wrapping_add(nth.wrapping_add(1).wrapping_mul(GAMMA)))
}

/// A number below `limit`, from 64 bits.
pub fn below(bits: u64, limit: u64) -> u64 {
    ((u128::from(bits) * u128::from(limit)) >> 64) as u64
}

/// A number from 0 to below 1, from 64 bits.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of these values would change what every seed that is written down means.
    #[test]
    fn draws_never_change() {
        let draw = |seed, number, direction, rule, offset| Draws { seed, number }.bits(direction, rule, offset);
        let found = [
            draw(0, 0, None, 0, 0),
            draw(7, 1, None, 0, 0),
            draw(7, 1, Some(StreamDirection::Up), 0, 0),
            draw(7, 1, Some(StreamDirection::Down), 3, 65_536),
            draw(u64::MAX, u64::MAX, Some(StreamDirection::Down), 255, u64::MAX),
        ];
        let pinned = [
            8_695_987_549_771_912_286,
            12_060_785_797_239_081_636,
            1_977_668_810_516_481_699,
            14_061_170_436_709_723_591,
            13_541_371_767_874_682_248,
        ];
        assert_eq!(found, pinned);
        // The first number of splitmix64 from the seed 0, as its authors publish it.
        assert_eq!(mixed(GAMMA), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn numbers_below_a_limit_are_even() {
        let mut counts = [0_u32; 7];
        for offset in 0..70_000 {
            counts[below(Draws { seed: 1, number: 1 }.bits(None, 0, offset), 7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn each_part_matters() {
        let base = Draws { seed: 1, number: 1 }.bits(Some(StreamDirection::Up), 0, 0);
        for other in [
            Draws { seed: 2, number: 1 }.bits(Some(StreamDirection::Up), 0, 0),
            Draws { seed: 1, number: 2 }.bits(Some(StreamDirection::Up), 0, 0),
            Draws { seed: 1, number: 1 }.bits(Some(StreamDirection::Down), 0, 0),
            Draws { seed: 1, number: 1 }.bits(Some(StreamDirection::Up), 1, 0),
            Draws { seed: 1, number: 1 }.bits(Some(StreamDirection::Up), 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }
}
