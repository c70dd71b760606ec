//! [`Pattern`]: bytes that say where in their stream they belong.

use serde::{Deserialize, Serialize};

/// A block: its number, scrambled, and a check of it.
const BLOCK: usize = 16;
/// How many bytes after the first wrong one are examined: at least two whole blocks.
const WINDOW: usize = 3 * BLOCK;

/// A stream of bytes that a seed decides, and in which each block of 16 names its own place. A byte
/// that is missing, repeated or moved is recognized by what came instead of it.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    key: u64,
}

/// The output function of splitmix64 (Steele, Lea, Flood 2014).
fn mixed(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

impl Pattern {
    /// The stream of what a client sends.
    #[must_use]
    pub fn up(seed: u64) -> Self {
        Self { key: mixed(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) }
    }

    /// The stream of what its server sends.
    #[must_use]
    pub fn down(seed: u64) -> Self {
        Self { key: mixed(seed.wrapping_add(0x3c6e_f372_fe94_f82a)) }
    }

    fn block(self, index: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&(index ^ self.key).to_le_bytes());
        block[8..].copy_from_slice(&mixed(self.key.wrapping_add(index)).to_le_bytes());
        block
    }

    /// Appends the `length` bytes from `offset` on to `out`.
    pub fn append(self, offset: u64, length: usize, out: &mut Vec<u8>) {
        let end = out.len() + length;
        let mut index = offset / BLOCK as u64;
        let mut skipped = (offset % BLOCK as u64) as usize;
        while out.len() < end {
            let block = self.block(index);
            let taken = (BLOCK - skipped).min(end - out.len());
            out.extend_from_slice(&block[skipped..skipped + taken]);
            skipped = 0;
            index += 1;
        }
    }

    /// The `length` bytes from `offset` on.
    #[must_use]
    pub fn bytes(self, offset: u64, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length);
        self.append(offset, length, &mut out);
        out
    }

    /// Where the bytes differ first from those that belong at `offset`.
    fn differs(self, offset: u64, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let skipped = (place % BLOCK as u64) as usize;
            let block = self.block(place / BLOCK as u64);
            let n = (BLOCK - skipped).min(bytes.len() - at);
            let (came, belong) = (&bytes[at..at + n], &block[skipped..skipped + n]);
            if came != belong {
                return Some(at + came.iter().zip(belong).position(|(a, b)| a != b).unwrap_or(0));
            }
            at += n;
        }
        None
    }

    /// The offset in the stream to which these bytes belong, if they hold a whole block.
    fn place_of(self, bytes: &[u8]) -> Option<u64> {
        (0..BLOCK).find_map(|skipped| {
            let block = bytes.get(skipped..skipped + BLOCK)?;
            let (number, _) = block.split_first_chunk::<8>()?;
            let index = u64::from_le_bytes(*number) ^ self.key;
            if index >= 1 << 48 || self.block(index) != block {
                return None;
            }
            (index * BLOCK as u64).checked_sub(skipped as u64)
        })
    }
}

/// What stands where other bytes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// Bytes that have come before, from this offset on.
    Repeated {
        /// Where they were sent first.
        from: u64,
    },
    /// This many bytes are left out here.
    Missing {
        /// How many.
        bytes: u64,
    },
    /// Bytes that were never sent.
    Changed,
}

/// The first wrong byte of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongBytes {
    /// Its offset, counted from 0.
    pub at: u64,
    /// What stands there.
    pub damage: Damage,
}

impl std::fmt::Display for WrongBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at;
        match self.damage {
            Damage::Repeated { from } => write!(f, "at byte {at} the bytes from {from} on came again"),
            Damage::Missing { bytes } => write!(f, "at byte {at}, {bytes} bytes were left out"),
            Damage::Changed => write!(f, "byte {at} was changed"),
        }
    }
}

/// Compares a received stream with its [`Pattern`], piece by piece.
#[derive(Clone, Debug)]
pub struct PatternCheck {
    pattern: Pattern,
    received: u64,
    /// The first wrong byte, and what stands from there on.
    wrong: Option<(u64, Vec<u8>)>,
}

impl PatternCheck {
    /// Nothing has been received.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, received: 0, wrong: None }
    }

    /// The next bytes have arrived.
    pub fn received(&mut self, bytes: &[u8]) {
        match &mut self.wrong {
            Some((_, window)) => window.extend(bytes.iter().take(WINDOW - window.len())),
            None => {
                if let Some(at) = self.pattern.differs(self.received, bytes) {
                    let window = bytes[at..].iter().copied().take(WINDOW).collect();
                    self.wrong = Some((self.received + at as u64, window));
                }
            }
        }
        self.received += bytes.len() as u64;
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.received
    }

    /// The first wrong byte so far.
    #[must_use]
    pub fn wrong(&self) -> Option<WrongBytes> {
        let (at, window) = self.wrong.as_ref()?;
        let damage = match self.pattern.place_of(window) {
            // A changed byte stands where it belongs.
            Some(place) if place < *at => Damage::Repeated { from: place },
            Some(place) if place > *at => Damage::Missing { bytes: place - at },
            _ => Damage::Changed,
        };
        Some(WrongBytes { at: *at, damage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], piece: usize) -> Option<WrongBytes> {
        let mut check = PatternCheck::new(Pattern::up(7));
        bytes.chunks(piece).for_each(|piece| check.received(piece));
        check.wrong()
    }

    #[test]
    fn a_stream_is_the_same_in_any_pieces() {
        let whole = Pattern::up(7).bytes(0, 1000);
        for offset in [0, 1, 15, 16, 500] {
            assert_eq!(Pattern::up(7).bytes(offset, 100), whole[offset as usize..offset as usize + 100]);
        }
        for piece in [1, 7, 16, 1000] {
            assert_eq!(check(&whole, piece), None);
        }
        assert_ne!(Pattern::down(7).bytes(0, 16), whole[..16]);
        assert_ne!(Pattern::up(8).bytes(0, 16), whole[..16]);
    }

    #[test]
    fn damage_is_located_and_named_however_it_is_cut() {
        let whole = Pattern::up(7).bytes(0, 1000);
        for piece in [1, 7, 64, 1000] {
            let mut changed = whole.clone();
            changed[500] ^= 4;
            assert_eq!(check(&changed, piece), Some(WrongBytes { at: 500, damage: Damage::Changed }));
            let missing = [&whole[..300], &whole[333..]].concat();
            assert_eq!(check(&missing, piece), Some(WrongBytes { at: 300, damage: Damage::Missing { bytes: 33 } }));
            let repeated = [&whole[..300], &whole[200..]].concat();
            assert_eq!(check(&repeated, piece), Some(WrongBytes { at: 300, damage: Damage::Repeated { from: 200 } }));
        }
    }
}
