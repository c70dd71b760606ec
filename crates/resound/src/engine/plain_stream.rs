//! [`PlainStream`]: a TCP connection or a unix socket, as a byte stream of tokio's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

#[cfg(not(target_os = "linux"))]
use resound_proto::Endpoint;
use socket2::SockRef;
#[cfg(not(target_os = "linux"))]
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection without TLS.
#[derive(Debug)]
pub(super) enum PlainStream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same call on a stream of either family.
macro_rules! on_either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            PlainStream::Tcp($stream) => $call,
            #[cfg(unix)]
            PlainStream::Unix($stream) => $call,
        }
    };
}

impl PlainStream {
    /// Registers a non-blocking socket with this thread's runtime.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        match peer {
            #[cfg(unix)]
            Endpoint::Unix(_) => UnixStream::from_std(socket.into()).map(Self::Unix),
            _ => TcpStream::from_std(socket.into()).map(Self::Tcp),
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        on_either!(self, stream => SockRef::from(stream))
    }

    /// Waits until a pending connect has succeeded or failed.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn decided(&self) -> io::Result<()> {
        on_either!(self, stream => stream.writable().await)
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(super) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if first.is_empty() || second.is_empty() {
            let one = if second.is_empty() { first } else { second };
            return on_either!(self, stream => stream.try_write(one));
        }
        on_either!(self, stream => stream.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]))
    }
}

/// Implements [`AsyncRead`] and [`AsyncWrite`] for a type by those of another.
macro_rules! forward_io {
    ($type:ty, $this:ident => $target:expr) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                Pin::new($target).poll_read(cx, buf)
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                Pin::new($target).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $this = self.get_mut();
                Pin::new($target).poll_write_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                Pin::new($target).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = self.get_mut();
                Pin::new($target).poll_shutdown(cx)
            }
        }
    };
}
pub(super) use forward_io;

/// Two tasks can use one connection at once, one for each direction.
impl AsyncRead for &PlainStream {
    /// Reads until the socket is empty. Tokio's streams stop at the first read that does not fill
    /// the buffer, but a read also ends before an urgent byte (tcp(7)), and more may follow it.
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

impl AsyncWrite for &PlainStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx)))?;
            match self.try_write(bytes, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx)))?;
            match on_either!(*self, stream => stream.try_write_vectored(slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket().shutdown(std::net::Shutdown::Write))
    }
}
