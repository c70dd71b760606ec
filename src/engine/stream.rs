//! A connection as a byte stream of tokio's, whichever family it is of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::socket::endpoint;
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
