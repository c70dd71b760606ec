//! Dialling: a name becomes addresses, the addresses race, the first to answer wins (RFC 8305).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_proto::{Endpoint, SocketReport, unmapped};
use socket2::SockRef;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::address::{Address, Family};
use super::address_race::{AddressRace, late, take_turns, telling_class};
use super::call_observer::{CallObserver, CallWatch, StreamCall};
use super::stream::Stream;
use super::{connect, interface};
use crate::error::{Attempt, DialError, Error, FailureClass, plain};

/// How to dial.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// Which addresses of a name are used.
    pub family: Family,
    /// How long the resolver, and then each address, may take.
    pub timeout: Duration,
    /// The end of the whole dial: no answer by then is a timeout.
    pub deadline: Option<Instant>,
    /// The address of this machine to connect from; only addresses of its family are dialled.
    /// `None` leaves it to the routing table.
    pub source_address: Option<IpAddr>,
    /// The interface of a link-local source address: its number, or 0 for the target's.
    pub source_interface: u32,
    /// The port to connect from. `None` lets the system choose one.
    pub source_port: Option<u16>,
    /// The largest TCP segment, in bytes, that this end sends, and announces to take (tcp(7),
    /// `TCP_MAXSEG`), on Unix. `None` leaves it to the system, which has limits of its own: 88 to
    /// 32,767 on Linux.
    pub max_segment: Option<u16>,
    /// The room for bytes that have arrived and were not read, in bytes (socket(7), `SO_RCVBUF`;
    /// Linux takes twice as many). It limits the window from the beginning on. `None` leaves it to
    /// the system, which adapts it.
    pub receive_buffer: Option<u32>,
    /// The traffic class of what this end sends, from the SYN on: the code point of differentiated
    /// services in its upper six bits (RFC 2474; ip(7), `IP_TOS`; ipv6(7), `IPV6_TCLASS`), on Unix.
    /// `None` leaves it to the system.
    pub traffic_class: Option<u8>,
}

impl Default for DialOptions {
    /// Both families, 10 s, from wherever the system chooses.
    fn default() -> Self {
        Self {
            family: Family::Any,
            timeout: Duration::from_secs(10),
            deadline: None,
            source_address: None,
            source_interface: 0,
            source_port: None,
            max_segment: None,
            receive_buffer: None,
            traffic_class: None,
        }
    }
}

impl DialOptions {
    fn admits(&self, address: &SocketAddr) -> bool {
        self.family.admits(address) && self.source_address.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }

    /// The error text for a host without an admitted address.
    fn none_admitted(&self) -> &'static str {
        match (self.family, self.source_address) {
            (Family::V4, Some(IpAddr::V6(_))) | (Family::V6, Some(IpAddr::V4(_))) => {
                "the source address is not of the wanted family"
            }
            (Family::V4, _) => "it has no IPv4 address",
            (Family::V6, _) => "it has no IPv6 address",
            (Family::Any, Some(IpAddr::V4(_))) => "it has no IPv4 address for the IPv4 source address",
            (Family::Any, _) => "it has no IPv6 address for the IPv6 source address",
        }
    }

    /// IPv4 as IPv4, however it was written.
    fn canonical(self) -> Self {
        Self { source_address: self.source_address.map(|source| source.to_canonical()), ..self }
    }

    /// Removes link-local addresses without an interface, such as a name may have, and addresses
    /// that a source without an interface cannot reach. Returns the error where none is left.
    fn incomplete(&self, addresses: &mut Vec<SocketAddr>) -> Option<Error> {
        let mut error = None;
        addresses.retain(|address| {
            let scope = |address: &SocketAddr| match address {
                SocketAddr::V6(v6) => v6.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            let target = interface::check_ip(address.ip(), scope(address));
            let interface = if self.source_interface != 0 { self.source_interface } else { scope(address) };
            let source = self.source_address.map_or(Ok(()), |source| interface::check_ip(source, interface));
            target.and(source).map_err(|wrong| error = Some(wrong)).is_ok()
        });
        error.filter(|_| addresses.is_empty())
    }

    /// The source address of a connection to `target`, where the caller wants a certain one.
    fn source(&self, target: SocketAddr) -> Option<SocketAddr> {
        if self.source_address.is_none() && self.source_port.is_none() {
            return None;
        }
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let mut source = SocketAddr::new(self.source_address.unwrap_or(any), self.source_port.unwrap_or(0));
        // A link-local address needs an interface; without one of its own it gets the target's.
        if let (SocketAddr::V6(source), SocketAddr::V6(target)) = (&mut source, target) {
            let is_link_local = source.ip().is_unicast_link_local() && self.source_interface != 0;
            source.set_scope_id(if is_link_local { self.source_interface } else { target.scope_id() });
        }
        Some(source)
    }

    /// The addresses of a host, in the order of their turns.
    async fn resolve(
        &self,
        address: &Address,
        host: &str,
        port: u16,
        watch: &CallWatch,
    ) -> Result<Vec<Endpoint>, (io::Error, Option<FailureClass>)> {
        // Not the network's failure but the caller's choice.
        let unfit = |error: Error| (io::Error::new(io::ErrorKind::InvalidInput, error), None);
        address.check_interface().map_err(unfit)?;
        let dns = |error| (error, Some(FailureClass::Dns));
        let start = Instant::now();
        let found = self.in_time(tokio::net::lookup_host((host, port))).await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer in time");
        let found = found.ok_or_else(late).flatten().map_err(dns)?;
        let mut addresses: Vec<_> = found.map(unmapped).collect();
        if addresses.is_empty() {
            return Err(dns(io::Error::other("it has no address")));
        }
        addresses.retain(|address| self.admits(address));
        if addresses.is_empty() {
            return Err((io::Error::other(self.none_admitted()), None));
        }
        self.incomplete(&mut addresses).map_or(Ok(()), |error| Err(unfit(error)))?;
        let addresses = take_turns(addresses);
        if host.parse::<IpAddr>().is_err() {
            let (addresses, took) = (&addresses[..], start.elapsed());
            watch.show(|| StreamCall::Resolved { host, addresses, took }, SocketReport::default);
        }
        Ok(addresses.into_iter().map(Endpoint::Tcp).collect())
    }

    /// The result of `work`, if it comes within the timeout and before the deadline.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline.into(), timeout(self.timeout, work)).await.ok()?.ok(),
            None => timeout(self.timeout, work).await.ok(),
        }
    }

    /// What counts from the SYN on.
    fn set_early(&self, socket: &SockRef<'_>, target: SocketAddr) -> io::Result<()> {
        #[cfg(unix)]
        if let Some(most) = self.max_segment {
            socket.set_tcp_mss(most.into()).map_err(|error| {
                io::Error::new(error.kind(), format!("segments of {most} bytes: {}", plain(&error)))
            })?;
        }
        #[cfg(unix)]
        if let Some(class) = self.traffic_class {
            let class = class.into();
            if target.is_ipv4() { socket.set_tos_v4(class) } else { socket.set_tclass_v6(class) }?;
        }
        #[cfg(not(unix))]
        let _ = target;
        self.receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes as usize))
    }

    /// Sets up a new socket for a connection to `target`, and binds it if that is wanted.
    fn prepare(&self, socket: &SockRef<'_>, target: SocketAddr) -> io::Result<()> {
        self.set_early(socket, target)?;
        let Some(source) = self.source(target) else { return Ok(()) };
        // A port that was named may still be in TIME_WAIT from the last time, and two addresses of
        // a name may race from it. On Windows the option would let us take it from another program.
        #[cfg(unix)]
        socket.set_reuse_address(self.source_port.is_some())?;
        socket.bind(&source.into()).map_err(|error| {
            // For a target this kind means that it is unreachable; for a source, that the choice
            // was wrong.
            let kind = match error.kind() {
                io::ErrorKind::AddrNotAvailable => io::ErrorKind::InvalidInput,
                kind => kind,
            };
            io::Error::new(kind, format!("cannot connect from {source}: {}", plain(&error)))
        })
    }

    async fn connect(&self, target: &Endpoint, watch: &CallWatch) -> io::Result<Stream> {
        let target = match target {
            Endpoint::Tcp(target) => *target,
            #[cfg(unix)]
            Endpoint::Unix(Some(path)) => {
                let connected = connect::connect_unix(target, path, watch).await?;
                return Ok(Stream::unix(connected, watch.clone()));
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let stream = connect::connect(target, |socket| self.prepare(socket, target), watch).await?;
        // Small messages are not to wait for acknowledgements. A connection that fails here fails
        // again on first use.
        let _ = stream.set_nodelay(true);
        Ok(Stream::tcp(stream, watch.clone()))
    }
}

/// Connects to `address`, within a tokio runtime that has I/O and time enabled. Several addresses
/// of one name are tried in the resolver's order with the families taking turns, each with a head
/// start over the next; the first that answers is taken, the others are given up.
///
/// # Errors
/// [`DialError`] with every attempt, where none succeeded.
pub async fn dial(address: &Address, how: DialOptions) -> Result<Stream, DialError> {
    dial_watched(address, how, &CallWatch::default()).await
}

/// As [`dial`], under the eyes of an observer: it sees each call of the dial, and then those on the
/// socket of the stream. On Linux it also learns of the ICMP messages that end an attempt.
///
/// # Errors
/// As of [`dial`].
pub async fn dial_observed(
    address: &Address,
    how: DialOptions,
    observer: Arc<dyn CallObserver>,
) -> Result<Stream, DialError> {
    dial_watched(address, how, &CallWatch::of(observer)).await
}

async fn dial_watched(address: &Address, how: DialOptions, watch: &CallWatch) -> Result<Stream, DialError> {
    let failed = |attempts: Vec<Attempt>, before: Option<io::Error>, class| DialError {
        target: address.to_string(),
        class,
        attempts,
        before,
    };
    let how = how.canonical();
    let found = match address {
        Address::Tcp { host, port } => how.resolve(address, host, *port, watch).await,
        #[cfg(unix)]
        Address::Unix(path) => Ok(vec![Endpoint::Unix(Some(path.as_path().into()))]),
        #[cfg(not(unix))]
        Address::Unix(_) => Err((io::ErrorKind::Unsupported.into(), None)),
    };
    let targets = found.map_err(|(before, class)| failed(vec![], Some(before), class))?;
    race(targets, how, watch).await.map_err(|attempts| {
        let class = telling_class(&attempts);
        failed(attempts, None, class)
    })
}

async fn race(targets: Vec<Endpoint>, how: DialOptions, watch: &CallWatch) -> Result<Stream, Vec<Attempt>> {
    let mut race = AddressRace::new(Instant::now(), how.timeout);
    race.resolved(Instant::now(), targets);
    let winner = match how.deadline {
        Some(deadline) => timeout_at(deadline.into(), first(&mut race, how, watch)).await.unwrap_or_default(),
        None => first(&mut race, how, watch).await,
    };
    winner.ok_or_else(|| race.into_attempts(Instant::now()))
}

/// The first connection, or none where all attempts have failed.
async fn first(race: &mut AddressRace, how: DialOptions, watch: &CallWatch) -> Option<Stream> {
    let mut attempts = JoinSet::new();
    loop {
        while let Some(address) = race.next(Instant::now()) {
            let watch = watch.clone();
            attempts.spawn(async move {
                let connected = timeout(how.timeout, how.connect(&address, &watch)).await;
                (address, connected.unwrap_or_else(|_| Err(late())))
            });
        }
        if attempts.is_empty() {
            return None;
        }
        let ended = match race.next_at {
            Some(turn) => timeout_at(turn.into(), attempts.join_next()).await.unwrap_or_default(),
            None => attempts.join_next().await,
        };
        match ended {
            Some(Ok((_, Ok(stream)))) => return Some(stream),
            Some(Ok((address, Err(error)))) => race.failed(Instant::now(), &address, error),
            // The next address has its turn; an attempt never panics.
            Some(Err(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::engine::address_race::HEAD_START;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_source_has_the_family_and_the_link_of_its_target() {
        let [four, six] = [addresses(&["1.2.3.4:5"])[0], addresses(&["[fe80::1%7]:5"])[0]];
        let port = DialOptions { source_port: Some(99), ..DialOptions::default() };
        assert_eq!(port.source(four), Some(addresses(&["0.0.0.0:99"])[0]));
        assert_eq!(port.source(six), Some(addresses(&["[::%7]:99"])[0]));
        let own = DialOptions { source_address: Some("127.0.0.2".parse().unwrap()), ..DialOptions::default() };
        assert!(own.admits(&four) && !own.admits(&six));
        assert_eq!(own.source(four), Some(addresses(&["127.0.0.2:0"])[0]));
        assert_eq!(DialOptions::default().source(four), None);
    }

    fn targets(addresses: &[SocketAddr]) -> Vec<Endpoint> {
        addresses.iter().copied().map(Endpoint::Tcp).collect()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_refusing_address_does_not_keep_the_next_one_waiting() {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let open = listener.local_addr().unwrap();
            let stream = race(targets(&[closed, open]), DialOptions::default(), &CallWatch::default()).await.unwrap();
            assert_eq!(stream.peer(), Endpoint::Tcp(open));
        });
    }

    /// An address that never answers, as long as these sockets live: a backlog that is full drops
    /// what comes.
    #[cfg(target_os = "linux")]
    fn silent() -> (SocketAddr, Vec<socket2::Socket>) {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let silent = socket();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let address = silent.local_addr().unwrap().as_socket().unwrap();
        let filler = || {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            filler
        };
        (address, std::iter::once(silent).chain(std::iter::repeat_with(filler).take(3)).collect())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_silent_address_costs_one_head_start() {
        runtime().block_on(async {
            let (address, fillers) = silent();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let open = listener.local_addr().unwrap();
            let start = Instant::now();
            let stream = race(
                targets(&[address, open]),
                DialOptions { timeout: Duration::from_secs(30), ..DialOptions::default() },
                &CallWatch::default(),
            )
            .await
            .unwrap();
            assert_eq!(stream.peer(), Endpoint::Tcp(open));
            assert!((HEAD_START..Duration::from_secs(15)).contains(&start.elapsed()), "{:?}", start.elapsed());
            drop(fillers);
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn when_the_time_is_over_those_that_are_silent_are_named_too() {
        runtime().block_on(async {
            let (silent, _fillers) = silent();
            let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            // The third has its turn only after a head start, if this machine is not too busy for
            // that.
            let how = |limit| DialOptions { deadline: Some(Instant::now() + limit), ..DialOptions::default() };
            let attempts =
                race(targets(&[closed, silent, silent]), how(HEAD_START / 2), &CallWatch::default()).await.unwrap_err();
            let named: Vec<_> = attempts.iter().map(|attempt| attempt.address.clone()).collect();
            assert_eq!(named[..2], [closed.to_string(), silent.to_string()]);
            let classes: Vec<_> = attempts.iter().map(|attempt| FailureClass::of(&attempt.error)).collect();
            assert_eq!(classes[..2], [Some(FailureClass::Refused), Some(FailureClass::Timeout)]);
            assert_eq!(telling_class(&attempts), Some(FailureClass::Refused));
            let address = Address::parse(&silent.to_string(), 0).unwrap();
            let error = dial(&address, how(Duration::from_millis(1))).await.unwrap_err();
            assert_eq!((error.class, error.attempts.len()), (Some(FailureClass::Timeout), 1));
        });
    }

    #[test]
    fn when_all_fail_each_is_named() {
        runtime().block_on(async {
            let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let attempts =
                race(targets(&[closed, closed]), DialOptions::default(), &CallWatch::default()).await.unwrap_err();
            assert_eq!(attempts.len(), 2);
            assert_eq!(telling_class(&attempts), Some(FailureClass::Refused));
        });
    }
}
