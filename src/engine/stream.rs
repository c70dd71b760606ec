//! A connection as a byte stream of tokio's, whichever family it is of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::socket::{endpoint, reset_on_close};
use super::tcp_info::TcpInfo;
use crate::service::Endpoint;

/// A connection: a byte stream of tokio's, with TCP_NODELAY where it is TCP.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same call on whichever stream it is.
macro_rules! on_either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    /// Registers a non-blocking socket with this thread's runtime.
    pub(crate) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        match peer {
            #[cfg(unix)]
            Endpoint::Unix(_) => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    /// The far end.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        self.socket().peer_addr().map_or(Endpoint::Unknown, |address| endpoint(&address))
    }

    /// The near end.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.socket().local_addr().map_or(Endpoint::Unknown, |address| endpoint(&address))
    }

    /// Whether small messages leave at once (`true`, as of every new stream) or may wait for acknowledgements, as Nagle's algorithm has
    /// it (RFC 896). Nothing to do on a unix socket.
    ///
    /// # Errors
    /// What the system says, for one that the peer has reset already.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(nodelay),
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
        }
    }

    /// Probes a peer that has been silent for `idle`, again every `idle`, and ends the connection when several probes (on Linux nine)
    /// stay unanswered (RFC 9293, 3.8.4). Nothing to do on a unix socket.
    ///
    /// # Errors
    /// What the system says, for one that the peer has reset already, or an `idle` that it does not allow (Linux: 1 to 32,767 s).
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle))
            }
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
        }
    }

    /// Ends the connection with a reset (RST): what is on its way, either way, is lost. A unix socket is only closed.
    pub fn reset(self) {
        reset_on_close(&self.socket());
    }

    /// What went wrong on the connection and has not been told yet (`SO_ERROR`): a reset that came with nothing being read or written.
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        self.socket().take_error().unwrap_or_else(Some)
    }

    /// What the system knows of the path; `None` on a unix socket, and where the system does not say (anywhere but on Linux).
    #[must_use]
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(stream) => TcpInfo::of(stream),
            _ => None,
        }
    }

    /// Waits until a connection that is being made has been, or has failed.
    pub(crate) async fn decided(&self) -> io::Result<()> {
        on_either!(self, stream => stream.writable().await)
    }

    pub(crate) fn socket(&self) -> SockRef<'_> {
        on_either!(self, stream => SockRef::from(stream))
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(crate) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if first.is_empty() || second.is_empty() {
            let one = if second.is_empty() { first } else { second };
            return on_either!(self, stream => stream.try_write(one));
        }
        let both = [IoSlice::new(first), IoSlice::new(second)];
        on_either!(self, stream => stream.try_write_vectored(&both))
    }
}

/// Both directions of one connection can be used at once, each by one task.
impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(on_either!(*self, stream => stream.poll_read_ready(cx)))?;
            let into = buf.initialize_unfilled();
            match on_either!(*self, stream => stream.try_read(into)) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx)))?;
            match self.try_write(bytes, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket().shutdown(std::net::Shutdown::Write))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
