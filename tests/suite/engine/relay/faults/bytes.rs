//! Faults that change bytes.

use resound::Engine;
use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};

use super::{Path, is_silent, tests_of_faults};
use crate::harness::noise;

tests_of_faults!(
    Corrupt => corrupt_inverts_one_bit,
    Truncate => truncate_takes_the_tail_and_passes_the_fin,
    Duplicate => duplicate_sends_bytes_twice,
    Swap => swap_exchanges_two_blocks;
    several_faults_of_one_direction_happen_in_their_order,
    each_direction_has_its_own,
);

fn corrupt_inverts_one_bit(engine: Engine) {
    let path = Path::faulted(engine, "up: corrupt @3B");
    let (mut client, mut target) = path.pair();
    client.send("abcdef");
    client.finish();
    let got = target.rest();
    assert_eq!((got.len(), &got[..3], &got[4..]), (6, &b"abc"[..], &b"ef"[..]));
    assert_eq!((got[3] ^ b'd').count_ones(), 1);
    target.send("abcdef");
    client.expect("abcdef");
    path.injects(&[(1, Some(Up), 3, FaultKind::Corrupt)]);
}

fn truncate_takes_the_tail_and_passes_the_fin(engine: Engine) {
    let path = Path::faulted(engine, "1: down: truncate @4B");
    let (mut client, mut target) = path.pair();
    target.send("abcdefgh");
    client.expect("abcd");
    target.send(noise(1, 1_000_000));
    client.send("question");
    target.expect("question");
    path.works_for_another();
    is_silent(&mut client);
    target.finish();
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Down), 4, FaultKind::Truncate)]);
    client.finish();
    assert_eq!(target.rest(), b"");
    // The first report is that of the other connection.
    assert_eq!(path.report().ended, None);
    let report = path.report();
    assert_eq!((report.down.bytes, report.down.fin, report.ended), (4, true, None));
}

fn duplicate_sends_bytes_twice(engine: Engine) {
    let path = Path::faulted(engine, "up: duplicate=3B @2B");
    let (mut client, mut target) = path.pair();
    client.send("abcd");
    target.expect("abcd");
    client.send("efg");
    client.finish();
    assert_eq!(target.rest(), b"ecdefg");
    path.injects(&[(1, Some(Up), 2, FaultKind::Duplicate)]);
}

fn swap_exchanges_two_blocks(engine: Engine) {
    let path = Path::faulted(engine, "down: swap=2B @1B");
    let (mut client, mut target) = path.pair();
    target.send("abcdefg");
    target.finish();
    assert_eq!(client.rest(), b"adebcfg");
    path.injects(&[(1, Some(Down), 1, FaultKind::Swap)]);
}

fn several_faults_of_one_direction_happen_in_their_order(engine: Engine) {
    let path = Path::faulted(engine, "up: truncate @message=3; up: duplicate=2B @6B; up: corrupt @1B");
    let (mut client, mut target) = path.pair();
    client.send("abc\ndef\nghi\n");
    client.finish();
    let got = target.rest();
    assert_eq!((got.len(), &got[2..]), (10, &b"c\ndef\nf\n"[..]));
    path.injects(&[
        (1, Some(Up), 1, FaultKind::Corrupt),
        (1, Some(Up), 6, FaultKind::Duplicate),
        (1, Some(Up), 8, FaultKind::Truncate),
    ]);
}

fn each_direction_has_its_own(engine: Engine) {
    let path = Path::faulted(engine, "duplicate=1B");
    let (mut client, mut target) = path.pair();
    client.send("up");
    target.expect("uup");
    target.send("down");
    client.expect("ddown");
    path.injects(&[(1, Some(Up), 0, FaultKind::Duplicate), (1, Some(Down), 0, FaultKind::Duplicate)]);
}
