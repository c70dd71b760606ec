//! A connection's socket and its readiness, on systems other than Linux.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::plain_stream::PlainStream;

/// A socket registered with this thread's runtime. Reads go on until it is empty: a read also ends
/// before an urgent byte, so a short read does not mean an empty socket.
pub(super) struct WatchedStream(PlainStream);

pub(super) use WatchedStream as WatchedSocket;

/// The runtime watches each socket here.
pub(super) struct RuntimeWatcher;

pub(super) use RuntimeWatcher as SocketWatcher;

impl RuntimeWatcher {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn run(self: Rc<Self>) {}
}

impl WatchedStream {
    /// Registers a non-blocking socket.
    pub(super) fn new(socket: Socket, peer: &Endpoint, _watcher: &Rc<SocketWatcher>) -> io::Result<Self> {
        PlainStream::new(socket, peer).map(Self)
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

    /// The runtime does not tell a failure from input that waits, so the next read or write meets
    /// it.
    pub(super) fn poll_failed(&self, _cx: &Context<'_>) -> bool {
        false
    }

    pub(super) fn clear_failed(&self) {}

    /// Waits until a pending connect has succeeded or failed.
    pub(super) async fn decided(&self) -> io::Result<()> {
        self.0.decided().await
    }
}
