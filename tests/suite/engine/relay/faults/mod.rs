//! Each fault that a relay can cause, as its client and its target see it.

mod bytes;
mod connecting;
mod endings;
mod pace;
mod repeat;
mod setting;
mod timers;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use resound::Engine;
use resound::faults::{FaultKind, StreamDirection};
use resound_faults::Role;

use super::{Path, settings};
use crate::harness::{PATIENCE, Peer, uninterrupted};

/// Of the draws of these tests.
pub(crate) const SEED: u64 = 7;

/// What an event promises: the connection's number, the direction, the offset and the kind.
pub(crate) type InjectedFault = (u64, Option<StreamDirection>, u64, FaultKind);

/// The tests of a file: one for each of its faults, and others.
macro_rules! tests_of_faults {
    ($($kind:ident => $test:ident),* $(,)?; $($other:ident),* $(,)?) => {
        pub(super) const TESTED: &[resound::faults::FaultKind] = &[$(resound::faults::FaultKind::$kind),*];
        crate::harness::on_each_engine_with_workers!($($test,)* $($other),*);
    };
}
use tests_of_faults;

#[test]
fn each_fault_of_a_relay_has_its_test() {
    let tested =
        [bytes::TESTED, pace::TESTED, endings::TESTED, connecting::TESTED, timers::TESTED, setting::TESTED].concat();
    let of_relays: Vec<_> = FaultKind::all().filter(|kind| kind.works_for(Role::Relay)).collect();
    let missing: Vec<_> = of_relays.iter().filter(|kind| !tested.contains(kind)).collect();
    assert!(missing.is_empty(), "no test causes {missing:?}");
    assert_eq!(tested.len(), of_relays.len(), "each once");
}

impl Path {
    fn faulted(engine: Engine, spec: &str) -> Self {
        Self::with_faults(settings(engine), spec)
    }

    /// The next faults that were injected are these, and there are no more yet.
    fn injects(&self, want: &[InjectedFault]) {
        let mut got = Vec::new();
        for _ in want {
            let event = self.injected.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{got:?} and no more"));
            assert!(!event.detail.is_empty() && event.at < 2 * PATIENCE, "{event:?}");
            got.push((event.connection, event.direction, event.offset, event.kind));
        }
        assert_eq!(got, want);
        assert!(self.injected.try_recv().is_err(), "and no more");
    }

    /// A further connection works, so the relay had the time to do what it does to the others.
    fn works_for_another(&self) {
        let (mut client, mut target) = self.pair();
        client.send("question");
        target.expect("question");
        target.send("answer");
        client.expect("answer");
        client.finish();
        assert_eq!(target.rest(), b"");
        target.finish();
        assert_eq!(client.rest(), b"");
    }
}

/// Nothing comes: no byte, no FIN and no RST.
pub(crate) fn is_silent(peer: &mut Peer) {
    peer.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    match uninterrupted(|| peer.0.read(&mut [0])) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        other => panic!("{other:?}, not silence"),
    }
    peer.0.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// What happens `since` takes at least this long. Engines may take the time of an event a little
/// before they read it, so a quarter less is enough.
pub(crate) fn takes(time: Duration, since: Instant) {
    let took = since.elapsed();
    assert!(took >= time * 3 / 4, "{took:?} is less than {time:?}");
}

/// What comes before the connection fails, and how it does.
fn until_failure(peer: &mut Peer) -> (usize, ErrorKind) {
    let mut bytes = 0;
    let mut block = vec![0; 64 * 1024];
    loop {
        match uninterrupted(|| peer.0.read(&mut block)) {
            Ok(0) => panic!("a FIN behind {bytes} bytes"),
            Ok(n) => bytes += n,
            Err(error) => return (bytes, error.kind()),
        }
    }
}
