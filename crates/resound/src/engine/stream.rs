//! [`Stream`]: a connection as a byte stream of tokio's, with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use resound_proto::{Endpoint, SocketReport, TcpInfo};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::call_observer::{CallObserver, CallWatch, StreamCall};
use super::plain_stream::{PlainStream, forward_io};
use super::socket::{endpoint, peer, reset_on_close};
use super::socket_report::{socket_report, tcp_info};
use super::tls_stream::TlsStream;
use crate::tls::TlsClient;

/// A connection over TCP (with `TCP_NODELAY`) or over a unix socket, with or without TLS: a byte
/// stream that implements tokio's [`AsyncRead`] and [`AsyncWrite`], also for `&Stream`, so that two
/// tasks can use one connection at once, one for each direction.
#[derive(Debug)]
pub struct Stream(Layer);

#[derive(Debug)]
enum Layer {
    Plain(PlainStream),
    /// This end is the client.
    Tls(Box<TlsStream>),
}

/// The same call on the outermost layer.
macro_rules! on_layer {
    ($self:expr, $stream:ident => $call:expr) => {
        match &$self.0 {
            Layer::Plain(stream) => {
                let mut $stream = stream;
                $call
            }
            Layer::Tls(stream) => {
                let mut $stream = &**stream;
                $call
            }
        }
    };
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream, watch: CallWatch) -> Self {
        Self(Layer::Plain(PlainStream::tcp(stream, watch)))
    }

    #[cfg(unix)]
    pub(super) fn unix(stream: UnixStream, watch: CallWatch) -> Self {
        Self(Layer::Plain(PlainStream::unix(stream, watch)))
    }

    /// Shows an accepted connection, and then each call on its socket. Does nothing on a stream
    /// that has TLS already.
    pub fn observe_accepted(&mut self, observer: Arc<dyn CallObserver>) {
        let (peer, local) = (self.peer(), self.local());
        if let Layer::Plain(plain) = &mut self.0 {
            plain.observe(CallWatch::of(observer));
            plain.show(|| StreamCall::Accepted { peer: &peer, local: &local });
        }
    }

    /// Starts TLS as the client of a server. Limit the wait: the server may never answer.
    ///
    /// # Errors
    /// The error of the connection. If TLS fails,
    /// [`TlsFailure::of_io`](crate::tls::TlsFailure::of_io) returns how. A stream that has TLS
    /// already fails with [`io::ErrorKind::InvalidInput`].
    pub async fn secure(self, client: &TlsClient) -> io::Result<Self> {
        let Layer::Plain(plain) = self.0 else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection has TLS already"));
        };
        plain.show(|| StreamCall::TlsBegun);
        let secure = TlsStream::of(plain, client).await?;
        secure.plain().show(|| StreamCall::TlsEstablished(secure.info()));
        Ok(Self(Layer::Tls(Box::new(secure))))
    }

    /// The TLS layer; `None` on a plain stream.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsStream> {
        match &self.0 {
            Layer::Tls(secure) => Some(secure),
            Layer::Plain(_) => None,
        }
    }

    /// The address of the peer.
    #[must_use]
    pub fn peer(&self) -> Endpoint {
        peer(&self.socket())
    }

    /// The address of this end.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.socket().local_addr().map_or(Endpoint::Unknown, |address| endpoint(&address))
    }

    /// Sends small messages at once (`true`, as on each new stream), or lets them wait for
    /// acknowledgements (Nagle's algorithm, RFC 896). Does nothing on a unix socket.
    ///
    /// # Errors
    /// The error of the system, such as after a reset by the peer.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        if self.plain().is_tcp() { self.socket().set_tcp_nodelay(nodelay) } else { Ok(()) }
    }

    /// Whether small messages leave at once ([`Stream::set_nodelay`]); `true` on a unix socket.
    ///
    /// # Errors
    /// The error of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        if self.plain().is_tcp() { self.socket().tcp_nodelay() } else { Ok(true) }
    }

    /// Probes a peer that has been silent for `idle`, again every `idle`, and ends the connection
    /// when several probes (nine on Linux) stay unanswered (RFC 9293, 3.8.4). Does nothing on a
    /// unix socket.
    ///
    /// # Errors
    /// The error of the system, such as after a reset by the peer, or for an `idle` out of range
    /// (Linux: 1 to 32,767 s).
    pub fn set_keepalive(&self, idle: Duration) -> io::Result<()> {
        if !self.plain().is_tcp() {
            return Ok(());
        }
        self.socket().set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle))
    }

    /// Resets the connection (RST): bytes on their way, in both directions, are lost. A unix socket
    /// is closed.
    pub fn reset(self) {
        reset_on_close(&self.socket());
    }

    /// The pending error of the socket (`SO_ERROR`, socket(7)), such as a reset that arrived while
    /// nothing was read or written.
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        self.socket().take_error().unwrap_or_else(Some)
    }

    /// The state of the TCP connection; `None` on a unix socket, and on systems other than Linux.
    #[must_use]
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        tcp_info(&self.socket())
    }

    /// What the system knows of the socket. With TLS as well: its counts are those of the records.
    #[must_use]
    pub fn report(&self) -> SocketReport {
        socket_report(&self.socket())
    }

    fn socket(&self) -> SockRef<'_> {
        self.plain().socket()
    }

    fn plain(&self) -> &PlainStream {
        match &self.0 {
            Layer::Plain(plain) => plain,
            Layer::Tls(secure) => secure.plain(),
        }
    }
}

impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = on_layer!(self, stream => Pin::new(&mut stream).poll_read(cx, buf));
        if let Layer::Tls(secure) = &self.0
            && matches!(read, Poll::Ready(Ok(())))
            && buf.filled().len() == before
        {
            secure.plain().show(|| StreamCall::TlsClosedByPeer);
        }
        read
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_layer!(self, stream => Pin::new(&mut stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_layer!(self, stream => Pin::new(&mut stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, stream => Pin::new(&mut stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Layer::Tls(secure) = &self.0 {
            secure.plain().show(|| StreamCall::ClosingTls);
        }
        on_layer!(self, stream => Pin::new(&mut stream).poll_shutdown(cx))
    }
}

forward_io!(Stream, this => &mut &*this);
