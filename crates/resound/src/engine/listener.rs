//! [`Listener`]: bound, listening, not yet served.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use resound_proto::{Endpoint, Limits, unmapped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::address::{Address, Family};
use super::call_observer::CallWatch;
use super::connection_limit::ConnectionPermit;
use super::interface;
#[cfg(unix)]
use super::path_owner::{OWNER_PATIENCE, PathOwner};
use super::socket::{endpoint, set_tcp_options};
use super::stream::Stream;
#[cfg(unix)]
use crate::error::InheritedProblem;
use crate::error::{Error, FailureClass};

/// Connections that the system completes for us before we accept them; it may cap the number
/// (`net.core.somaxconn`).
pub(crate) const BACKLOG: i32 = 4096;
/// A predecessor that is just exiting lets go of its port late; wait this long for it.
const RESTART_PATIENCE: Duration = Duration::from_millis(300);
const RESTART_RETRY: Duration = Duration::from_millis(20);

/// A listening socket. Clients that connect wait in its backlog until a [`Server`](crate::Server)
/// serves it.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<Socket>,
    address: Endpoint,
    /// Among the listeners of a server.
    pub(super) number: u16,
    /// Another process has passed it on.
    is_inherited: bool,
    file: Option<Arc<SocketFile>>,
}

impl Listener {
    /// Listens on every address that `address` stands for: a numeric address, or all addresses of a
    /// name. With port 0 the system chooses a port, and the other addresses of the same name get
    /// the same one. `::` takes IPv4 as well, unless `family` excludes it.
    ///
    /// Resolves names, and may block for as long as the resolver does.
    ///
    /// # Errors
    /// [`Error::UnknownHost`], and what [`Error`] has for an address that cannot be listened on. A
    /// name's addresses of other machines are skipped, as long as one of this machine is left.
    pub fn bind(address: &Address, family: Family) -> Result<Vec<Self>, Error> {
        match address {
            Address::Tcp { host, port } => Self::bind_tcp(host, *port, family),
            #[cfg(unix)]
            Address::Unix(path) => Ok(vec![Self::bind_unix(path, None)?]),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Error::listen(address, io::ErrorKind::Unsupported.into())),
        }
    }

    fn bind_tcp(host: &str, port: u16, family: Family) -> Result<Vec<Self>, Error> {
        interface::check(host)?;
        let unknown = |source| Error::UnknownHost { host: host.into(), source };
        let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(unknown)?.map(unmapped).collect();
        addresses.retain(|address| family.admits(address));
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() {
            return Err(unknown(io::Error::other("it has no address of the wanted family")));
        }
        let mut listeners: Vec<Self> = Vec::new();
        let mut failure = None;
        for mut address in addresses {
            if let Some(Endpoint::Tcp(first)) = listeners.first().map(Self::address) {
                address.set_port(first.port());
            }
            match with_patience(|| listen_tcp(address, family)) {
                Ok(socket) => listeners.push(Self::of(socket, None).map_err(|e| Error::listen(address, e))?),
                Err(error) => match Error::listen(address, error) {
                    passed @ Error::NotLocal { .. } => failure = Some(passed),
                    error => return Err(error),
                },
            }
        }
        match failure {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(listeners),
        }
    }

    /// Listens on a unix socket whose file gets this mode, such as 0o660: write permission is the
    /// right to connect (unix(7)). Without a mode the umask decides.
    ///
    /// # Errors
    /// What [`Error`] has for a path that cannot be listened on.
    #[cfg(unix)]
    pub fn bind_unix(path: &std::path::Path, mode: Option<u32>) -> Result<Self, Error> {
        let failed = |error| Error::listen(format_args!("unix:{}", path.display()), error);
        let listen = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            let name = socket2::SockAddr::unix(path)?;
            bind_path(&socket, path, &name)?;
            if let Some(mode) = mode {
                // Before it listens: until then no client can connect, whatever the umask permits.
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            }
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        let socket = listen().map_err(failed)?;
        let file = SocketFile::of(path).map_err(failed)?;
        Self::of(socket, Some(file)).map_err(failed)
    }

    fn of(socket: Socket, file: Option<SocketFile>) -> io::Result<Self> {
        let address = endpoint(&socket.local_addr()?);
        Ok(Self { socket: Arc::new(socket), address, number: 0, is_inherited: false, file: file.map(Arc::new) })
    }

    /// The listening socket that the program which has started this one has passed on as this
    /// descriptor (sd_listen_fds(3)). The file of a unix socket stays, unless
    /// [`Listener::own_file`] is called.
    ///
    /// # Errors
    /// [`Error::Inherited`] where the descriptor was not passed on, or is no stream socket that
    /// listens.
    #[cfg(unix)]
    pub fn inherited(descriptor: i32) -> Result<Self, Error> {
        let failed = |problem| Error::Inherited { descriptor, problem };
        let socket = Socket::from(
            super::inherited::inherited_descriptor(descriptor).map_err(|e| failed(InheritedProblem::Closed(e)))?,
        );
        let address = match socket.local_addr() {
            Ok(address) => endpoint(&address),
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
                return Err(failed(InheritedProblem::NoSocket));
            }
            Err(error) => return Err(failed(InheritedProblem::Closed(error))),
        };
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !is_stream || !matches!(address, Endpoint::Tcp(_) | Endpoint::Unix(_)) {
            return Err(failed(InheritedProblem::NoStream));
        }
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        if !socket.is_listener().unwrap_or(true) {
            return Err(failed(InheritedProblem::NotListening));
        }
        // A name of Linux's own (unix(7), abstract) tells this listener from no other.
        if address == Endpoint::Unix(None) {
            return Err(failed(InheritedProblem::NoStream));
        }
        Ok(Self { socket: Arc::new(socket), address, number: 0, is_inherited: true, file: None })
    }

    /// Another owner of the same socket. It listens until the last owner is dropped.
    #[must_use]
    pub fn share(&self) -> Self {
        let (socket, address, file) = (Arc::clone(&self.socket), self.address.clone(), self.file.clone());
        Self { socket, address, number: self.number, is_inherited: self.is_inherited, file }
    }

    /// The file of this unix socket, if it is removed with the last owner in this process.
    #[must_use]
    pub fn owned_file(&self) -> Option<&std::path::Path> {
        #[cfg(unix)]
        return self.file.as_ref().filter(|file| file.is_owned.load(Relaxed)).map(|file| file.path.as_path());
        #[cfg(not(unix))]
        None
    }

    /// Removes the file at this path with the last owner of the socket, unless another file has
    /// taken its place.
    ///
    /// # Errors
    /// The error of the system, for a path without a file.
    #[cfg(unix)]
    pub fn own_file(&mut self, path: &std::path::Path) -> io::Result<()> {
        self.file = Some(Arc::new(SocketFile::of(path)?));
        Ok(())
    }

    /// Leaves the file of a unix socket to another process, which serves the same socket.
    pub fn leave_file(&self) {
        #[cfg(unix)]
        if let Some(file) = &self.file {
            file.is_owned.store(false, Relaxed);
        }
    }

    /// Its connections are counted as those of the server's listener with this number.
    pub(super) fn count_as(&mut self, number: usize) {
        self.number = u16::try_from(number).unwrap_or(u16::MAX).min(ConnectionPermit::DIALLED - 1);
    }

    /// Whether another process has passed it on, and may go on listening.
    pub(super) fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// Where it listens: of port 0, the port that was chosen.
    #[must_use]
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Waits for one connection on any of `listeners`, and stops listening: later clients are
    /// refused.
    ///
    /// Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::Listen`] where the system cannot accept: no descriptor is left, for one.
    pub async fn accept_one(listeners: Vec<Self>) -> Result<Stream, Error> {
        let waiting = listeners.iter().map(AsyncListener::of).collect::<Result<Vec<_>, _>>()?;
        std::future::poll_fn(|cx| {
            for (accepting, listener) in waiting.iter().zip(&listeners) {
                loop {
                    match accepting.poll_accept(cx) {
                        Poll::Pending => break,
                        Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                        // A connection that was gone before it was accepted does not concern the
                        // next.
                        Poll::Ready(Err(error)) if FailureClass::of(&error).is_some() => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::listen(&listener.address, error))),
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Lets the system keep the SYN of each connection from now on, until a report has it
    /// ([`SocketReport::syn`](crate::SocketReport::syn)) or the connection ends: some hundred
    /// bytes each. Does nothing on a unix socket, and on systems other than Linux.
    ///
    /// # Errors
    /// The error of the system.
    pub fn save_syns(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if matches!(self.address, Endpoint::Tcp(_)) {
            return super::sys::save_syns(&SockRef::from(&self.socket));
        }
        Ok(())
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Blocks until a connection may be waiting, or `time` is over.
    pub(crate) fn wait(&self, time: Duration) {
        let time = Timespec::try_from(time).ok();
        // An interruption is as good as a timeout: the caller looks again.
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], time.as_ref());
    }

    /// Sets the congestion control, which accepted connections inherit.
    pub(crate) fn set_congestion(&self, algorithm: &str) -> Result<(), Error> {
        if !matches!(self.address, Endpoint::Tcp(_)) {
            return Ok(());
        }
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        let set = self.socket.set_tcp_congestion(algorithm.as_bytes());
        #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
        let set = Err(io::ErrorKind::Unsupported.into());
        set.map_err(|source| Error::Congestion { algorithm: algorithm.into(), source })
    }

    /// Refuses clients from now on, and keeps the address. The list is empty: no backlog is filled.
    pub(crate) fn refuse(&self) -> Vec<std::net::TcpStream> {
        // On Linux this ends the listening and not the binding (listen(2) could begin it again).
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        Vec::new()
    }

    /// Leaves no room in the backlog: the system answers no further client. Returns what fills it.
    pub(crate) fn fill_backlog(&self) -> Vec<std::net::TcpStream> {
        let Endpoint::Tcp(mut address) = self.address else { return Vec::new() };
        if address.ip().is_unspecified() {
            let any = address.is_ipv4();
            address.set_ip(if any { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let _ = self.socket.listen(0);
        // One more than its length fits; a filler that finds no room is of no use.
        let patience = Duration::from_millis(50);
        std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, patience).ok())
            .take(BACKLOG as usize)
            .collect()
    }

    /// Makes urgent bytes part of the stream, which accepted connections inherit on Linux (tcp(7),
    /// `SO_OOBINLINE`).
    pub(crate) fn read_urgent_inline(&self) -> Result<(), Error> {
        let set = self.socket.set_out_of_band_inline(true);
        set.map_err(|error| Error::listen(&self.address, error))
    }

    /// Sets what accepted connections inherit.
    pub(crate) fn prepare(&self, limits: &Limits) -> Result<(), Error> {
        match self.address {
            Endpoint::Tcp(address) => {
                set_tcp_options(&SockRef::from(&self.socket), limits).map_err(|e| Error::listen(address, e))
            }
            _ => Ok(()),
        }
    }
}

/// A listener registered with tokio.
enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl AsyncListener {
    fn of(listener: &Listener) -> Result<Self, Error> {
        let register = || -> io::Result<Self> {
            let socket = listener.socket.try_clone()?;
            socket.set_nonblocking(true)?;
            Ok(match listener.address {
                #[cfg(unix)]
                Endpoint::Unix(_) => Self::Unix(tokio::net::UnixListener::from_std(socket.into())?),
                _ => Self::Tcp(tokio::net::TcpListener::from_std(socket.into())?),
            })
        };
        register().map_err(|error| Error::listen(&listener.address, error))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                // Systems differ in what an accepted socket inherits. One that fails here fails
                // again on first use.
                let _ = stream.set_nodelay(true);
                Ok(Stream::tcp(stream, CallWatch::default()))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok(Stream::unix(ready!(listener.poll_accept(cx))?.0, CallWatch::default())),
        })
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn listen_tcp(address: SocketAddr, family: Family) -> io::Result<Socket> {
    // Systems let a socket listen there, and no connection ever comes (RFC 9293, 3.9.2.3).
    if address.ip().is_multicast() || address.ip() == Ipv4Addr::BROADCAST {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Unix this allows a restart beside connections in TIME_WAIT; on Windows it would let
    // another process steal the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(family == Family::V6 || !address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    // Before the first client can connect, since it inherits them; `prepare` adapts them to the
    // server's limits.
    set_tcp_options(&SockRef::from(&socket), &Limits::default())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn with_patience(listen: impl Fn() -> io::Result<Socket>) -> io::Result<Socket> {
    let until = Instant::now() + RESTART_PATIENCE;
    loop {
        match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(RESTART_RETRY);
            }
            result => return result,
        }
    }
}

/// Binds to a path, and replaces a socket that nothing listens on any more.
#[cfg(unix)]
fn bind_path(socket: &Socket, path: &std::path::Path, name: &socket2::SockAddr) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let until = Instant::now() + OWNER_PATIENCE;
    let is_other = || std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket());
    loop {
        match socket.bind(name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_other() => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match PathOwner::of(path, name) {
                PathOwner::Nothing => std::fs::remove_file(path)?,
                PathOwner::Ending if Instant::now() < until => std::thread::sleep(RESTART_RETRY),
                PathOwner::Ending | PathOwner::Taken => return Err(error),
            },
            bound => return bound,
        }
    }
}

/// The file of a unix socket. It is removed with its listener, unless another file has taken its
/// place.
#[derive(Debug)]
struct SocketFile {
    #[cfg(unix)]
    path: std::path::PathBuf,
    #[cfg(unix)]
    identity: (u64, u64),
    #[cfg(unix)]
    is_owned: AtomicBool,
}

#[cfg(unix)]
impl SocketFile {
    fn of(path: &std::path::Path) -> io::Result<Self> {
        // The working directory may change until the file is removed.
        let path = std::path::absolute(path)?;
        Ok(Self { identity: Self::identity(&path)?, path, is_owned: AtomicBool::new(true) })
    }

    fn identity(path: &std::path::Path) -> io::Result<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.is_owned.get_mut() && Self::identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_connects_before_the_server_serves_gets_the_same_socket_options() {
        let listener = Listener::bind(&Address::tcp("127.0.0.1", "0").unwrap(), Family::Any).unwrap().remove(0);
        let Endpoint::Tcp(address) = *listener.address() else { panic!("TCP was asked for") };
        let _early = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.socket().accept().unwrap();
        if cfg!(target_os = "linux") {
            assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        }
    }
}
