//! Connects one socket. It stays at hand until it is known why no connection was made, for a
//! [`CallObserver`](super::CallObserver).

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::time::Instant;

use resound_proto::Endpoint;
#[cfg(unix)]
use resound_proto::SocketReport;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::call_observer::{CallWatch, IcmpError, StreamCall};
use super::socket::{connect_result, endpoint};
use super::socket_report::plain_report;

/// Connects a socket that `prepare` has bound and set up.
pub(super) async fn connect(
    target: SocketAddr,
    prepare: impl FnOnce(&SockRef<'_>) -> io::Result<()>,
    watch: &CallWatch,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    prepare(&SockRef::from(&socket))?;
    #[cfg(target_os = "linux")]
    if watch.is_on() {
        super::error_queue::keep(&socket, target.is_ipv4(), true);
    }
    let to = Endpoint::from(target);
    watch.show(|| StreamCall::Connecting { target: &to }, || plain_report(&SockRef::from(&socket)));
    let start = Instant::now();
    let called = socket.connect(&target.into()).or_else(|error| match is_under_way(&error) {
        true => Ok(()),
        false => Err(error),
    });
    if let Err(error) = called {
        let call = || StreamCall::NotConnected { target: &to, error: Some(&error), icmp: None, took: start.elapsed() };
        watch.show(call, || plain_report(&SockRef::from(&socket)));
        return Err(error);
    }
    let stream = TcpStream::from_std(socket.into())?;
    let mut attempt = ConnectAttempt { stream: Some(stream), target, to, start, watch: watch.clone() };
    attempt.decided().await?;
    attempt.stream.take().ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Connects to the unix socket at `path`, which `target` names too.
#[cfg(unix)]
pub(super) async fn connect_unix(target: &Endpoint, path: &Path, watch: &CallWatch) -> io::Result<UnixStream> {
    watch.show(|| StreamCall::Connecting { target }, SocketReport::default);
    let start = Instant::now();
    let connected = UnixStream::connect(path).await;
    let (took, local) = (start.elapsed(), Endpoint::Unix(None));
    let call = || match &connected {
        Ok(_) => StreamCall::Connected { target, local: &local, took },
        Err(error) => StreamCall::NotConnected { target, error: Some(error), icmp: None, took },
    };
    watch.show(call, SocketReport::default);
    connected
}

/// Whether the connection is decided about later.
fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_named = error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    let is_named = false;
    is_named || error.kind() == io::ErrorKind::WouldBlock
}

/// An attempt that is under way. One that is dropped before its end was given up.
struct ConnectAttempt {
    stream: Option<TcpStream>,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has a queue of errors"))]
    target: SocketAddr,
    to: Endpoint,
    start: Instant,
    watch: CallWatch,
}

impl ConnectAttempt {
    /// Waits until the connection is made, or is known not to be.
    async fn decided(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        stream.writable().await?;
        let took = self.start.elapsed();
        let socket = SockRef::from(stream);
        let report = || plain_report(&socket);
        let Err(error) = connect_result(&socket) else {
            #[cfg(target_os = "linux")]
            if self.watch.is_on() {
                super::error_queue::keep(stream, self.target.is_ipv4(), false);
            }
            let local = socket.local_addr().map_or(Endpoint::Unknown, |address| endpoint(&address));
            self.watch.show(|| StreamCall::Connected { target: &self.to, local: &local, took }, report);
            return Ok(());
        };
        let icmp = self.icmp();
        let call = || StreamCall::NotConnected { target: &self.to, error: Some(&error), icmp, took };
        self.watch.show(call, report);
        self.stream = None;
        Err(error)
    }

    fn icmp(&self) -> Option<IcmpError> {
        #[cfg(target_os = "linux")]
        return super::error_queue::icmp(self.stream.as_ref()?, self.target.is_ipv4());
        #[cfg(not(target_os = "linux"))]
        None
    }
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            let (icmp, took) = (self.icmp(), self.start.elapsed());
            let call = || StreamCall::NotConnected { target: &self.to, error: None, icmp, took };
            self.watch.show(call, || plain_report(&SockRef::from(stream)));
        }
    }
}
