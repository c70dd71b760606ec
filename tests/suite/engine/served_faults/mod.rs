//! Each fault that a server can cause, as its client sees it.

mod answers;
mod bytes;
mod connecting;
mod endings;
mod repeat;
mod setting;
mod timers;

use std::sync::mpsc::{self, Receiver};

use resound::faults::{FaultEvent, FaultKind, LiveFaults};
use resound::{ConnInfo, Engine, Reply, Server, Service};
use resound_faults::Role;

use super::relay::error_of_next_read;
use super::relay::faults::{InjectedFault, SEED, is_silent, takes};
use crate::harness::{PATIENCE, Peer, Running, server};

/// The tests of a file: one for each of its faults, and others.
macro_rules! tests_of_served_faults {
    ($($kind:ident => $test:ident),* $(,)?; $($other:ident),* $(,)?) => {
        pub(super) const TESTED: &[resound::faults::FaultKind] = &[$(resound::faults::FaultKind::$kind),*];
        crate::harness::on_each_engine_plainly!($($test,)* $($other),*);
    };
}
use tests_of_served_faults;

#[test]
fn each_fault_of_a_server_has_its_test() {
    let tested =
        [answers::TESTED, bytes::TESTED, endings::TESTED, connecting::TESTED, timers::TESTED, setting::TESTED].concat();
    let of_servers: Vec<_> = FaultKind::all().filter(|kind| kind.works_for(Role::Server)).collect();
    let missing: Vec<_> = of_servers.iter().filter(|kind| !tested.contains(kind)).collect();
    assert!(missing.is_empty(), "no test causes {missing:?}");
    assert_eq!(tested.len(), of_servers.len(), "each once");
}

/// A server with faults.
struct Faulted {
    running: Running,
    faults: LiveFaults,
    injected: Receiver<FaultEvent>,
}

impl Faulted {
    /// It answers lines with `Server received: ` and the line.
    fn replying(engine: Engine, spec: &str) -> Self {
        Self::serving(server(engine), spec, |_| Reply::default())
    }

    fn serving<S: Service + 'static>(
        server: Server,
        spec: &str,
        service: impl Fn(&ConnInfo) -> S + Send + Sync + 'static,
    ) -> Self {
        let faults = LiveFaults::of_server();
        if !spec.is_empty() {
            assert_eq!(faults.set(spec.parse().unwrap(), SEED).unwrap(), 1);
        }
        let (send, injected) = mpsc::channel();
        let server = server.faults(&faults, move |conn, event| {
            assert_eq!(conn.id.0, event.connection);
            let _ = send.send(event.clone());
        });
        Self { running: Running::start(server, service), faults, injected }
    }

    fn connect(&self) -> Peer {
        self.running.connect()
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

    /// A further connection works, so the server had the time to do what it does to the others.
    fn works_for_another(&self) {
        let mut client = self.connect();
        client.ask("Is all well?");
        client.finish();
        assert_eq!(client.rest(), b"");
    }
}
