//! [`PlainStream`]: a TCP connection or a unix socket, as a byte stream of tokio's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

#[cfg(not(target_os = "linux"))]
use resound_proto::Endpoint;
use resound_proto::SocketReport;
use socket2::SockRef;
#[cfg(not(target_os = "linux"))]
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::call_observer::{CallWatch, StreamCall};
use super::socket::resets_on_close;
use super::socket_report::plain_report;

/// A connection without TLS.
#[derive(Debug)]
pub(super) struct PlainStream {
    socket: StreamSocket,
    watch: CallWatch,
}

#[derive(Debug)]
enum StreamSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same call on a stream of either family.
macro_rules! on_either {
    ($self:expr, $stream:ident => $call:expr) => {
        match &$self.socket {
            StreamSocket::Tcp($stream) => $call,
            #[cfg(unix)]
            StreamSocket::Unix($stream) => $call,
        }
    };
}

impl PlainStream {
    pub(super) fn tcp(stream: TcpStream, watch: CallWatch) -> Self {
        Self { socket: StreamSocket::Tcp(stream), watch }
    }

    #[cfg(unix)]
    pub(super) fn unix(stream: UnixStream, watch: CallWatch) -> Self {
        Self { socket: StreamSocket::Unix(stream), watch }
    }

    /// Shows the calls from now on.
    pub(super) fn observe(&mut self, watch: CallWatch) {
        self.watch = watch;
    }

    /// Shows a call to the observer of this stream, if it has one.
    #[inline]
    pub(super) fn show<'c>(&self, call: impl FnOnce() -> StreamCall<'c>) {
        self.watch.show(call, || self.report());
    }

    fn report(&self) -> SocketReport {
        plain_report(&self.socket())
    }

    /// Registers a non-blocking socket with this thread's runtime.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        match peer {
            #[cfg(unix)]
            Endpoint::Unix(_) => {
                UnixStream::from_std(socket.into()).map(|stream| Self::unix(stream, CallWatch::default()))
            }
            _ => TcpStream::from_std(socket.into()).map(|stream| Self::tcp(stream, CallWatch::default())),
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.socket, StreamSocket::Tcp(_))
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        on_either!(self, stream => SockRef::from(stream))
    }

    /// Waits until a pending connect has succeeded or failed.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn decided(&self) -> io::Result<()> {
        on_either!(self, stream => stream.writable().await)
    }

    /// Shows what a call has taken of these bytes.
    fn show_write(&self, written: &io::Result<usize>, slices: &[IoSlice<'_>]) {
        if !self.watch.is_on() {
            return;
        }
        match written {
            Ok(n) => {
                let taken: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(*n).collect();
                self.show(|| StreamCall::Sent(&taken));
            }
            Err(error) => self.show(|| StreamCall::SendFailed(error)),
        }
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
                    self.show(|| StreamCall::Received(&into[..n]));
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.show(|| StreamCall::ReceiveFailed(&error));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for &PlainStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(on_either!(*self, stream => stream.poll_write_ready(cx)))?;
            let written = self.try_write(bytes, &[]);
            self.show_write(&written, &[IoSlice::new(bytes)]);
            match written {
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
            let written = on_either!(*self, stream => stream.try_write_vectored(slices));
            self.show_write(&written, slices);
            match written {
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
        self.show(|| StreamCall::HalfClosing);
        let done = self.socket().shutdown(std::net::Shutdown::Write);
        self.show(|| StreamCall::HalfClosed(done.as_ref().err()));
        Poll::Ready(done)
    }
}

impl Drop for PlainStream {
    fn drop(&mut self) {
        self.show(|| StreamCall::Closing { resets: resets_on_close(&self.socket()) });
    }
}
