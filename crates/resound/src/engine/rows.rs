//! [`ConnectionRow`]: a connection that is open, as its worker sees it when it is asked.

use resound_proto::{ConnId, ConnStatus, Endpoint, TcpInfo};
use socket2::SockRef;
use tokio::sync::oneshot;

use super::connection_limit::ConnectionPermit;
use super::driver::Driver;
use super::socket::{unacknowledged, unread};
use super::socket_report::tcp_info;

/// A connection that is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionRow {
    /// Its number.
    pub conn: ConnId,
    /// The peer: behind a trusted proxy, the client.
    pub peer: Endpoint,
    /// This end.
    pub local: Endpoint,
    /// The worker that drives it.
    pub worker: usize,
    /// The listener that accepted it, in the order of the server's addresses; `None` if it was
    /// dialled.
    pub listener: Option<usize>,
    /// What it has carried, and its state.
    pub status: ConnStatus,
    /// The state of the TCP connection; `None` on a unix socket, and on systems other than Linux.
    pub tcp: Option<TcpInfo>,
    /// Bytes that have arrived, and that this end has not read from its socket (`SIOCINQ`, tcp(7)).
    pub unread: Option<u64>,
    /// Bytes written to the socket, and not acknowledged by the peer's system (`SIOCOUTQ`, tcp(7)).
    pub unacknowledged: Option<u64>,
}

/// Some of the connections of a worker.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RowBatch {
    /// The connections.
    pub rows: Vec<ConnectionRow>,
    /// Where the rest begins, if there may be more.
    pub next: Option<u64>,
}

/// Asks a worker for some of its connections.
pub(crate) struct RowRequest {
    /// Where to begin: 0, or [`RowBatch::next`].
    pub(crate) from: u64,
    pub(crate) reply: oneshot::Sender<RowBatch>,
}

/// Connections of one batch: between two batches the worker serves its connections.
pub(crate) const ROWS: usize = 64;

impl Driver {
    /// The connection as it is now.
    pub(crate) fn row(&self, worker: usize, socket: &SockRef<'_>) -> ConnectionRow {
        let info = self.conn().info();
        let listener = self.listener();
        ConnectionRow {
            conn: info.id,
            peer: info.peer.clone(),
            local: info.local.clone(),
            worker,
            listener: (listener != ConnectionPermit::DIALLED).then_some(listener.into()),
            status: self.conn().status(),
            tcp: tcp_info(socket),
            // Elsewhere the count would end with what one peek shows.
            unread: cfg!(unix).then(|| unread(socket) as u64),
            unacknowledged: unacknowledged(socket).map(|bytes| bytes as u64),
        }
    }
}
