//! A seed repeats a run on each engine, however the bytes are written, and whatever the other
//! connections do meanwhile.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
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
    // One ending at most: what comes after it depends on how far the other end is by then.
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

/// When the connections of a specification connect, send and end. Their numbers are those of their
/// arrival in each order.
#[derive(Clone, Copy)]
enum Order {
    /// Each is over before the next one connects.
    InTurn,
    /// One connects before or after what others send and their ends, as drawn from this seed.
    Mixed(u64),
}

/// The faults that each specification injects, one after the other into one relay.
fn timelines(engine: Engine, in_pieces: bool, order: Order) -> Timelines {
    let path = Path::faulted(engine, "");
    let mut received = Vec::new();
    for seed in 1..=SEEDS {
        let (spec, both_send) = random_spec(&mut Rng::with_seed(seed));
        assert_eq!(path.faults.set(spec, seed).unwrap(), (seed - 1) * CONNECTIONS + 1);
        received.extend(match order {
            Order::InTurn => in_turn(&path, both_send, in_pieces),
            Order::Mixed(of_order) => mixed(&path, both_send, &mut Rng::with_seed(seed << 32 | of_order)),
        });
    }
    let mut events: Vec<_> =
        path.injected.try_iter().map(|event| (event.connection, event.direction, event.offset, event.kind)).collect();
    events.sort_unstable();
    Timelines { events, received }
}

/// What the client of a connection sends, and what its target sends.
fn payloads(number: u64) -> (Vec<u8>, Vec<u8>) {
    (noise(2 * number, BYTES), noise(2 * number + 1, BYTES))
}

/// What the ends receive of connections of which each ends before the next one comes.
fn in_turn(path: &Path, both_send: bool, in_pieces: bool) -> Vec<(Vec<u8>, bool)> {
    let mut received = Vec::new();
    for number in 1..=CONNECTIONS {
        let (client, target) = path.pair();
        let (up, down) = payloads(number);
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
    received
}

/// The same of connections that are open together. Each step is drawn: the next one connects, or
/// one of those that are open sends a piece, or its FIN after the last.
fn mixed(path: &Path, both_send: bool, dice: &mut Rng) -> Vec<(Vec<u8>, bool)> {
    let (mut opened, mut senders, mut readers) = (0, Vec::new(), Vec::new());
    // No end is closed before all is read.
    let mut open = Vec::new();
    while opened < CONNECTIONS || !senders.is_empty() {
        if opened < CONNECTIONS && (senders.is_empty() || dice.u8(..8) == 0) {
            opened += 1;
            let (client, target) = path.pair();
            let (client, target) = (Arc::new(client), Arc::new(target));
            let (up, down) = payloads(opened);
            for (to, from, bytes, is_used) in [(&target, &client, up, true), (&client, &target, down, both_send)] {
                if is_used {
                    let to = Arc::clone(to);
                    readers.push(thread::spawn(move || read(&to)));
                    senders.push((Arc::clone(from), bytes, 0));
                }
            }
            open.push((client, target));
            continue;
        }
        let chosen = dice.usize(..senders.len());
        let (peer, bytes, from) = &mut senders[chosen];
        let piece = &bytes[*from..BYTES.min(*from + dice.usize(1..=1500))];
        *from += piece.len();
        // The relay may have ended the connection.
        let is_over = piece.is_empty() || uninterrupted(|| (&peer.0).write_all(piece)).is_err();
        if is_over {
            let _ = peer.0.shutdown(Shutdown::Write);
            senders.swap_remove(chosen);
        }
    }
    readers.into_iter().map(|reader| reader.join().unwrap()).collect()
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
    let whole = timelines(Engine::Portable, false, Order::InTurn);
    are_the_same(&whole, &timelines(Engine::Portable, true, Order::InTurn));
}

#[test]
fn the_order_of_what_connections_do_makes_no_difference() {
    let in_turn = timelines(Engine::Portable, false, Order::InTurn);
    for seed in [1, 2] {
        are_the_same(&in_turn, &timelines(Engine::Portable, true, Order::Mixed(seed)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_engine_makes_no_difference() {
    crate::harness::on_uring(crate::harness::NO_FAULTS, |engine| {
        let of_portable = timelines(Engine::Portable, false, Order::InTurn);
        are_the_same(&of_portable, &timelines(engine, true, Order::InTurn));
        are_the_same(&of_portable, &timelines(engine, true, Order::Mixed(3)));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn nor_does_a_kernel_that_fails() {
    crate::harness::on_uring(crate::harness::FAULTY, |engine| {
        let of_engine = timelines(engine, false, Order::InTurn);
        are_the_same(&of_engine, &timelines(Engine::Portable, true, Order::InTurn));
        are_the_same(&of_engine, &timelines(engine, true, Order::Mixed(4)));
    });
}
