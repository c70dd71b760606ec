//! A connection as a byte stream of tokio's, whichever family it is of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use resound_proto::Endpoint;
#[cfg(not(target_os = "linux"))]
use socket2::Socket;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::socket::{endpoint, peer, reset_on_close};
use super::tcp_info::TcpInfo;
use super::tls_stream::TlsStream;
use crate::tls::TlsClient;

/// A connection: a byte stream of tokio's, with TCP_NODELAY where it is TCP.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// With TLS, over one of the others; this end is the client.
    Tls(Box<TlsStream>),
}

/// The same call on whichever stream it is, and what takes its place with TLS.
macro_rules! on_either {
    ($self:expr, $stream:ident => $call:expr, $secure:ident => $tls:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
            Stream::Tls($secure) => $tls,
        }
    };
}

impl Stream {
    /// Registers a non-blocking socket with this thread's runtime.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        match peer {
            #[cfg(unix)]
            Endpoint::Unix(_) => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    /// Agrees on TLS with the server at the other end. Wait as long as you want, and no longer: the server may never answer.
    ///
    /// # Errors
    /// What the connection fails with; where it is TLS that fails, [`TlsFailure::behind`](crate::tls::TlsFailure::behind) says how.
    pub async fn secure(self, client: &TlsClient) -> io::Result<Self> {
        TlsStream::of(self, client).await.map(|secure| Self::Tls(Box::new(secure)))
    }

    /// What TLS has agreed on, and with whom; `None` on a plain stream.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(secure) => Some(secure),
            _ => None,
        }
    }

    /// The far end.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        peer(&self.socket())
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
            Self::Tls(secure) => secure.plain().set_nodelay(nodelay),
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
            Self::Tls(secure) => secure.plain().set_keepalive(idle),
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
            Self::Tls(secure) => secure.plain().tcp_info(),
            _ => None,
        }
    }

    /// Waits until a connection that is being made has been, or has failed.
    #[cfg(not(target_os = "linux"))]
    pub(crate) async fn decided(&self) -> io::Result<()> {
        // TLS comes after that.
        on_either!(self, stream => stream.writable().await, _secure => Ok(()))
    }

    pub(crate) fn socket(&self) -> SockRef<'_> {
        on_either!(self, stream => SockRef::from(stream), secure => secure.plain().socket())
    }

    /// Writes as much of `first` and then `second` as the system takes now. Not with TLS, which has its own idea of what is to be written.
    pub(crate) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if first.is_empty() || second.is_empty() {
            let one = if second.is_empty() { first } else { second };
            return on_either!(self, stream => stream.try_write(one), _secure => Err(io::ErrorKind::Unsupported.into()));
        }
        let both = [IoSlice::new(first), IoSlice::new(second)];
        on_either!(self, stream => stream.try_write_vectored(&both), _secure => Err(io::ErrorKind::Unsupported.into()))
    }
}

/// Both directions of one connection can be used at once, each by one task.
impl AsyncRead for &Stream {
    /// Reads until the socket is empty, not until it gives less than is asked for, as tokio's streams do: a read ends
    /// before an urgent byte (tcp(7)), whatever lies behind it.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Stream::Tls(secure) = *self {
            return Pin::new(&mut &**secure).poll_read(cx, buf);
        }
        loop {
            ready!(on_either!(*self, stream => stream.poll_read_ready(cx), _secure => Poll::Pending))?;
            let into = buf.initialize_unfilled();
            match on_either!(*self, stream => stream.try_read(into), _secure => Ok(0)) {
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
        if let Stream::Tls(secure) = *self {
            return Pin::new(&mut &**secure).poll_write(cx, bytes);
        }
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx), _secure => Poll::Pending))?;
            match self.try_write(bytes, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// TLS writes all that it has to say at once: an alert after a failed handshake gets one attempt, and other records may stand before it.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Stream::Tls(secure) = *self {
            return Pin::new(&mut &**secure).poll_write_vectored(cx, slices);
        }
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx), _secure => Poll::Pending))?;
            match on_either!(*self, stream => stream.try_write_vectored(slices), _secure => Ok(0)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {
            Stream::Tls(secure) => Pin::new(&mut &**secure).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {
            Stream::Tls(secure) => Pin::new(&mut &**secure).poll_shutdown(cx),
            _ => Poll::Ready(self.socket().shutdown(std::net::Shutdown::Write)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes), secure => Pin::new(&mut &**secure).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx), secure => Pin::new(&mut &**secure).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx), secure => Pin::new(&mut &**secure).poll_shutdown(cx))
    }
}
