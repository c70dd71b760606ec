//! [`WatchedSocket`]: a connection's socket and its readiness.

use std::io::{self, IoSlice, Read};
use std::task::{Context, Poll, ready};

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::engine::sys::watch_socket;

/// A socket registered with this thread's runtime, for urgent data too.
///
/// It is no stream of tokio's because of urgent data. A read ends before an urgent byte (tcp(7)),
/// so a short read may leave more in the socket. Tokio's streams take it for empty after that, and
/// epoll reports new data once only. Here a socket with urgent data is read until it is empty,
/// which costs a call; other sockets are not.
pub(super) struct WatchedSocket(AsyncFd<Socket>);

impl WatchedSocket {
    /// Registers a non-blocking socket. On an error it is reset.
    pub(super) fn new(socket: Socket, _peer: &Endpoint) -> io::Result<Self> {
        watch_socket(socket).map(Self)
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.0.get_ref())
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.0.poll_read_ready(cx))?;
            match self.0.get_ref().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    readable.clear_ready();
                    self.clear_urgent_data();
                }
                read => {
                    let is_short = read.as_ref().is_ok_and(|&n| 0 < n && n < into.len());
                    if is_short && !self.has_urgent_data() {
                        readable.clear_ready();
                    }
                    return Poll::Ready(read);
                }
            }
        }
    }

    /// Returns whether urgent data has arrived since the socket was last empty.
    fn has_urgent_data(&self) -> bool {
        self.0.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    fn clear_urgent_data(&self) {
        let _ = self.0.try_io(Interest::PRIORITY, |_| io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
    }

    pub(super) fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?.retain_ready();
            match self.0.try_io(Interest::WRITABLE, |socket| send(socket, slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(super) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.0.try_io(Interest::WRITABLE, |socket| {
            if first.is_empty() || second.is_empty() {
                let one = if second.is_empty() { first } else { second };
                return socket.send_with_flags(one, libc::MSG_NOSIGNAL);
            }
            send(socket, &[IoSlice::new(first), IoSlice::new(second)])
        })
    }

    /// Waits until a pending connect has succeeded or failed.
    pub(super) async fn decided(&self) -> io::Result<()> {
        self.0.writable().await.map(|mut writable| writable.retain_ready())
    }

    /// The pending error of the socket (`SO_ERROR`).
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.0.get_ref().take_error().unwrap_or_else(Some)
    }
}

fn send(socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_that_cannot_be_watched_is_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, from) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        // A test without privileges cannot exhaust the watches of epoll (`max_user_watches`,
        // epoll(7)). A runtime that has ended refuses a socket at the same place.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let ended = runtime.handle().clone();
        drop(runtime);
        let _entered = ended.enter();
        assert!(WatchedSocket::new(accepted.into(), &Endpoint::Tcp(from)).is_err());
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
