//! Long messages through a relay, of which the engines copy as little as they can.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;

use resound::relay::RelayEnd;
use resound::{CloseReason, Engine};

use super::{Path, direction, error_of_next_read};
use crate::harness::{Peer, eventually, noise, on_each_engine_with_workers};

on_each_engine_with_workers!(
    long_and_short_messages_take_turns,
    both_directions_of_many_pairs_stream_at_once,
    a_reset_comes_behind_long_messages,
    pairs_that_end_within_a_long_message_leave_the_others_alone,
);

/// On both sides of what is worth more than a copy, and of one read.
const SIZES: [usize; 12] = [1, 65_536, 3, 4_095, 4_096, 4_097, 200_000, 64, 65_535, 65_537, 49_152, 8_191];

/// Reads to the end, and sends all of it back.
fn echo(mut peer: Peer) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(n @ 1..) = peer.0.read(&mut buffer) {
            peer.0.write_all(&buffer[..n]).unwrap();
        }
        peer.finish();
    })
}

fn long_and_short_messages_take_turns(engine: Engine) {
    let path = Path::new(engine);
    let pairs = (0..8_u64).map(|number| {
        let (mut client, target) = path.pair();
        let target = echo(target);
        thread::spawn(move || {
            for (n, size) in SIZES.iter().cycle().take(3 * SIZES.len()).enumerate() {
                let message = noise(number << 8 | n as u64, *size);
                client.send(&message);
                client.expect(&message);
            }
            client.finish();
            assert!(client.rest().is_empty());
            target.join().unwrap();
        })
    });
    let pairs: Vec<_> = pairs.collect();
    pairs.into_iter().for_each(|pair| pair.join().unwrap());
    let whole = direction(3 * SIZES.iter().sum::<usize>() as u64, true);
    for _ in 0..8 {
        let report = path.report();
        assert_eq!((report.up, report.down, report.ended), (whole, whole, None));
    }
}

/// More pairs than an engine has buffers for at once.
fn both_directions_of_many_pairs_stream_at_once(engine: Engine) {
    const PAIRS: u64 = 20;
    const BYTES: usize = 1 << 20;
    let path = Path::new(engine);
    let ends = (0..PAIRS).flat_map(|number| {
        let (client, target) = path.pair();
        [(client, 2 * number, 2 * number + 1), (target, 2 * number + 1, 2 * number)]
    });
    let ends = ends.map(|(mut peer, own, others)| {
        let mut writer = peer.0.try_clone().unwrap();
        let writes = thread::spawn(move || {
            writer.write_all(&noise(own, BYTES)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let reads = thread::spawn(move || assert!(peer.rest() == noise(others, BYTES), "bytes have changed"));
        [writes, reads]
    });
    let ends: Vec<_> = ends.flatten().collect();
    ends.into_iter().for_each(|end| end.join().unwrap());
    let whole = direction(BYTES as u64, true);
    for _ in 0..PAIRS {
        let report = path.report();
        assert_eq!((report.up, report.down, report.ended), (whole, whole, None));
    }
}

fn a_reset_comes_behind_long_messages(engine: Engine) {
    let path = Path::new(engine);
    for round in 0..10 {
        let (mut client, mut target) = path.pair();
        let bytes = noise(round, 200_000);
        client.send(&bytes);
        client.until_acknowledged();
        client.reset();
        target.expect(&bytes);
        assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
        let report = path.report();
        assert_eq!(report.ended, Some((RelayEnd::Client, CloseReason::Reset)));
        assert_eq!((report.up, report.down), (direction(200_000, false), direction(0, false)));
    }
}

fn pairs_that_end_within_a_long_message_leave_the_others_alone(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, target) = path.pair();
    let target_ends = echo(target);
    for round in 0..5 {
        let pairs: Vec<_> = (0..12).map(|_| path.pair()).collect();
        for (n, (mut other, mut target)) in pairs.into_iter().enumerate() {
            other.send(noise(n as u64, 64 * 1024));
            target.send(noise(n as u64, 64 * 1024));
            let (first, mut second) = if n % 2 == 0 { (other, target) } else { (target, other) };
            if n % 3 == 0 {
                drop(first)
            } else {
                first.reset()
            }
            // In order or not, it ends.
            let _ = second.0.read_to_end(&mut Vec::new());
        }
        let message = noise(round, 100_000);
        client.send(&message);
        client.expect(&message);
    }
    client.finish();
    assert!(client.rest().is_empty());
    target_ends.join().unwrap();
    eventually("all pairs end", || path.relay.connections().iter().sum::<usize>() == 0);
}
