//! [`Relayed`]: a far end, and a relay with faults before it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use resound::faults::FaultSpec;
use resound::relay::{Relay, RelayTarget};
use resound::{Endpoint, Engine, Handle, Reply, Server};
use resound_probe::{FarEnd, Sessions};
use resound_verdict::{Path, PathReport};

pub(crate) struct Relayed {
    far: Handle,
    relay: Option<Handle>,
}

pub(crate) fn settings() -> Server {
    Server::new().engine(Engine::Portable).workers(NonZeroUsize::MIN)
}

impl Relayed {
    pub(crate) fn direct(far: Server, idle_timeout: Option<Duration>) -> Self {
        let sessions = Sessions::new(idle_timeout);
        let far = far.serve(move |_| FarEnd::new(Reply::default(), sessions.clone())).unwrap();
        Self { far, relay: None }
    }

    /// A far end that does not cooperate.
    pub(crate) fn without_probe() -> Self {
        let far = settings().listen("127.0.0.1:0").unwrap().serve(|_| Reply::default()).unwrap();
        Self { far, relay: None }
    }

    pub(crate) fn through(faults: &str) -> Self {
        Self::direct(settings().listen("127.0.0.1:0").unwrap(), None).behind_relay(faults)
    }

    pub(crate) fn behind_relay(mut self, faults: &str) -> Self {
        let target = RelayTarget::new(self.far.addresses()[0].to_string().parse().unwrap()).unwrap();
        let relay = Relay::new(settings()).map("127.0.0.1:0", target).unwrap();
        if !faults.is_empty() {
            relay.faults().set(faults.parse::<FaultSpec>().unwrap(), 7).unwrap();
        }
        self.relay = Some(relay.start().unwrap());
        self
    }

    /// Of the far end itself.
    pub(crate) fn address(&self) -> SocketAddr {
        let Endpoint::Tcp(address) = self.far.addresses()[0] else { panic!("TCP was asked for") };
        address
    }

    /// A busy machine may need the patience; a fault costs it.
    pub(crate) fn path(&self, patience: Duration) -> Path {
        let near = self.relay.as_ref().unwrap_or(&self.far);
        Path::to(near.addresses()[0].to_string().parse().unwrap()).seed(7).patience(patience)
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        for handle in self.relay.iter().chain([&self.far]) {
            handle.stop();
            handle.wait();
        }
    }
}

pub(crate) fn check(path: &Path) -> PathReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(path.check()).remove(0)
}
