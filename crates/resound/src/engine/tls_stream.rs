//! A client's TLS on tokio's streams, through tokio-rustls: independent of [`Conn`](crate::conn::Conn).

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use resound_proto::TlsInfo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream as ClientStream;

use super::stream::Stream;
use crate::tls::{Certificate, TlsClient, read_peer};

/// A stream that TLS has been agreed on for.
pub struct TlsStream {
    plain: Arc<Stream>,
    /// Both directions at once, each by one task: neither holds it while it waits.
    tls: Mutex<ClientStream<PlainStream>>,
    info: TlsInfo,
    chain: Vec<Certificate>,
}

impl TlsStream {
    pub(super) async fn of(plain: Stream, client: &TlsClient) -> io::Result<Self> {
        let plain = Arc::new(plain);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(client.config()));
        let tls = connector.connect(client.name().clone(), PlainStream(Arc::clone(&plain))).await?;
        let state = tls.get_ref().1;
        let chain: Vec<_> =
            state.peer_certificates().unwrap_or_default().iter().filter_map(|der| Certificate::read(der)).collect();
        let info = resound_proto::agreed(state, None, read_peer);
        Ok(Self { plain, tls: Mutex::new(tls), info, chain })
    }

    /// What was agreed on.
    #[must_use]
    pub fn info(&self) -> &TlsInfo {
        &self.info
    }

    /// What the server has shown: its certificate, and those between it and its root.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    pub(super) fn plain(&self) -> &Stream {
        &self.plain
    }

    fn tls(&self) -> MutexGuard<'_, ClientStream<PlainStream>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("plain", &self.plain).field("info", &self.info).finish_non_exhaustive()
    }
}

impl AsyncRead for &TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls()).poll_read(cx, buf)
    }
}

impl AsyncWrite for &TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls()).poll_flush(cx)
    }

    /// A close_notify, and a FIN behind it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls()).poll_shutdown(cx)
    }
}

/// The plain stream, where TLS reads and writes.
#[derive(Debug)]
struct PlainStream(Arc<Stream>);

impl AsyncRead for PlainStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_shutdown(cx)
    }
}
