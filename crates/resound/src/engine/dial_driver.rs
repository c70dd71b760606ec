//! [`DialDriver`]: a worker's dial plan, and what every engine does for it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use resound_proto::{Conn, ConnInfo, Discard, Endpoint, Service, ServiceSource};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::accept::BACK_OFF;
use super::dial_plan::{DialPlan, DialRequest, DialTiming, NextDial};
use super::local::{RelayWorker, WorkerLocal};
use super::shared::{ConnectionOrigin, Shared};
use super::socket::{endpoint, set_tcp_options};
use crate::error::is_descriptor_shortage;

/// A worker's dial plan. A plan that panics is done.
pub(crate) struct DialDriver {
    /// On the worker of a relay.
    pub(crate) local: Option<WorkerLocal>,
    /// Shared with the connections whose services it makes later.
    plan: Rc<RefCell<Box<dyn DialPlan>>>,
    shared: Arc<Shared>,
    /// After a shortage: the time of the next dial.
    not_before: Option<Instant>,
    done: bool,
}

impl DialDriver {
    /// The plan of the worker with this number; `None` on a server.
    pub(crate) fn new(shared: &Arc<Shared>, worker: usize) -> Option<Self> {
        let (plan, local) = match &shared.origin {
            ConnectionOrigin::Accept { .. } => return None,
            ConnectionOrigin::Dial(plans) => {
                let plan = catch_unwind(AssertUnwindSafe(|| plans(worker)));
                (plan.unwrap_or_else(|_| Box::new(NoPlan)), None)
            }
            ConnectionOrigin::Relay { workers, .. } => {
                let RelayWorker { plan, factory, wakes } = workers(worker);
                (plan, Some(WorkerLocal { factory, wakes }))
            }
        };
        let plan = Rc::new(RefCell::new(plan));
        Some(Self { local, plan, shared: Arc::clone(shared), not_before: None, done: false })
    }

    /// What the plan wants next.
    pub(crate) fn next(&mut self, now: Instant) -> NextDial {
        if self.done {
            return NextDial::Done;
        }
        if let Some(at) = self.not_before.filter(|&at| now < at) {
            return NextDial::At(at);
        }
        self.not_before = None;
        let next = catch_unwind(AssertUnwindSafe(|| self.plan.borrow_mut().next(now))).unwrap_or(NextDial::Done);
        self.done = next == NextDial::Done;
        next
    }

    /// Dials no more.
    #[cfg(target_os = "linux")]
    pub(crate) fn stop(&mut self) {
        self.done = true;
    }

    /// A connection has ended, and with it perhaps a shortage.
    pub(crate) fn connection_ended(&mut self) {
        self.not_before = None;
    }

    /// Reports a failed dial to the plan.
    pub(crate) fn failed(&mut self, request: &DialRequest, error: &io::Error) {
        let now = Instant::now();
        if is_shortage(error) {
            self.not_before = Some(now + BACK_OFF);
        }
        self.done |= catch_unwind(AssertUnwindSafe(|| self.plan.borrow_mut().failed(request, error, now))).is_err();
    }

    /// The state machine of a connection that was dialled at `since`; `None` if the socket has
    /// connected to itself.
    pub(crate) fn answered(&mut self, request: &DialRequest, since: Instant, socket: &SockRef<'_>) -> Option<Conn> {
        let answered = Instant::now();
        let connect = answered.saturating_duration_since(since);
        if is_self_connect(socket, request) {
            self.failed(request, &self_connect());
            return None;
        }
        let local = socket.local_addr().map_or(Endpoint::Unknown, |address| endpoint(&address));
        Some(self.shared.conn(request.target.clone(), local, true, |info| {
            let handshake = self.plan.borrow_mut().handshake(request, info);
            if handshake.is_empty() {
                let took = DialTiming { connect, handshake: Duration::ZERO };
                return ServiceSource::Ready(self.plan.borrow_mut().answered(request, took, info));
            }
            let (plan, failed) = (Rc::clone(&self.plan), request.clone());
            let handshake = handshake.on_failure(move |why, now| plan.borrow_mut().unopened(&failed, why, now));
            let (plan, request) = (Rc::clone(&self.plan), request.clone());
            let make = move |info: &ConnInfo, now: Instant| {
                let handshake = now.saturating_duration_since(answered);
                plan.borrow_mut().answered(&request, DialTiming { connect, handshake }, info)
            };
            ServiceSource::After(handshake, Box::new(make))
        }))
    }

    /// A blocking socket to dial with, and the target.
    pub(crate) fn socket(&self, request: &DialRequest) -> io::Result<(Socket, SockAddr)> {
        let address = address(&request.target)?;
        match &request.target {
            Endpoint::Tcp(target) => {
                let socket = Socket::new(Domain::for_address(*target), Type::STREAM, Some(Protocol::TCP))?;
                if self.shared.is_relay() {
                    set_tcp_options(&SockRef::from(&socket), &self.shared.limits.get())?;
                    socket.set_out_of_band_inline(true)?;
                }
                // Small messages do not wait for acknowledgements.
                socket.set_tcp_nodelay(true)?;
                #[cfg(any(target_os = "linux", target_os = "freebsd"))]
                if let Some(algorithm) = &self.shared.congestion {
                    socket.set_tcp_congestion(algorithm.as_bytes())?;
                }
                if let Some(source) = request.source {
                    #[cfg(target_os = "linux")]
                    super::sys::bind_address_no_port(&SockRef::from(&socket))?;
                    let mut source = SocketAddr::new(source, 0);
                    // A link-local source is on the target's interface.
                    if let (SocketAddr::V6(source), SocketAddr::V6(target)) = (&mut source, target) {
                        source.set_scope_id(target.scope_id());
                    }
                    socket.bind(&source.into())?;
                }
                Ok((socket, address))
            }
            _ => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                if self.shared.is_relay() {
                    // Not each system has urgent bytes there.
                    let _ = socket.set_out_of_band_inline(true);
                }
                Ok((socket, address))
            }
        }
    }
}

/// Returns whether a socket has connected to itself. If no server listens on an ephemeral port, the
/// system may choose that very port as the source, and TCP connects the two (a simultaneous open,
/// RFC 9293, 3.5).
fn is_self_connect(socket: &SockRef<'_>, request: &DialRequest) -> bool {
    let (Endpoint::Tcp(target), Ok(local)) = (&request.target, socket.local_addr()) else { return false };
    // The target may be another name of the same address, so only the ports are compared first.
    let local = local.as_socket().filter(|local| local.port() == target.port());
    local.is_some_and(|local| socket.peer_addr().is_ok_and(|peer| peer.as_socket() == Some(local)))
}

fn self_connect() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused (TCP self-connect)")
}

/// An endpoint as a socket address.
pub(crate) fn address(target: &Endpoint) -> io::Result<SockAddr> {
    match target {
        Endpoint::Tcp(target) => Ok((*target).into()),
        #[cfg(unix)]
        Endpoint::Unix(Some(path)) => SockAddr::unix(path),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to dial")),
    }
}

/// The plan of a worker whose own plan could not be made.
struct NoPlan;

impl DialPlan for NoPlan {
    fn next(&mut self, _now: Instant) -> NextDial {
        NextDial::Done
    }

    fn answered(&mut self, _request: &DialRequest, _took: DialTiming, _conn: &ConnInfo) -> Box<dyn Service> {
        Box::new(Discard)
    }

    fn failed(&mut self, _request: &DialRequest, _error: &io::Error, _now: Instant) {}
}

/// Returns whether this machine is out of descriptors, ports or memory.
fn is_shortage(error: &io::Error) -> bool {
    let kind = error.kind();
    #[cfg(unix)]
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::NOBUFS) {
        return true;
    }
    is_descriptor_shortage(error) || matches!(kind, io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

/// The state of a connect on a non-blocking socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connecting {
    Connected,
    /// In progress. The socket is writable once it has succeeded or failed.
    Decides,
    /// The backlog of a unix socket is full: try again.
    Again,
}

/// Begins to connect. The error of one in progress is `SO_ERROR` of the socket later.
pub(crate) fn begin(socket: &Socket, target: &SockAddr) -> io::Result<Connecting> {
    match socket.connect(target) {
        Ok(()) => Ok(Connecting::Connected),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && target.is_unix() => Ok(Connecting::Again),
        Err(error) if is_in_progress(&error) => Ok(Connecting::Decides),
        Err(error) => Err(error),
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS) {
        return true;
    }
    // On Windows a connect in progress "would block"; an interrupted one goes on by itself.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The pause before another try at a full backlog.
pub(crate) const TRY_AGAIN: Duration = Duration::from_millis(1);

/// The error of a dial without an answer.
pub(crate) fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::config::EngineConfig;
    use super::super::connection_limit::ConnectionLimit;
    use super::*;

    struct RecordedFailures(Rc<RefCell<Vec<io::ErrorKind>>>);

    impl DialPlan for RecordedFailures {
        fn next(&mut self, _now: Instant) -> NextDial {
            NextDial::Done
        }

        fn answered(&mut self, _request: &DialRequest, _took: DialTiming, _conn: &ConnInfo) -> Box<dyn Service> {
            Box::new(Discard)
        }

        fn failed(&mut self, _request: &DialRequest, error: &io::Error, _now: Instant) {
            self.0.borrow_mut().push(error.kind());
        }
    }

    #[test]
    fn a_socket_that_connects_to_itself_is_refused() {
        let shared = EngineConfig::new().share(
            1,
            0,
            ConnectionLimit::new(usize::MAX, 1, None),
            ConnectionOrigin::Dial(Box::new(|_| Box::new(NoPlan))),
        );
        let failures = Rc::default();
        let mut driver = DialDriver {
            local: None,
            plan: Rc::new(RefCell::new(Box::new(RecordedFailures(Rc::clone(&failures))))),
            shared,
            not_before: None,
            done: false,
        };
        let own = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        own.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = own.local_addr().unwrap();
        own.connect(&address).expect("TCP connects a socket to itself");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (socket, target, is_answered) in [
            (SockRef::from(&own), address.as_socket().unwrap(), false),
            (SockRef::from(&other), listener.local_addr().unwrap(), true),
        ] {
            let request = DialRequest { number: 0, target: target.into(), source: None, timeout: Duration::ZERO };
            assert_eq!(driver.answered(&request, Instant::now(), &socket).is_some(), is_answered);
        }
        assert_eq!(*failures.borrow(), [io::ErrorKind::ConnectionRefused]);
    }
}
