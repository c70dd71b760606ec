//! Faults in bulk: long messages of one length, with blocks dropped, repeated or swapped.

use super::*;
use crate::Sizes;
use crate::hash::mix;
use crate::length::Lengths;
use crate::payload::Payload;

/// Together more than twice the table whose slices they are.
const MESSAGES: u64 = 40;
const LEN: usize = 64 * 1024;
const TABLE: usize = 1 << 20;

fn rules(lines: bool) -> Arc<Rules> {
    let payload = Payload::new(3, lines, b"", LEN);
    Arc::new(Rules { payload, lengths: Lengths::new(&Sizes::Fixed(LEN as u64)), verify: true })
}

fn stream(rules: &Rules, connection: u64) -> Vec<u8> {
    let messages = (0..MESSAGES).map(|sequence| rules.message(connection, sequence));
    messages.map(|message| rules.payload.answer_head(&message, LEN)).collect::<Vec<_>>().concat()
}

/// The fault is found in the message in which it begins.
fn assert_found(rules: &Arc<Rules>, right: &[u8], came: &[u8], what: &str) {
    // By pages first, since single bytes take long.
    let same = right.chunks(4096).zip(came.chunks(4096)).take_while(|(a, b)| a == b).count() * 4096;
    let at = same + right[same..].iter().zip(&came[same..]).position(|(a, b)| a != b).expect("a difference");
    let mut answers = Answers::new(Arc::clone(rules), 5);
    let mut events = Vec::new();
    for n in 0..MESSAGES {
        answers.send(SendTimes::new(n, n));
    }
    let is_fault = |event: &AnswerEvent| !matches!(event, AnswerEvent::Answered(_));
    for part in came.chunks(50_000) {
        answers.received(part, &mut |event| events.push(event));
        if events.iter().any(is_fault) {
            break;
        }
    }
    answers.end(&mut |event| events.push(event));
    let fault = events.iter().position(is_fault).unwrap_or_else(|| panic!("{what}, from byte {at} on: not found"));
    let message = (at / LEN) as u64;
    let passed = events.iter().position(|event| *event == AnswerEvent::Answered(SendTimes::new(message, message)));
    assert!(passed.is_none_or(|passed| fault < passed), "{what}, from byte {at} on: {:?}", events[fault]);
}

/// Blocks, aligned and unaligned: their offsets and lengths.
fn blocks() -> impl Iterator<Item = (usize, usize)> {
    let lens = [16, 64, 1000, 1448, 4096, 16 * 1024, LEN - 1, LEN, LEN + 1, 100_000];
    let starts = [0, 1, 4096, LEN - 1, LEN, 3 * LEN, 5 * LEN + 17, 7 * LEN + 4096];
    let chosen = starts.into_iter().flat_map(move |at| lens.map(|len| (at, len)));
    let random = (0..40).map(|n| (mix(n) as usize % (10 * LEN), 16 + mix(!n) as usize % LEN));
    chosen.chain(random)
}

/// How far a block is moved: by whole messages, pages, the table's length, and random distances.
fn distances() -> impl Iterator<Item = usize> {
    let near = [100_000, LEN - 4096, LEN, 2 * LEN, 16 * LEN, 3 * LEN + 4096, 17 * LEN + 1];
    let table = [TABLE, TABLE + LEN, TABLE - LEN, TABLE + 4096, TABLE - 1, TABLE + 1];
    near.into_iter().chain(table).chain((0..4).map(|n| LEN + mix(n ^ 99) as usize % TABLE))
}

fn each(plant: impl Fn(&Arc<Rules>, &[u8])) {
    for lines in [false, true] {
        let rules = rules(lines);
        plant(&rules, &stream(&rules, 5));
    }
}

#[test]
fn a_dropped_block_is_found() {
    each(|rules, right| {
        for (at, len) in blocks() {
            let came = [&right[..at], &right[at + len..]].concat();
            assert_found(rules, right, &came, &format!("{len} bytes less at {at}"));
        }
        // By the length of the table, and of chunks.
        for len in distances() {
            let came = [&right[..1000], &right[1000 + len..]].concat();
            assert_found(rules, right, &came, &format!("{len} bytes less"));
        }
    });
}

#[test]
fn a_repeated_block_is_found() {
    each(|rules, right| {
        for (at, len) in blocks() {
            let came = [&right[..at + len], &right[at..at + len], &right[at + len..]].concat();
            assert_found(rules, right, &came, &format!("{len} bytes of {at} twice"));
        }
    });
}

#[test]
fn a_block_in_place_of_another_is_found() {
    each(|rules, right| {
        for ((at, len), distance) in blocks().step_by(7).flat_map(|block| distances().map(move |by| (block, by))) {
            let len = len.min(distance);
            let mut came = right.to_vec();
            came.copy_within(at + distance..at + distance + len, at);
            let what = format!("{len} bytes at {at} are those {distance} behind");
            assert_found(rules, right, &came, &what);
        }
    });
}

#[test]
fn swapped_blocks_are_found() {
    each(|rules, right| {
        for ((at, len), distance) in blocks().step_by(7).flat_map(|block| distances().map(move |by| (block, by))) {
            let len = len.min(distance);
            let mut came = right.to_vec();
            came[at..at + len].copy_from_slice(&right[at + distance..at + distance + len]);
            came[at + distance..at + distance + len].copy_from_slice(&right[at..at + len]);
            assert_found(rules, right, &came, &format!("{len} bytes at {at} and {distance} behind changed places"));
        }
    });
}

#[test]
fn another_connections_block_is_found() {
    each(|rules, right| {
        for (other, (at, len)) in (6..).zip(blocks()) {
            let theirs = stream(rules, other);
            let mut came = right.to_vec();
            came[at..at + len].copy_from_slice(&theirs[at..at + len]);
            assert_found(rules, right, &came, &format!("{len} bytes at {at} are connection {other}'s"));
            came[at..].copy_from_slice(&theirs[at..]);
            assert_found(rules, right, &came, &format!("all from {at} on is connection {other}'s"));
        }
    });
}
