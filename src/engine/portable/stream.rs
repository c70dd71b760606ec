//! A connection's stream, whichever family it is of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::service::Endpoint;

pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// Registers a non-blocking socket with this thread's runtime.
    pub(super) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        match peer {
            #[cfg(unix)]
            Endpoint::Unix(_) => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            #[cfg(unix)]
            Self::Unix(stream) => SockRef::from(stream),
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, wire: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(wire);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buf),
        };
        read.map_ok(|()| buf.filled().len())
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(super) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let one = if second.is_empty() { first } else { second };
        let both = [IoSlice::new(first), IoSlice::new(second)];
        let only_one = first.is_empty() || second.is_empty();
        match self {
            Self::Tcp(stream) if only_one => stream.try_write(one),
            Self::Tcp(stream) => stream.try_write_vectored(&both),
            #[cfg(unix)]
            Self::Unix(stream) if only_one => stream.try_write(one),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_write_vectored(&both),
        }
    }
}
