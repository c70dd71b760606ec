//! [`Resolver`]: the addresses of a target's name, looked up on a thread of its own.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_proto::{ConnId, Endpoint, unmapped};

use crate::engine::address::Address;
use crate::engine::address_race::take_turns;
use crate::engine::shared::EngineControl;

/// How long the result of a look-up is used: the resolver does not tell how long it holds.
const FRESH: Duration = Duration::from_secs(1);

/// The result of a look-up.
pub(super) enum Lookup {
    /// At least one address.
    Found(Vec<Endpoint>),
    Failed(io::Error),
    /// The client is woken once there is a result.
    Waiting,
}

/// Wakes the clients that wait for a look-up, once the engine has started.
pub(super) struct ClientWaker(pub(super) OnceLock<Weak<dyn EngineControl>>);

impl ClientWaker {
    pub(super) fn reach(&self, control: &Arc<dyn EngineControl>) {
        let _ = self.0.set(Arc::downgrade(control));
    }

    fn wake(&self, client: ConnId) {
        if let Some(control) = self.0.get().and_then(Weak::upgrade) {
            control.wake(client);
        }
    }
}

/// The addresses of one target.
pub(super) struct Resolver {
    address: Address,
    state: Mutex<ResolverState>,
}

#[derive(Default)]
struct ResolverState {
    /// When the last look-up ended, and with what: addresses, or the error's text.
    found: Option<(Instant, Result<Vec<Endpoint>, String>)>,
    /// A look-up is under way for these clients.
    waiting: Vec<ConnId>,
}

impl Resolver {
    pub(super) fn new(address: Address) -> Self {
        Self { address, state: Mutex::default() }
    }

    /// The addresses, if they are known; otherwise `client` is woken once they are.
    pub(super) fn lookup(self: &Arc<Self>, now: Instant, client: ConnId, waker: &Arc<ClientWaker>) -> Lookup {
        let (host, port) = match &self.address {
            Address::Tcp { host, port } => (host, *port),
            Address::Unix(path) => return Lookup::Found(vec![Endpoint::Unix(Some(path.as_path().into()))]),
        };
        if host.split('%').next().is_some_and(|ip| ip.parse::<IpAddr>().is_ok()) {
            // A number needs no resolver.
            return resolve(host, port).map_or_else(Lookup::Failed, Lookup::Found);
        }
        let mut state = self.state.lock();
        if let Some((at, found)) = state.found.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < FRESH) {
            let _ = at;
            return found.clone().map_or_else(|text| Lookup::Failed(io::Error::other(text)), Lookup::Found);
        }
        let is_first = state.waiting.is_empty();
        if !state.waiting.contains(&client) {
            state.waiting.push(client);
        }
        if is_first {
            let (this, waker) = (Arc::clone(self), Arc::clone(waker));
            let (name, target) = ("resound-resolver".to_owned(), host.clone());
            let spawned = thread::Builder::new().name(name).spawn(move || this.finish(resolve(&target, port), &waker));
            if let Err(error) = spawned {
                state.waiting.clear();
                return Lookup::Failed(error);
            }
        }
        Lookup::Waiting
    }

    fn finish(&self, found: io::Result<Vec<Endpoint>>, waker: &ClientWaker) {
        let mut state = self.state.lock();
        state.found = Some((Instant::now(), found.map_err(|error| crate::error::plain(&error))));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|client| waker.wake(client));
    }
}

/// The addresses of a host, the families taking turns.
fn resolve(host: &str, port: u16) -> io::Result<Vec<Endpoint>> {
    let found: Vec<_> = (host, port).to_socket_addrs()?.map(unmapped).collect();
    if found.is_empty() {
        return Err(io::Error::other("it has no address"));
    }
    Ok(take_turns(found).into_iter().map(Endpoint::Tcp).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::engine::acknowledgement::Acknowledgement;
    use crate::engine::listener::Listener;
    use crate::engine::rows::RowRequest;
    use crate::engine::shared::ListenReport;

    struct Woken(Mutex<Sender<ConnId>>);

    impl EngineControl for Woken {
        fn drain(&self, _deadline: Instant) {}
        fn wake(&self, conn: ConnId) {
            self.0.lock().send(conn).unwrap();
        }
        fn wake_all(&self) {}
        fn ask(&self, _now: Instant) {}
        fn list(&self, _worker: usize, _request: RowRequest) {}
        fn unlisten(&self, _stopped: Acknowledgement) {}
        fn listen(&self, _listeners: Vec<Listener>, _report: ListenReport) {}
        fn heartbeat(&self, _turned: &Acknowledgement) {}
    }

    #[test]
    fn all_that_wait_are_woken_and_a_name_is_looked_up_anew_after_a_second() {
        let (send, woken) = channel();
        let control: Arc<dyn EngineControl> = Arc::new(Woken(Mutex::new(send)));
        let waker = Arc::new(ClientWaker(OnceLock::new()));
        waker.reach(&control);
        let resolver = Arc::new(Resolver::new(Address::tcp("localhost", "1").unwrap()));
        let lookup = |now, client| resolver.lookup(now, ConnId(client), &waker);
        // A look-up is under way.
        resolver.state.lock().waiting = vec![ConnId(1)];
        let start = Instant::now();
        assert!([2, 3, 2].into_iter().all(|client| matches!(lookup(start, client), Lookup::Waiting)));
        let address = Endpoint::Tcp(([127, 0, 0, 1], 7).into());
        resolver.finish(Ok(vec![address.clone()]), &waker);
        assert_eq!(woken.try_iter().collect::<Vec<_>>(), [1, 2, 3].map(ConnId));
        let found = resolver.state.lock().found.as_ref().unwrap().0;
        for fresh in [start, found, found + FRESH - Duration::from_nanos(1)] {
            assert!(matches!(lookup(fresh, 4), Lookup::Found(addresses) if addresses == [address.clone()]));
        }
        assert!(matches!(lookup(found + FRESH, 5), Lookup::Waiting));
        assert_eq!(woken.recv().unwrap(), ConnId(5));
    }
}
