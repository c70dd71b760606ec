//! Faults that end a connection, or keep it from ending.

use std::io::{ErrorKind, Write};
use std::num::NonZeroUsize;

use resound::Engine;
use resound::faults::FaultKind;
use resound::faults::StreamDirection::{Down, Up};

use super::super::{error_of_next_read, settings};
use super::{Path, is_silent, tests_of_faults};
use crate::harness::{eventually, noise};

tests_of_faults!(
    Reset => reset_reaches_both_ends,
    ResetOneSide => reset_one_side_closes_the_sender_in_order,
    Close => close_is_a_fin_for_both,
    HalfClose => half_close_is_a_fin_that_was_not_sent,
    EatFin => eat_fin_keeps_the_target_waiting,
    CloseOnEof => close_on_eof_loses_the_reply,
    FinToRst => fin_to_rst_closes_the_sender_in_order,
    RstToFin => rst_to_fin_makes_a_failure_look_whole,
    RstEatsTail => rst_eats_tail_overtakes_what_waits,
    Silent => silent_sends_nothing_more,
    OneWay => one_way_takes_one_direction,
    SplitHelloDrop => split_hello_drop_passes_one_segment;
    reset_at_connect_needs_no_byte,
    a_fin_counts_as_the_byte_in_its_place,
    two_half_closes_end_with_the_fins_of_both,
);

fn reset_reaches_both_ends(engine: Engine) {
    let path = Path::faulted(engine, "1: down: reset @3B");
    let (mut client, mut target) = path.pair();
    client.send("question");
    target.expect("question");
    target.send("abcdef");
    client.expect("abc");
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.works_for_another();
    path.injects(&[(1, Some(Down), 3, FaultKind::Reset)]);
    assert_eq!(path.report().down.bytes, 3);
}

fn reset_one_side_closes_the_sender_in_order(engine: Engine) {
    let path = Path::faulted(engine, "1: up: reset-one-side @2B; 2: down: reset-one-side @2B");
    for (number, direction) in [(1, Up), (2, Down)] {
        let (client, target) = path.pair();
        let (mut sender, mut receiver) = if direction == Up { (client, target) } else { (target, client) };
        receiver.send("other way");
        sender.expect("other way");
        sender.send("abcd");
        receiver.expect("ab");
        assert_eq!(error_of_next_read(&mut receiver), ErrorKind::ConnectionReset);
        assert_eq!(sender.rest(), b"");
        path.injects(&[(number, Some(direction), 2, FaultKind::ResetOneSide)]);
    }
}

fn close_is_a_fin_for_both(engine: Engine) {
    let path = Path::faulted(engine, "up: close @1B; down: delay=60s");
    let (mut client, mut target) = path.pair();
    target.send("lost");
    client.send("ab");
    assert_eq!(target.rest(), b"a");
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Down), 0, FaultKind::Delay), (1, Some(Up), 1, FaultKind::Close)]);
}

fn half_close_is_a_fin_that_was_not_sent(engine: Engine) {
    let path = Path::faulted(engine, "up: half-close @2B");
    let (mut client, mut target) = path.pair();
    client.send("abcd");
    assert_eq!(target.rest(), b"ab");
    // What the client sends on is taken, and the other direction goes on.
    client.send(noise(1, 1_000_000));
    target.send("answer");
    client.expect("answer");
    target.finish();
    assert_eq!(client.rest(), b"");
    client.finish();
    path.injects(&[(1, Some(Up), 2, FaultKind::HalfClose)]);
    let report = path.report();
    assert_eq!((report.up.bytes, report.down.bytes, report.ended), (2, 6, None));
}

fn two_half_closes_end_with_the_fins_of_both(engine: Engine) {
    let path = Path::faulted(engine, "half-close @1B");
    let (mut client, mut target) = path.pair();
    client.send("ab");
    assert_eq!(target.rest(), b"a");
    target.send("cd");
    assert_eq!(client.rest(), b"c");
    for peer in [&mut client, &mut target] {
        peer.send(noise(1, 1_000_000));
        peer.finish();
    }
    assert_eq!(path.report().ended, None);
    path.injects(&[(1, Some(Up), 1, FaultKind::HalfClose), (1, Some(Down), 1, FaultKind::HalfClose)]);
}

fn eat_fin_keeps_the_target_waiting(engine: Engine) {
    let path = Path::faulted(engine, "1: up: eat-fin");
    let (mut client, mut target) = path.pair();
    client.send("abc");
    client.finish();
    target.expect("abc");
    path.injects(&[(1, Some(Up), 3, FaultKind::EatFin)]);
    path.works_for_another();
    is_silent(&mut target);
    target.send("reply");
    client.expect("reply");
    target.finish();
    assert_eq!(client.rest(), b"");
    is_silent(&mut target);
}

fn close_on_eof_loses_the_reply(engine: Engine) {
    let path = Path::faulted(engine, "up: close-on-eof");
    let (mut client, mut target) = path.pair();
    client.send("request");
    client.finish();
    assert_eq!(target.rest(), b"request");
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Up), 7, FaultKind::CloseOnEof)]);
    eventually("the target is reset when it answers", || target.0.write_all(b"reply").is_err());
}

fn fin_to_rst_closes_the_sender_in_order(engine: Engine) {
    let path = Path::faulted(engine, "up: fin-to-rst");
    let (mut client, mut target) = path.pair();
    target.send("answer");
    client.expect("answer");
    client.send("abc");
    client.finish();
    target.expect("abc");
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Up), 3, FaultKind::FinToRst)]);
}

fn rst_to_fin_makes_a_failure_look_whole(engine: Engine) {
    let path = Path::faulted(engine, "down: rst-to-fin");
    let (mut client, mut target) = path.pair();
    target.send("abc");
    client.expect("abc");
    target.reset();
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Down), 3, FaultKind::RstToFin)]);
}

fn rst_eats_tail_overtakes_what_waits(engine: Engine) {
    let path = Path::faulted(engine, "down: delay=2s @3B; down: rst-eats-tail");
    let (mut client, mut target) = path.pair();
    target.send("abc");
    client.expect("abc");
    target.send("tail");
    // The relay has read it.
    path.injects(&[(1, Some(Down), 3, FaultKind::Delay)]);
    target.reset();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    path.injects(&[(1, Some(Down), 7, FaultKind::RstEatsTail)]);
    assert_eq!(path.report().down.bytes, 3);
}

fn silent_sends_nothing_more(engine: Engine) {
    // With one worker, another pair's turn comes after this one's sockets have their filters.
    let one_worker = settings(engine).workers(NonZeroUsize::MIN);
    let path = Path::with_faults(one_worker, "1: up: silent @2B");
    let (mut client, mut target) = path.pair();
    client.send("abcd");
    target.expect("ab");
    path.injects(&[(1, Some(Up), 2, FaultKind::Silent)]);
    path.works_for_another();
    client.send(noise(1, 1_000_000));
    target.send(noise(2, 1_000_000));
    client.finish();
    path.works_for_another();
    is_silent(&mut client);
    is_silent(&mut target);
    // A system that can drop what arrives acknowledges none of it.
    #[cfg(target_os = "linux")]
    for waiting in [client.unacknowledged(), target.unacknowledged()] {
        assert!(waiting >= Some(1_000_000), "{waiting:?}");
    }
    target.reset();
    path.works_for_another();
    is_silent(&mut client);
}

fn one_way_takes_one_direction(engine: Engine) {
    let path = Path::faulted(engine, "1: up: one-way @2B");
    let (mut client, mut target) = path.pair();
    client.send("abcd");
    target.expect("ab");
    client.send(noise(1, 1_000_000));
    client.finish();
    path.works_for_another();
    is_silent(&mut target);
    target.send("heard");
    client.expect("heard");
    target.finish();
    assert_eq!(client.rest(), b"");
    path.injects(&[(1, Some(Up), 2, FaultKind::OneWay)]);
}

fn split_hello_drop_passes_one_segment(engine: Engine) {
    let path = Path::faulted(engine, "split-hello-drop");
    // The header of a record of 1,700 bytes, and the type of a ClientHello.
    let hello = |length: u16| {
        let mut bytes = vec![22, 3, 1];
        bytes.extend((length - 5).to_be_bytes());
        bytes.push(1);
        bytes.resize(usize::from(length), 7);
        bytes
    };
    let (mut client, mut target) = path.pair();
    client.send(hello(1700));
    target.expect(&hello(1700)[..1400]);
    path.injects(&[(1, Some(Up), 1400, FaultKind::SplitHelloDrop)]);
    target.send("alert");
    path.works_for_another();
    is_silent(&mut target);
    is_silent(&mut client);
    let (mut client, mut target) = path.pair();
    client.send(hello(1400));
    target.expect(hello(1400));
    path.injects(&[]);
}

fn reset_at_connect_needs_no_byte(engine: Engine) {
    let path = Path::faulted(engine, "1: reset @connect");
    let (mut client, mut target) = path.pair();
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    path.injects(&[(1, None, 0, FaultKind::Reset)]);
    path.works_for_another();
}

fn a_fin_counts_as_the_byte_in_its_place(engine: Engine) {
    let path = Path::faulted(engine, "up: reset @3B");
    let (mut client, mut target) = path.pair();
    client.send("abc");
    target.expect("abc");
    target.send("whole");
    client.expect("whole");
    client.finish();
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    assert_eq!(error_of_next_read(&mut client), ErrorKind::ConnectionReset);
    path.injects(&[(1, Some(Up), 3, FaultKind::Reset)]);
}
