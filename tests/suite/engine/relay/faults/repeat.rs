//! A seed repeats a run on each engine, and however the bytes are written.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use fastrand::Rng;
use resound::Engine;
use resound::faults::{FaultKind, FaultSpec, StreamDirection};

use super::Path;
use crate::harness::{Peer, noise, uninterrupted};

const SEEDS: u64 = 200;
const CONNECTIONS: u64 = 3;
const BYTES: usize = 6000;

fn one<'a>(dice: &mut Rng, of: &[&'a str]) -> &'a str {
    of[dice.usize(..of.len())]
}

/// A random specification, and whether both ends send. An ending of both directions cuts the other
/// direction where it happens to be, so where there is one, only the client sends.
fn random_spec(dice: &mut Rng) -> (FaultSpec, bool) {
    let both_send = dice.bool();
    let directions: &[&str] = if both_send { &["", "up: ", "down: "] } else { &["up: "] };
    let mut rules: Vec<_> = (0..=dice.u8(..4))
        .map(|_| {
            let fault =
                one(dice, &["corrupt", "truncate", "duplicate=100B", "duplicate=3KiB", "swap=64B", "swap=1KiB"]);
            let at = dice.usize(..BYTES);
            format!("{}{fault} @{at}B{}", one(dice, directions), one(dice, &["", "", " 60%"]))
        })
        .collect();
    if dice.u8(..3) == 0 {
        rules.push(format!("{}corrupt 40%", one(dice, directions)));
    }
    // One ending at most: what comes behind it depends on how far the other end is by then.
    let endings: &[&str] = if both_send { &["half-close"] } else { &["reset", "close", "half-close"] };
    if dice.bool() {
        let at = dice.usize(..=BYTES);
        rules.push(format!("{}{} @{at}B{}", one(dice, directions), one(dice, endings), one(dice, &["", " 70%"])));
    }
    let text = rules.join("; ");
    (text.parse().unwrap_or_else(|error| panic!("{text}: {error}")), both_send)
}

/// Writes a payload, all at once or in pieces. The relay may end the connection meanwhile.
fn write(peer: &Peer, bytes: &[u8], in_pieces: bool) {
    let mut dice = Rng::with_seed(bytes.len() as u64 | u64::from(bytes[0]) << 32);
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = if in_pieces { dice.usize(1..=1500).min(rest.len()) } else { rest.len() };
        if uninterrupted(|| (&peer.0).write_all(&rest[..length])).is_err() {
            return;
        }
        rest = &rest[length..];
    }
    let _ = peer.0.shutdown(Shutdown::Write);
}

/// What an end receives, and whether a FIN ends it.
fn read(peer: &Peer) -> (Vec<u8>, bool) {
    let (mut got, mut block) = (Vec::new(), [0; 4096]);
    loop {
        match uninterrupted(|| (&peer.0).read(&mut block)) {
            Ok(0) => return (got, true),
            Ok(n) => got.extend(&block[..n]),
            Err(_) => return (got, false),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Timelines {
    /// The number of the connection, the direction, the offset and the kind.
    events: Vec<(u64, Option<StreamDirection>, u64, FaultKind)>,
    /// What each end that reads to its end has received.
    received: Vec<(Vec<u8>, bool)>,
}

/// The faults that each specification injects, one after the other into one relay.
fn timelines(engine: Engine, in_pieces: bool) -> Timelines {
    let path = Path::faulted(engine, "");
    let mut received = Vec::new();
    for seed in 1..=SEEDS {
        let (spec, both_send) = random_spec(&mut Rng::with_seed(seed));
        assert_eq!(path.faults.set(spec, seed).unwrap(), (seed - 1) * CONNECTIONS + 1);
        for number in 1..=CONNECTIONS {
            let (client, target) = path.pair();
            let (up, down) = (noise(2 * number, BYTES), noise(2 * number + 1, BYTES));
            thread::scope(|scope| {
                scope.spawn(|| write(&client, &up, in_pieces));
                if both_send {
                    scope.spawn(|| write(&target, &down, in_pieces));
                    let answers = scope.spawn(|| read(&client));
                    received.push(read(&target));
                    received.push(answers.join().unwrap());
                } else {
                    received.push(read(&target));
                }
            });
        }
    }
    let mut events: Vec<_> =
        path.injected.try_iter().map(|event| (event.connection, event.direction, event.offset, event.kind)).collect();
    events.sort_unstable();
    Timelines { events, received }
}

/// Two runs are the same; and they are worth the comparison.
fn are_the_same(one: &Timelines, other: &Timelines) {
    for (a, b) in one.events.iter().zip(&other.events) {
        assert_eq!(a, b);
    }
    assert_eq!(one.events.len(), other.events.len());
    for (index, (a, b)) in one.received.iter().zip(&other.received).enumerate() {
        assert!(a == b, "the {index}th end: {} bytes, FIN {}; {} bytes, FIN {}", a.0.len(), a.1, b.0.len(), b.1);
    }
    assert_eq!(one.received.len(), other.received.len());
    let kinds: BTreeSet<_> = one.events.iter().map(|event| event.3).collect();
    assert!(kinds.len() == 7 && one.events.len() > 1000, "{} events of {kinds:?}", one.events.len());
}

#[test]
fn pieces_make_no_difference() {
    are_the_same(&timelines(Engine::Portable, false), &timelines(Engine::Portable, true));
}

#[cfg(target_os = "linux")]
#[test]
fn the_engine_makes_no_difference() {
    let test = |engine| are_the_same(&timelines(Engine::Portable, false), &timelines(engine, true));
    crate::harness::on_uring(crate::harness::NO_FAULTS, test);
}

#[cfg(target_os = "linux")]
#[test]
fn nor_does_a_kernel_that_fails() {
    let test = |engine| are_the_same(&timelines(engine, false), &timelines(Engine::Portable, true));
    crate::harness::on_uring(crate::harness::FAULTY, test);
}
