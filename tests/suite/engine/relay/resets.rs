//! Resets of an end from which the relay does not read at that moment.

use std::io::{ErrorKind, Read, Write};

use resound::relay::RelayEnd;
use resound::{CloseReason, Engine};

use super::{Path, error_of_next_read, flood};
use crate::harness::{eventually, noise, on_each_engine_with_workers};
use crate::not_tested::not_tested;

on_each_engine_with_workers!(
    two_paused_ends_that_reset_end_their_pair,
    bytes_before_a_reset_reach_an_end_that_writes_first,
    a_reset_of_an_end_that_has_sent_its_fin_arrives,
    a_fin_behind_unread_bytes_is_no_reset,
);

// It takes the 10 s of the last bytes, so each engine runs it once.
mod portable_slowly {
    #[test]
    fn a_reset_behind_unread_bytes_ends_a_pair_whose_other_end_takes_nothing() {
        super::a_reset_behind_unread_bytes_ends_a_pair_whose_other_end_takes_nothing(resound::Engine::Portable);
    }
}
#[cfg(target_os = "linux")]
mod uring_slowly {
    #[test]
    fn a_reset_behind_unread_bytes_ends_a_pair_whose_other_end_takes_nothing() {
        use crate::harness::{NO_FAULTS, on_uring};
        on_uring(NO_FAULTS, super::a_reset_behind_unread_bytes_ends_a_pair_whose_other_end_takes_nothing);
    }
}

fn two_paused_ends_that_reset_end_their_pair(engine: Engine) {
    let path = Path::new(engine);
    for client_first in [true, false] {
        let (client, target) = path.pair();
        flood(&client);
        flood(&target);
        let (first, second) = if client_first { (client, target) } else { (target, client) };
        first.reset();
        second.reset();
        let why = path.report().ended.map(|(_, why)| why);
        assert_eq!(why, Some(CloseReason::Reset), "client first: {client_first}");
    }
    eventually("no connection is left", || path.relay.connections().iter().sum::<usize>() == 0);
}

fn bytes_before_a_reset_reach_an_end_that_writes_first(engine: Engine) {
    let path = Path::new(engine);
    let (client, mut target) = path.pair();
    let sent = flood(&client);
    flood(&target);
    let Some(waiting) = client.unacknowledged() else {
        return not_tested("a reset behind unread bytes", "this system does not show what a peer has taken");
    };
    client.reset();
    // No end takes these bytes any more, so they must not wait for one.
    target.send(noise(5, 256 * 1024));
    let mut got = vec![0; sent - waiting];
    target.0.read_exact(&mut got).unwrap();
    assert!(got.iter().all(|byte| *byte == 7), "bytes have changed");
    assert_eq!(error_of_next_read(&mut target), ErrorKind::ConnectionReset);
    let report = path.report();
    assert_eq!((report.ended, report.up.bytes), (Some((RelayEnd::Client, CloseReason::Reset)), got.len() as u64));
}

fn a_reset_behind_unread_bytes_ends_a_pair_whose_other_end_takes_nothing(engine: Engine) {
    let path = Path::new(engine);
    let (client, _silent_target) = path.pair();
    let (_silent_client, target) = path.pair();
    for end in [client, target] {
        flood(&end);
        end.reset();
    }
    let mut ended = [path.report().ended, path.report().ended];
    ended.sort_by_key(|ended| ended.map(|(end, _)| end == RelayEnd::Target));
    assert_eq!(ended, [RelayEnd::Client, RelayEnd::Target].map(|end| Some((end, CloseReason::Reset))));
}

fn a_reset_of_an_end_that_has_sent_its_fin_arrives(engine: Engine) {
    let path = Path::new(engine);
    for end in [RelayEnd::Client, RelayEnd::Target] {
        let (client, target) = path.pair();
        let (mut resets, mut other) = if end == RelayEnd::Client { (client, target) } else { (target, client) };
        resets.send("question");
        resets.finish();
        assert_eq!(other.rest(), b"question");
        resets.reset();
        // The relay sends nothing meanwhile that would meet the reset.
        assert_eq!(path.report().ended, Some((end, CloseReason::Reset)));
        // The other end has read a FIN, so only its sends show it.
        eventually("a send fails", || other.0.write(b"x").is_err());
    }
}

fn a_fin_behind_unread_bytes_is_no_reset(engine: Engine) {
    let path = Path::new(engine);
    let (mut client, mut target) = path.pair();
    let sent = flood(&client);
    client.finish();
    let got = target.rest();
    assert!(got.len() == sent && got.iter().all(|byte| *byte == 7), "{} bytes of {sent}", got.len());
    target.send("answer");
    target.finish();
    assert_eq!(client.rest(), b"answer");
    assert_eq!(path.report().ended, None);
}
