//! What a message says: every byte a function of seed, connection and sequence number, so that an answer can be checked without its message
//! having been kept.

/// An odd number far from any pattern: the golden ratio in 64 bits, as splitmix64 has it.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bytes that are made at once.
const BLOCK: usize = 64;

/// Whose bytes are made from one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    seed: u64,
    /// Messages are lines: printing characters, and a newline last.
    lines: bool,
    /// What an answer has before its message.
    prefix: &'static [u8],
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    payload: Payload,
    key: u64,
    len: usize,
}

impl Payload {
    pub(super) fn new(seed: u64, lines: bool, prefix: &'static [u8]) -> Self {
        Self { seed, lines, prefix }
    }

    /// What a message's bytes and its length are made from.
    pub(super) fn key(&self, connection: u64, sequence: u64) -> u64 {
        mix(mix(self.seed.wrapping_add(GOLDEN) ^ connection.wrapping_mul(GOLDEN)).wrapping_add(sequence))
    }

    pub(super) fn are_lines(&self) -> bool {
        self.lines
    }

    pub(super) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    pub(super) fn message(&self, key: u64, len: usize) -> Message {
        Message { payload: *self, key, len }
    }
}

impl Message {
    /// Hands the message over, block by block.
    pub(super) fn write(&self, mut to: impl FnMut(&[u8])) {
        let mut at = 0;
        while at < self.len {
            let n = BLOCK.min(self.len - at);
            to(&self.block(at)[..n]);
            at += n;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first `n` bytes of its answer.
    pub(super) fn answer_head(&self, n: usize) -> Vec<u8> {
        let mut head = self.payload.prefix.to_vec();
        self.write(|block| head.extend_from_slice(block));
        head.truncate(n);
        head
    }

    /// How long its answer is.
    pub(super) fn answer_len(&self) -> usize {
        self.payload.prefix.len() + self.len
    }

    /// Where `bytes` first differ from the answer's bytes from `from` on. They are no more than are left of it.
    pub(super) fn differs(&self, from: usize, bytes: &[u8]) -> Option<usize> {
        let prefix = self.payload.prefix;
        let (head, body) = bytes.split_at(prefix.len().saturating_sub(from).min(bytes.len()));
        if !head.is_empty() && head != &prefix[from..from + head.len()] {
            return head.iter().zip(&prefix[from..]).position(|(a, b)| a != b);
        }
        let mut at = (from + head.len()) - prefix.len().min(from + head.len());
        let mut rest = body;
        while !rest.is_empty() {
            let block = self.block(at / BLOCK * BLOCK);
            let skip = at % BLOCK;
            let n = (BLOCK - skip).min(rest.len());
            let (now, later) = rest.split_at(n);
            if now != &block[skip..skip + n] {
                let differs = now.iter().zip(&block[skip..]).position(|(a, b)| a != b)?;
                return Some(bytes.len() - rest.len() + differs);
            }
            (rest, at) = (later, at + n);
        }
        None
    }

    /// The bytes from `at` on, a multiple of a block's length. What lies behind the message's end means nothing.
    #[inline]
    fn block(&self, at: usize) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let first = self.key.wrapping_add((at as u64 / 8).wrapping_mul(GOLDEN));
        for (n, word) in block.chunks_exact_mut(8).enumerate() {
            let bits = mix(first.wrapping_add((n as u64).wrapping_mul(GOLDEN)));
            // A line's bytes are the 64 characters from '0' to 'o'.
            let bits = if self.payload.lines { (bits & (0x3f * ONES)) + 0x30 * ONES } else { bits };
            word.copy_from_slice(&bits.to_le_bytes());
        }
        if self.payload.lines && (at..at + BLOCK).contains(&(self.len - 1)) {
            block[self.len - 1 - at] = b'\n';
        }
        block
    }
}

/// A one in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The last step of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators): each bit of the input changes half of the output.
#[inline]
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 on and below 1, from random bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(|part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn an_answer_is_recognised_wherever_it_is_cut() {
        for (lines, prefix) in [(false, &b""[..]), (true, b""), (true, b"Server received: ")] {
            let payload = Payload::new(7, lines, prefix);
            for len in [1, 2, 7, 8, 9, 63, 64, 65, 200] {
                let message = payload.message(payload.key(3, 9), len);
                let answer = [prefix, &bytes(&message)].concat();
                assert_eq!(answer.len(), message.answer_len());
                for from in 0..answer.len() {
                    for to in from..=answer.len() {
                        assert_eq!(message.differs(from, &answer[from..to]), None, "{len} {from} {to}");
                    }
                }
                for at in 0..answer.len() {
                    let mut wrong = answer.clone();
                    wrong[at] ^= 1;
                    for from in [0, at.saturating_sub(5), at] {
                        assert_eq!(message.differs(from, &wrong[from..]), Some(at - from), "{len} {at} {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_has_its_newline_last_and_prints() {
        let payload = Payload::new(1, true, b"");
        for len in 1..300 {
            let line = bytes(&payload.message(payload.key(0, len as u64), len));
            let (newline, rest) = line.split_last().unwrap();
            assert_eq!(*newline, b'\n');
            assert!(rest.iter().all(u8::is_ascii_graphic), "{line:?}");
        }
    }

    #[test]
    fn no_two_messages_are_alike() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..3 {
            let payload = Payload::new(seed, false, b"");
            for connection in 0..20 {
                for sequence in 0..200 {
                    assert!(seen.insert(bytes(&payload.message(payload.key(connection, sequence), 16))));
                }
            }
        }
    }

    #[test]
    fn bytes_are_spread_evenly() {
        let payload = Payload::new(5, false, b"");
        let mut counts = [0_u32; 256];
        bytes(&payload.message(payload.key(0, 0), 256 * 400)).iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        assert!(counts.iter().all(|&n| (300..500).contains(&n)), "{counts:?}");
        assert!((0..1000).map(|n| unit(mix(n))).all(|x| (0.0..1.0).contains(&x)));
    }
}
