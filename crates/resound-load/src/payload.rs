//! [`Payload`]: every byte of a message is a function of the seed, the connection and the sequence
//! number, so an answer can be verified without keeping its message.

use bytes::Bytes;
use resound_proto::Cx;

use super::chunk_table::{CHUNK, ChunkTable};
use super::hash::{GOLDEN, mix};

/// Bytes made at once.
const BLOCK: usize = 64;

/// A message of this length or more is a slice of a table; a shorter one is computed.
const LONG: usize = 4 * 1024;

/// The messages of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    seed: u64,
    /// Messages are lines: printing characters, and a newline last.
    pub(super) lines: bool,
    /// The bytes of an answer before the message.
    pub(super) prefix: &'static [u8],
    /// Present if there are long messages.
    table: Option<ChunkTable>,
    /// The number of chunks of the longest message.
    chunks: u64,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    key: u64,
    pub(super) len: usize,
    /// The key of its connection, and the number of its first chunk.
    connection: u64,
    chunk: u64,
}

/// Takes the bytes of a message.
pub(super) trait MessageSink {
    fn copy(&mut self, bytes: &[u8]);
    /// Takes bytes that are never changed, without a copy.
    fn share(&mut self, bytes: Bytes);
}

impl MessageSink for Cx<'_> {
    fn copy(&mut self, bytes: &[u8]) {
        self.send(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        self.send_shared(bytes);
    }
}

impl MessageSink for Vec<u8> {
    fn copy(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }
}

impl Payload {
    /// For messages of `longest` bytes at most.
    pub(super) fn new(seed: u64, lines: bool, prefix: &'static [u8], longest: usize) -> Self {
        let table = (longest >= LONG).then(|| ChunkTable::new(seed, |bits| word(bits, lines).to_le_bytes()));
        Self { seed, lines, prefix, table, chunks: longest.div_ceil(CHUNK) as u64 }
    }

    /// The message with this number on this connection; `len` gives its length, from its key.
    pub(super) fn message(&self, connection: u64, sequence: u64, len: impl FnOnce(u64) -> usize) -> Message {
        let connection = mix(self.seed.wrapping_add(GOLDEN) ^ connection.wrapping_mul(GOLDEN));
        let key = mix(connection.wrapping_add(sequence));
        Message { key, len: len(key), connection, chunk: sequence.wrapping_mul(self.chunks) }
    }

    /// Writes a message, part by part.
    pub(super) fn write(&self, message: &Message, to: &mut impl MessageSink) {
        match self.long(message) {
            Some(table) => {
                // The table has no newlines, which would end lines in the middle.
                let body = message.len - usize::from(self.lines);
                for (number, from) in (0..body).step_by(CHUNK).enumerate() {
                    let chunk = message.chunk.wrapping_add(number as u64);
                    to.share(table.share(message.connection, chunk, 0..CHUNK.min(body - from)));
                }
                to.copy(&b"\n"[..message.len - body]);
            }
            None => {
                for at in (0..message.len).step_by(BLOCK) {
                    to.copy(&as_bytes(&self.words(message, at))[..BLOCK.min(message.len - at)]);
                }
            }
        }
    }

    /// The first `n` bytes of a message's answer.
    pub(super) fn answer_head(&self, message: &Message, n: usize) -> Vec<u8> {
        let mut head = self.prefix.to_vec();
        self.write(message, &mut head);
        head.truncate(n);
        head
    }

    /// The length of a message's answer.
    pub(super) fn answer_len(&self, message: &Message) -> usize {
        self.prefix.len() + message.len
    }

    /// Where `bytes` first differ from a message's answer, from its byte `from` on. They must not
    /// reach beyond its end.
    pub(super) fn differs(&self, message: &Message, from: usize, bytes: &[u8]) -> Option<usize> {
        let (head, body) = bytes.split_at(self.prefix.len().saturating_sub(from).min(bytes.len()));
        if !head.is_empty()
            && let Some(at) = differ(head, &self.prefix[from..])
        {
            return Some(at);
        }
        let mut at = (from + head.len()) - self.prefix.len().min(from + head.len());
        let mut rest = body;
        let table = self.long(message);
        while !rest.is_empty() {
            let (differs, n) = match table {
                Some(table) => self.differs_from_chunk(table, message, at, rest),
                None => self.differs_from_block(message, at, rest),
            };
            if let Some(differs) = differs {
                return Some(bytes.len() - rest.len() + differs);
            }
            (rest, at) = (&rest[n..], at + n);
        }
        None
    }

    /// Like `differs`, within one block. Returns the number of compared bytes too.
    #[inline]
    fn differs_from_block(&self, message: &Message, at: usize, bytes: &[u8]) -> (Option<usize>, usize) {
        let words = self.words(message, at / BLOCK * BLOCK);
        // Nearly always the bytes are a whole block, and right. Then the words stay in registers.
        if at.is_multiple_of(BLOCK)
            && let Some((block, _)) = bytes.split_first_chunk::<BLOCK>()
            && block.as_chunks::<8>().0.iter().zip(&words).all(|(a, b)| u64::from_le_bytes(*a) == *b)
        {
            return (None, BLOCK);
        }
        let n = (BLOCK - at % BLOCK).min(bytes.len());
        (differ(&bytes[..n], &as_bytes(&words)[at % BLOCK..]), n)
    }

    /// Like `differs`, within one chunk or the final newline. Returns the number of compared bytes
    /// too.
    fn differs_from_chunk(
        &self,
        table: &ChunkTable,
        message: &Message,
        at: usize,
        bytes: &[u8],
    ) -> (Option<usize>, usize) {
        let body = message.len - usize::from(self.lines);
        if at >= body {
            return (differ(bytes, b"\n"), bytes.len());
        }
        let (number, skip) = (at / CHUNK, at % CHUNK);
        let n = (CHUNK - skip).min(body - at).min(bytes.len());
        let chunk = table.chunk(message.connection, message.chunk.wrapping_add(number as u64), skip..skip + n);
        (differ(&bytes[..n], chunk), n)
    }

    /// The table, if this message is a slice of it.
    fn long(&self, message: &Message) -> Option<&ChunkTable> {
        self.table.as_ref().filter(|_| message.len >= LONG)
    }

    /// The computed bytes of a short message from `at` on, a multiple of [`BLOCK`]. Bytes beyond
    /// the message's end are arbitrary.
    #[inline]
    fn words(&self, message: &Message, at: usize) -> [u64; BLOCK / 8] {
        let first = message.key.wrapping_add((at as u64 / 8).wrapping_mul(GOLDEN));
        // Beyond the block where the newline is not in it.
        let newline = if self.lines { (message.len - 1).wrapping_sub(at) } else { BLOCK };
        std::array::from_fn(|n| {
            let own = word(mix(first.wrapping_add((n as u64).wrapping_mul(GOLDEN))), self.lines);
            if newline / 8 != n {
                return own;
            }
            let shift = newline % 8 * 8;
            own & !(0xff << shift) | u64::from(b'\n') << shift
        })
    }
}

fn as_bytes(words: &[u64; BLOCK / 8]) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
        eight.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Where `bytes` first differ from the beginning of `expected`, which is no shorter.
#[inline]
fn differ(bytes: &[u8], expected: &[u8]) -> Option<usize> {
    if bytes == &expected[..bytes.len()] {
        return None;
    }
    bytes.iter().zip(expected).position(|(a, b)| a != b)
}

/// Eight bytes from random bits. Those of a line are from the 64 characters from '0' to 'o'.
#[inline]
fn word(bits: u64, lines: bool) -> u64 {
    if lines { (bits & (0x3f * ONES)) + 0x30 * ONES } else { bits }
}

/// A one in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIXES: [(bool, &[u8]); 3] = [(false, b""), (true, b""), (true, b"Server received: ")];

    fn bytes(payload: &Payload, message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        payload.write(message, &mut bytes);
        assert_eq!(bytes.len(), message.len);
        bytes
    }

    #[test]
    fn an_answer_is_compared_from_any_byte_to_any_other() {
        for (lines, prefix) in PREFIXES {
            let payload = Payload::new(7, lines, prefix, 200);
            for len in [1, 2, 7, 8, 9, 63, 64, 65, 200] {
                let message = payload.message(3, 9, |_| len);
                let answer = [prefix, &bytes(&payload, &message)].concat();
                assert_eq!(answer.len(), payload.answer_len(&message));
                for from in 0..answer.len() {
                    for to in from..=answer.len() {
                        assert_eq!(payload.differs(&message, from, &answer[from..to]), None, "{len} {from} {to}");
                    }
                }
                for at in 0..answer.len() {
                    finds_a_wrong_byte(&payload, &message, &answer, at);
                }
            }
        }
    }

    /// The wrong byte is found from wherever the comparison begins.
    fn finds_a_wrong_byte(payload: &Payload, message: &Message, answer: &[u8], at: usize) {
        let mut wrong = answer.to_vec();
        wrong[at] ^= 1;
        for from in [0, at.saturating_sub(5), at] {
            let found = payload.differs(message, from, &wrong[from..]);
            assert_eq!(found, Some(at - from), "{} bytes, {at} {from}", answer.len());
        }
    }

    #[test]
    fn a_long_answer_is_compared_across_chunks() {
        for (lines, prefix) in PREFIXES {
            let payload = Payload::new(7, lines, prefix, 200_000);
            for len in [LONG - 1, LONG, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + 2, 2 * CHUNK + 1, 200_000] {
                let message = payload.message(3, 9, |_| len);
                let answer = [prefix, &bytes(&payload, &message)].concat();
                // Around the end of the prefix, of each chunk and of the answer.
                let ends = [0, prefix.len(), CHUNK, CHUNK + prefix.len(), 2 * CHUNK + prefix.len(), answer.len()];
                let near = ends.iter().flat_map(|end| end.saturating_sub(2)..end + 2);
                for at in near.filter(|at| *at < answer.len()) {
                    for to in [at + 1, at + 100, answer.len()].map(|to| to.min(answer.len())) {
                        assert_eq!(payload.differs(&message, at, &answer[at..to]), None, "{len} {at} {to}");
                    }
                    finds_a_wrong_byte(&payload, &message, &answer, at);
                }
            }
        }
    }

    #[test]
    fn a_line_has_its_newline_last_and_prints() {
        let payload = Payload::new(1, true, b"", 200_000);
        for len in (1..300).chain([LONG, CHUNK, CHUNK + 1, 200_000]) {
            let line = bytes(&payload, &payload.message(0, len as u64, |_| len));
            let (newline, rest) = line.split_last().unwrap();
            assert_eq!(*newline, b'\n');
            assert!(rest.iter().all(u8::is_ascii_graphic), "{len}");
        }
    }

    #[test]
    fn no_two_messages_are_alike() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..3 {
            let payload = Payload::new(seed, false, b"", 16);
            for connection in 0..20 {
                for sequence in 0..200 {
                    assert!(seen.insert(bytes(&payload, &payload.message(connection, sequence, |_| 16))));
                }
            }
        }
    }

    #[test]
    fn bytes_are_spread_evenly() {
        for len in [LONG - 1, LONG, 2 * CHUNK] {
            let payload = Payload::new(5, false, b"", len);
            let mut counts = [0_u32; 256];
            for n in 0..(256 * 400_usize).div_ceil(len) as u64 {
                let message = bytes(&payload, &payload.message(0, n, |_| len));
                message.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
            }
            let usual = counts.iter().sum::<u32>() / 256;
            assert!(counts.iter().all(|&n| (usual * 3 / 4..usual * 5 / 4).contains(&n)), "{counts:?}");
        }
    }
}
