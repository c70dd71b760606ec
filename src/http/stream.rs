//! [`ClientStream`]: a client's socket, as hyper uses it.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::activity::ClientActivity;

/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(10);
/// How long a client that is disconnected may still send.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of one read.
const READ: usize = 4 * 1024;

/// A client's socket. Each byte that moves counts as activity, and a client that takes nothing of
/// what is sent is disconnected.
pub(super) struct ClientStream {
    stream: Arc<TcpStream>,
    activity: Arc<ClientActivity>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs after the last answer.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(stream: Arc<TcpStream>, activity: Arc<ClientActivity>) -> Self {
        Self { stream, activity, stalled: None, lingering: None }
    }

    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match send(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            self.activity.note();
            return result;
        }
        if self.activity.may_stall() {
            return Poll::Pending;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Discards what the client sends, until it has left or its time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if lingering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; READ];
        loop {
            if !matches!(ready!(self.poll_receive(cx, &mut bytes)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }
}

impl rt::Read for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ];
        let most = into.remaining().min(READ);
        let read = ready!(self.poll_receive(cx, &mut bytes[..most]))?;
        self.activity.note();
        into.put_slice(&bytes[..read]);
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_send(cx, |stream| stream.try_write(bytes));
        self.written(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends a FIN, and lets the client take its last answer: a socket that is closed with bytes
    /// unread sends a RST, which can overtake the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            SockRef::from(&*self.stream).shutdown(Shutdown::Write)?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_send(cx, |stream| stream.try_write_vectored(slices));
        self.written(cx, written)
    }
}

/// Tokio's clock for hyper.
#[derive(Clone, Copy)]
pub(super) struct HttpTimer;

struct HttpSleep(Pin<Box<Sleep>>);

impl Future for HttpSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl rt::Sleep for HttpSleep {}

impl rt::Timer for HttpTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HttpSleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HttpSleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
}
