//! [`Relay`]: connections to a listener continue as connections to a target.
//!
//! A relay is a server whose workers also dial. Each accepted connection and the one that was
//! dialled for it are two `Conn`s on one worker, and a [`Pair`](pair::Pair) between their services
//! carries the bytes and the end of each direction.

mod context;
mod faulted;
mod pair;
mod plan;
mod report;
mod resolver;
mod side;
mod table;
mod target;

use std::sync::{Arc, OnceLock};

use resound_faults::Role;
use resound_proto::{ConnInfo, Endpoint};

use self::context::RelayObserver;
use self::plan::RelayPlan;
pub use self::report::{DirectionReport, RelayEnd, RelayEvent, RelayReport};
use self::resolver::ClientWaker;
pub use self::table::{OpenPair, RelayConnections};
pub use self::target::RelayTarget;
use self::target::Route;
use super::address::{Address, Family};
use super::faults::LiveFaults;
use super::handle::Handle;
use super::listener::Listener;
use super::server::Server;
use super::shared::{ConnectionOrigin, HandshakeFactory};
use crate::error::Error;
use crate::metrics::Totals;

/// A relay, and where each of its listeners leads. [`Relay::start`] starts it.
///
/// It is transparent. Each direction ends by itself and in its own way: a FIN of one end is a FIN
/// for the other, which may go on sending; a reset is a reset, and comes after all bytes that came
/// before it. No byte changes. An end that takes nothing stops the other end, in that direction
/// only, after about 128 KiB (up to 256 KiB after a burst). Urgent bytes (RFC 6093) are passed on
/// as part of the stream.
///
/// A client whose target refuses, or does not answer in time, is reset.
///
/// ```
/// use std::io::{Read, Write};
/// use resound::relay::{Relay, RelayTarget};
/// use resound::{Reply, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::new().listen("127.0.0.1:0")?.serve(|_| Reply::default())?;
/// let target = RelayTarget::new(server.addresses()[0].to_string().parse()?)?;
/// let relay = Relay::new(Server::new()).map("127.0.0.1:0", target)?.start()?;
///
/// let mut client = std::net::TcpStream::connect(relay.addresses()[0].to_string())?;
/// client.write_all(b"Hello\n")?;
/// client.shutdown(std::net::Shutdown::Write)?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "Server received: Hello\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "a relay begins once `start` is called"]
pub struct Relay {
    server: Server,
    routes: Vec<Route>,
    observer: Box<RelayObserver>,
    faults: LiveFaults,
    table: Option<RelayConnections>,
}

impl Relay {
    /// A relay with the settings of a server: its engine (any but threads), its workers, the limits
    /// of each connection, which clients may connect, and the handshake with them.
    ///
    /// [`Limits::idle_timeout`](crate::Limits::idle_timeout) is of a pair: without a byte in either
    /// direction for this long, both of its connections are reset.
    /// [`Limits::high_water`](crate::Limits::high_water) has no meaning here. Listeners of the
    /// settings are dropped: each listener of a relay has a target ([`Relay::map`]). So are the
    /// faults of the settings: [`Relay::with_faults`] has those of a relay.
    pub fn new(settings: Server) -> Self {
        let mut server = settings;
        server.take_listeners();
        server.take_faults();
        let (observer, faults) = (Box::new(|_: &RelayEvent<'_>| {}), LiveFaults::of_relay());
        Self { server, routes: Vec::new(), observer, faults, table: None }
    }

    /// Listens on an address, and relays its connections to `target`. Can be called several times.
    ///
    /// # Errors
    /// As [`Listener::bind`], and [`Error::Address`] for an invalid address.
    pub fn map(self, listen: &str, target: RelayTarget) -> Result<Self, Error> {
        let listeners = Listener::bind(&listen.parse::<Address>()?, Family::Any)?;
        Ok(self.map_listeners(listeners, target))
    }

    /// Relays the connections of listeners that are bound already to `target`.
    pub fn map_listeners(mut self, listeners: Vec<Listener>, target: RelayTarget) -> Self {
        let from: Vec<Endpoint> = listeners.iter().map(|listener| listener.address().clone()).collect();
        self.server = listeners.into_iter().fold(self.server, Server::listener);
        self.routes.push(Route { from, target });
        self
    }

    /// Sets what observes the pairs: it is called on the worker's thread and must not block.
    pub fn observe(mut self, observer: impl Fn(&RelayEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Takes the faults from a value that exists already.
    pub fn with_faults(mut self, faults: &LiveFaults) -> Self {
        self.faults = faults.clone();
        self
    }

    /// Keeps a table of the pairs that are open. Without this call none is kept.
    pub fn track(mut self, table: &RelayConnections) -> Self {
        self.table = Some(table.clone());
        self
    }

    /// The faults of this relay, to set them before it starts and while it runs. At first there
    /// are none.
    #[must_use]
    pub fn faults(&self) -> LiveFaults {
        self.faults.clone()
    }

    /// Starts to relay, on threads of its own.
    ///
    /// A [`Handle::drain`] accepts no further client and lets each pair go on until its ends have
    /// finished; the rest is reset at the deadline.
    ///
    /// # Errors
    /// As [`Server::serve`], with [`Error::NoListener`] where nothing is mapped, and
    /// [`Error::NoRelay`] for the threads engine.
    pub fn start(self) -> Result<Handle, Error> {
        self.check()?;
        let (server, origin, starting) = self.into_parts();
        let mut launched = server.launch(origin, false)?;
        // Before the first client comes.
        starting.started(&mut launched.handle);
        launched.start()
    }

    /// Relays until it has ended, as [`Server::run`] serves.
    ///
    /// # Errors
    /// As [`Relay::start`].
    ///
    /// # Panics
    /// As [`Server::run`].
    pub fn run<F: Future<Output = ()> + 'static>(self, supervise: impl FnOnce(Handle) -> F) -> Result<Totals, Error> {
        self.check()?;
        let (server, origin, starting) = self.into_parts();
        server.run_from(origin, move |mut handle| {
            starting.started(&mut handle);
            supervise(handle)
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.routes.is_empty() { Err(Error::NoListener) } else { self.faults.check_for(Role::Relay) }
    }

    fn into_parts(mut self) -> (Server, impl FnOnce(Option<Box<HandshakeFactory>>) -> ConnectionOrigin, StartingRelay) {
        let closed = self.server.close_listeners(&self.faults);
        let Self { server, routes, observer, faults, table } = self;
        let waker = Arc::new(ClientWaker(OnceLock::new()));
        let addresses = routes.iter().flat_map(|route| route.from.clone()).collect();
        let starting = StartingRelay { waker: Arc::clone(&waker), faults: faults.clone(), addresses };
        let (routes, observer): (Arc<[Route]>, Arc<RelayObserver>) = (routes.into(), observer.into());
        let origin = move |handshakes| ConnectionOrigin::Relay {
            workers: Box::new(move |_| {
                let _ = &closed; // as long as the relay
                let (routes, observer) = (Arc::clone(&routes), Arc::clone(&observer));
                RelayPlan::worker(routes, observer, Arc::clone(&waker), faults.clone(), table.clone())
            }),
            handshakes,
        };
        (server, origin, starting)
    }
}

/// What a relay needs once its engine has started.
struct StartingRelay {
    waker: Arc<ClientWaker>,
    faults: LiveFaults,
    addresses: Vec<Endpoint>,
}

impl StartingRelay {
    fn started(self, handle: &mut Handle) {
        self.waker.reach(&handle.control);
        self.faults.run(&handle.shared);
        handle.addresses = self.addresses;
    }
}

/// The addresses that a PROXY header names for a relayed connection: the client, and where it
/// connected to.
#[must_use]
pub fn client_addresses(client: &ConnInfo) -> crate::proxy::Addresses {
    match client.is_local() {
        true => crate::proxy::Addresses::Local,
        false => crate::proxy::Addresses::of(&client.peer, &client.local),
    }
}
