//! [`TlsStream`]: a client's TLS, by tokio-rustls. It is independent of
//! [`Conn`](crate::conn::Conn), so that the client and the engines check each other.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use resound_proto::TlsInfo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream as ClientStream;

use super::plain_stream::{PlainStream, forward_io};
use crate::tls::{Certificate, TlsClient, read_peer};

/// A client's TLS connection, with a [`Stream`](crate::Stream) under it.
pub struct TlsStream {
    plain: Arc<PlainStream>,
    /// Two tasks use it at once, one for each direction. Neither holds the lock while it waits.
    tls: Mutex<ClientStream<SharedStream>>,
    info: TlsInfo,
    chain: Vec<Certificate>,
}

impl TlsStream {
    pub(super) async fn of(plain: PlainStream, client: &TlsClient) -> io::Result<Self> {
        let plain = Arc::new(plain);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(client.config()));
        let tls = connector.connect(client.name().clone(), SharedStream(Arc::clone(&plain))).await?;
        let state = tls.get_ref().1;
        let read = |der: &rustls::pki_types::CertificateDer<'_>| {
            Certificate::read(der).unwrap_or_else(|| Certificate::unreadable(der))
        };
        let chain: Vec<_> = state.peer_certificates().unwrap_or_default().iter().map(read).collect();
        // Sessions of TLS 1.2 may share it.
        let is_unique = state.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let export = || state.export_keying_material([0; 32], resound_proto::EXPORTER_LABEL, None).ok();
        let exporter = is_unique.then(export).flatten();
        let info = resound_proto::agreed(state, None, exporter, read_peer);
        Ok(Self { plain, tls: Mutex::new(tls), info, chain })
    }

    /// The negotiated parameters.
    #[must_use]
    pub fn info(&self) -> &TlsInfo {
        &self.info
    }

    /// The certificates that the server sent: its own, then the intermediate ones.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    pub(super) fn plain(&self) -> &PlainStream {
        &self.plain
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("plain", &self.plain).field("info", &self.info).finish_non_exhaustive()
    }
}

// A shutdown sends a close_notify, and then a FIN.
forward_io!(&TlsStream, this => &mut *this.tls.lock());

/// The plain stream below TLS.
#[derive(Debug)]
struct SharedStream(Arc<PlainStream>);

forward_io!(SharedStream, this => &mut &*this.0);
