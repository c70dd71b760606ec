//! A connection's socket, and when it can be read and written, on systems other than Linux.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::stream::Stream;

/// A socket that this thread's runtime watches. It is read until it is empty: a read ends before an urgent byte, so that a
/// short one proves nothing.
pub(super) struct WatchedStream(Stream);

impl WatchedStream {
    /// Of a socket that does not block.
    pub(super) fn new(socket: Socket, peer: &Endpoint) -> io::Result<Self> {
        Stream::new(socket, peer).map(Self)
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        self.0.socket()
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(Pin::new(&mut &self.0).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }

    pub(super) fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.0).poll_write_vectored(cx, slices)
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(super) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.0.try_write(first, second)
    }

    /// Waits until a connection that is being made has been, or has failed.
    pub(super) async fn decided(&self) -> io::Result<()> {
        self.0.decided().await
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.0.take_error()
    }
}
