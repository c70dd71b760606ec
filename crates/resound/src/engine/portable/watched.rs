//! [`WatchedSocket`]: a connection's socket and its readiness.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::rc::Rc;
use std::task::{Context, Poll};

use resound_proto::Endpoint;
use socket2::{SockRef, Socket};

use super::watcher::ReadyBits;
pub(super) use super::watcher::SocketWatcher;
use crate::engine::socket::reset_on_close;

/// A socket that this worker watches, for urgent data too.
///
/// A read ends before an urgent byte (tcp(7)), so a short read may leave more in the socket, and
/// epoll reports new data once only. So a socket with urgent data is read until it is empty, which
/// costs a call; other sockets are not.
pub(super) struct WatchedSocket {
    watcher: Rc<SocketWatcher>,
    socket: Socket,
    slot: u32,
}

impl WatchedSocket {
    /// Watches a non-blocking socket. On an error it is reset.
    pub(super) fn new(socket: Socket, _peer: &Endpoint, watcher: &Rc<SocketWatcher>) -> io::Result<Self> {
        match watcher.add(&socket) {
            Ok(slot) => Ok(Self { watcher: Rc::clone(watcher), socket, slot }),
            Err(error) => {
                // The peer must not take a FIN for an answer.
                reset_on_close(&SockRef::from(&socket));
                Err(error)
            }
        }
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.socket)
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.watcher.poll_ready(self.slot, ReadyBits::READ, cx) {
            match (&self.socket).read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watcher.clear(self.slot, ReadyBits::READ.and(ReadyBits::URGENT));
                }
                read => {
                    let is_short = read.as_ref().is_ok_and(|&n| 0 < n && n < into.len());
                    let has_more = ReadyBits::URGENT.and(ReadyBits::EOF);
                    if is_short && !self.watcher.ready(self.slot).has(has_more) {
                        self.watcher.clear(self.slot, ReadyBits::READ);
                    }
                    return Poll::Ready(read);
                }
            }
        }
        Poll::Pending
    }

    pub(super) fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while self.watcher.poll_ready(self.slot, ReadyBits::WRITE, cx) {
            match self.write(|socket| send(socket, slices)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        Poll::Pending
    }

    /// Writes as much of `first` and then `second` as the system takes now.
    pub(super) fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if !self.watcher.ready(self.slot).has(ReadyBits::WRITE) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.write(|socket| {
            if first.is_empty() || second.is_empty() {
                let one = if second.is_empty() { first } else { second };
                return socket.send_with_flags(one, libc::MSG_NOSIGNAL);
            }
            send(socket, &[IoSlice::new(first), IoSlice::new(second)])
        })
    }

    fn write(&self, call: impl FnOnce(&Socket) -> io::Result<usize>) -> io::Result<usize> {
        let written = call(&self.socket);
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.watcher.clear(self.slot, ReadyBits::WRITE);
        }
        written
    }

    /// Returns whether the connection has failed, for a task that neither reads nor writes.
    /// Otherwise the task is woken once it does.
    pub(super) fn poll_failed(&self, cx: &Context<'_>) -> bool {
        self.watcher.poll_ready(self.slot, ReadyBits::FAILED, cx)
    }

    /// There was no failure.
    pub(super) fn clear_failed(&self) {
        self.watcher.clear(self.slot, ReadyBits::FAILED);
    }

    /// Waits until a pending connect has succeeded or failed.
    pub(super) async fn decided(&self) -> io::Result<()> {
        poll_fn(|cx| match self.watcher.poll_ready(self.slot, ReadyBits::WRITE, cx) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        })
        .await
    }
}

impl Drop for WatchedSocket {
    fn drop(&mut self) {
        self.watcher.remove(&self.socket, self.slot);
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
        // epoll(7)). What is no epoll instance refuses a socket at the same place.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let no_epoll = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let watcher = Rc::new(SocketWatcher::of(no_epoll).unwrap());
        assert!(WatchedSocket::new(accepted.into(), &Endpoint::Tcp(from), &watcher).is_err());
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
